"""Runs whose process is killed end with the rows of one that was left alone."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import runs
import torch
from pyarrow import parquet

import fluoroscope as fs
from fluoroscope.data.sources import ArraySource
from fluoroscope.evaluation.evaluate import Job
from fluoroscope.evaluation.runs.run_directory import RunDirectory


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped."""
    out = tmp_path_factory.mktemp("whole")
    assert runs.run(out, save_images=True).complete
    return out


def assert_same(out: Path, whole: Path) -> None:
    assert runs.parts(out) == runs.parts(whole)
    assert runs.rows(out) == runs.rows(whole)
    for file in (whole / "parts").glob("*.safetensors"):
        assert (out / "parts" / file.name).read_bytes() == file.read_bytes()


def test_killed_at_random_moments(whole: Path, tmp_path: Path) -> None:
    rng = random.Random(5)
    total, kills = len(runs.parts(whole)), 0
    for number in sorted(rng.sample(range(total), 4)):
        at_work = runs.process(runs.run, tmp_path, save_images=True)
        while at_work.is_alive() and len(runs.parts(tmp_path)) < number:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        kills += runs.kill(at_work)
    assert kills >= 3
    verdict = runs.run(tmp_path, save_images=True)
    assert_same(tmp_path, whole)
    unstopped = runs.run(whole, save_images=True)
    assert (verdict.robust_accuracy, verdict.forwards) == (
        unstopped.robust_accuracy,
        unstopped.forwards,
    )


def run_until_the_third_move(out: Path) -> None:
    moves = 0
    move = Path.replace

    def replace(self: Path, target: Path) -> Path:
        nonlocal moves
        moves += 1
        if moves == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return move(self, target)

    Path.replace = replace  # type: ignore[method-assign, assignment]
    runs.run(out)


def test_a_draft_is_no_part_and_goes_at_the_next_start(tmp_path: Path) -> None:
    left = runs.process(run_until_the_third_move, tmp_path)
    left.join()
    assert left.exitcode == -signal.SIGKILL
    drafts = [file for file in (tmp_path / "parts").iterdir() if file.name[0] == "."]
    assert len(drafts) == 1
    draft = drafts[0] / "00000-fgsm.parquet"
    assert parquet.ParquetFile(draft).read().num_rows  # whole, and all the same no part
    assert set(RunDirectory(tmp_path).tables()["attack"].to_pylist()) == {"clean"}
    mine = tmp_path / "parts" / ".mine"
    mine.touch()
    (tmp_path / ".verdict-abc.json").touch()  # mine too
    runs.run(tmp_path)
    assert {file.name for file in (tmp_path / "parts").iterdir()} - runs.parts(tmp_path) == {
        ".mine"
    }
    assert {file.name for file in tmp_path.iterdir()} == {
        "parts", "run.json", "verdict.json", ".verdict-abc.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    "damage", ["cut", "other bytes", "empty", "another part's", "a column less"]
)
def test_a_damaged_part_is_named_and_made_again(damage: str, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "parts" / "00001-apgd.parquet"
    good = file.read_bytes()
    if damage == "another part's":
        shutil.copy(tmp_path / "parts" / "00002-apgd.parquet", file)
    elif damage == "a column less":
        parquet.write_table(parquet.read_table(file).drop_columns(["margin"]), file)
    else:
        file.write_bytes({"cut": good[:-9], "other bytes": good[::-1], "empty": b""}[damage])
    untouched = {
        one: one.stat().st_mtime_ns for one in (tmp_path / "parts").iterdir() if one != file
    }
    with pytest.warns(fs.FluoroscopeWarning, match=r"00001-apgd\.parquet .*it is made anew"):
        runs.run(tmp_path, save_images=True)
    assert_same(tmp_path, whole)
    images = file.with_suffix(".safetensors")
    assert all(one.stat().st_mtime_ns == time for one, time in untouched.items() if one != images)


def test_parts_of_another_size_are_refused(whole: Path) -> None:
    with pytest.raises(fs.FluoroscopeError, match=r"part is 8, and here 9.*--resume never"):
        runs.run(whole, save_images=True, part=9)


def test_a_run_begun_anew_keeps_nothing(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    runs.run(tmp_path, part=20, resume=False)
    assert {name[:5] for name in runs.parts(tmp_path)} == {"00000", "00001"}
    assert not list((tmp_path / "parts").glob("*.safetensors"))


def test_pictures_that_changed_are_refused(tmp_path: Path) -> None:
    images = torch.rand(2, 30, 1, 28, 28)
    options = {"threat": "linf:0.05", "plan": runs.plan(), "at_chance": True, "out": tmp_path}
    model = fs.load_model("digits-linear")
    labels = fs.predict(model, images[0]).winners
    fs.evaluate(model, images[0], labels, **options)
    next((tmp_path / "parts").glob("*-fgsm.parquet")).unlink()
    with pytest.raises(fs.FluoroscopeError, match="other pictures or labels"):
        fs.evaluate(model, images[1], labels, **options)


def test_a_finished_run_is_read_without_pictures_and_passes(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("nothing was to be computed")

    monkeypatch.setattr(Job, "load", never)
    monkeypatch.setattr(ArraySource, "image", never)
    assert runs.run(whole, save_images=True).complete
