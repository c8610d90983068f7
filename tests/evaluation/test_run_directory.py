"""Runs on disk: what is refused, what is made anew, and what strangers may have put there."""

import errno
import json
import os
import random
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file
from short_plans import plan

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError, ResultFormatError, StorageError
from fluoroscope.evaluation.runs.part_files import write_rows
from fluoroscope.evaluation.runs.run_directory import RunDirectory
from fluoroscope.evaluation.runs.stored import open_run

Run = Callable[..., fs.Verdict]


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((path / "parts").iterdir())}


def apart(path: Path) -> list[dict[str, Any]]:
    return [
        dict(parquet.read_table(file).drop_columns(["seconds"]).to_pydict())
        for file in sorted((path / "parts").glob("*.parquet"))
    ]


def test_the_verdict_is_made_anew_from_the_rows(run: Run, tmp_path: Path) -> None:
    verdict = run()
    again = fs.read_run(tmp_path / "run")
    assert again == replace(verdict, record=again.record)
    assert again.record["identity"]["plan"] == verdict.record["identity"]["plan"]
    assert again.record["model_sha256"] == verdict.record["model_sha256"]
    written = json.loads((tmp_path / "run" / "verdict.json").read_text())
    assert written["robust_accuracy"] == verdict.robust_accuracy


def test_pandas_reads_all_parts_as_one_table(run: Run, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    verdict = run()
    rows = pandas.read_parquet(tmp_path / "run" / "parts")
    clean = rows[rows.attack == "clean"]
    assert sorted(clean["index"]) == list(range(60))
    assert 1 - clean.success.mean() == pytest.approx(verdict.clean_accuracy)
    lost = rows[rows.success].groupby("index").size()
    assert 1 - len(lost) / 60 == pytest.approx(verdict.robust_accuracy)
    assert rows.forwards.sum() == verdict.forwards


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"plan": plan(steps=5)}, "plan stage pgd steps is 3, and here 5"),
        ({"plan": replace(plan(), name="other")}, "plan is short, and here other"),
        (
            {"plan": replace(plan(), stages=plan().stages[:1])},
            "its plan short is that of an earlier version, with the stages fgsm, pgd, and here "
            "they are fgsm. Give another directory",
        ),
        ({"threat": "linf:0.2"}, "threat eps is 0.02, and here 0.2"),
        ({"seed": 3}, "seed is 0, and here 3"),
        ({"part": 30}, "part is 25, and here 30"),
        ({"batch_size": 64}, "batch_size is 128, and here 64"),
        ({"save_images": True}, "save_images is False, and here True"),
    ],
)
def test_another_run_in_the_same_place_is_refused(
    run: Run, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    run()
    before = contents(tmp_path / "run")
    with pytest.raises(InvalidParameterError, match="holds another run") as raised:
        run(**changed)
    assert message in str(raised.value)
    assert "--resume never" in str(raised.value)
    assert contents(tmp_path / "run") == before


def test_another_network_or_other_data_are_refused(
    run: Run, few: fs.ImageSet, small: fs.Classifier
) -> None:
    run()
    with pytest.raises(InvalidParameterError, match="network is digits-linear, and here digits-c"):
        run(model=fs.load_model("digits-cnn"))
    with pytest.raises(InvalidParameterError, match="data number of pictures is 60, and here 40"):
        run(images=few.take(40))
    module = torch.nn.Sequential(small.module, torch.nn.Identity())
    other = fs.Classifier(module, channels=1, input_size=28, name="digits-linear")
    with pytest.raises(InvalidParameterError, match="content hash of the network is"):
        run(model=other)


def test_resume_never_starts_anew(run: Run, tmp_path: Path) -> None:
    run(save_images=True)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    (tmp_path / "run" / "parts" / "mine.csv").write_text("mine")
    run(seed=1, resume=False)
    names = contents(tmp_path / "run")
    assert not any(name.endswith(".safetensors") for name in names)
    assert "mine.csv" in names
    assert (tmp_path / "run" / "notes.txt").exists()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["identity"]["seed"] == 1


def test_resume_never_removes_only_what_an_evaluation_wrote(run: Run, tmp_path: Path) -> None:
    names = (
        "00001-of-00003.safetensors", "00012-data.parquet", "00000-clean.parquet", ".run-a.json",
        ".12345-notes.json", "parts/00007-rows.parquet", "parts/00000-clean.parquet.old",
    )  # fmt: skip
    run()
    for name in names:
        (tmp_path / "run" / name).write_text("mine")
    run(seed=1, resume=False)
    assert [(tmp_path / "run" / name).read_text() for name in names] == ["mine"] * len(names)


def test_resume_never_needs_a_run_of_ours(run: Run, tmp_path: Path) -> None:
    run()
    mine = tmp_path / "run" / "run.json"
    mine.write_text('{"laps": 3}')
    before = contents(tmp_path / "run")
    with pytest.raises(ResultFormatError, match=r"run\.json cannot be read"):
        run(resume=False)
    assert contents(tmp_path / "run") == before
    assert mine.read_text() == '{"laps": 3}'


def test_one_evaluation_at_a_time(run: Run, tmp_path: Path) -> None:
    def meanwhile(_: object) -> None:
        for resume in (True, False):
            with pytest.raises(InvalidParameterError, match=f"in use by process {os.getpid()} on"):
                run(resume=resume, seed=1)

    verdict = run(on_progress=meanwhile)
    assert run() == replace(verdict, record=run().record)
    assert not list((tmp_path / "run").glob(".*"))


def test_rows_of_another_run_are_noticed(run: Run, tmp_path: Path) -> None:
    run()
    run("other", seed=1)
    before = apart(tmp_path / "run")
    other = tmp_path / "other" / "parts" / "00000-fgsm.parquet"
    mine = tmp_path / "run" / "parts" / other.name
    mine.write_bytes(other.read_bytes())
    with pytest.raises(ResultFormatError, match="damaged, changed, or of another run"):
        fs.read_run(tmp_path / "run")
    with pytest.warns(fs.FluoroscopeWarning, match="of another run.*made anew"):
        run()
    assert apart(tmp_path / "run") == before


def test_a_flipped_bit_is_noticed(run: Run, tmp_path: Path) -> None:
    run()
    directory, rng = RunDirectory(tmp_path / "run"), random.Random(5)
    files, noticed = sorted((tmp_path / "run" / "parts").iterdir()), 0
    for _ in range(150):
        file = rng.choice(files)
        part, stage = int(file.stem[:5]), file.stem[6:]
        whole, rows = file.read_bytes(), parquet.ParquetFile(file).read()
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = directory.load(part, stage, rows["index"].to_pylist())
        file.write_bytes(whole)
        noticed += found is None
        assert found is None or found.equals(rows)
    assert noticed > 50


def test_what_attacks_made_is_kept(run: Run, tmp_path: Path) -> None:
    run(save_images=True)
    rows = parquet.read_table(tmp_path / "run" / "parts" / "00001-fgsm.parquet")
    images = load_file(tmp_path / "run" / "parts" / "00001-fgsm.safetensors")["images"]
    assert len(images) == len(rows)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-20]),
        lambda file: file.write_bytes(os.urandom(2000)),
        lambda file: parquet.write_table(pa.table({"index": [1]}), file),
        lambda file: parquet.write_table(parquet.read_table(file).slice(1), file),
    ],
)
def test_a_damaged_part_is_named_and_made_anew(
    run: Run, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    run()
    before, whole = apart(tmp_path / "run"), contents(tmp_path / "run")
    damage(tmp_path / "run" / "parts" / "00001-pgd.parquet")
    with pytest.warns(fs.FluoroscopeWarning, match=r"00001-pgd.parquet cannot be used.*made anew"):
        run()
    assert apart(tmp_path / "run") == before
    now = contents(tmp_path / "run")
    assert [name for name in whole if whole[name] != now[name]] in ([], ["00001-pgd.parquet"])


@pytest.mark.parametrize("images", [False, True])
def test_a_full_disk_loses_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: bool
) -> None:
    run("whole", save_images=images)
    write_table, written = parquet.write_table, 0

    def full(table: pa.Table, path: Path) -> None:
        nonlocal written
        written += 1
        if written == 5:
            Path(path).write_bytes(b"PAR1")
            raise OSError(errno.ENOSPC, "Error writing bytes to file")
        write_table(table, path)

    monkeypatch.setattr(parquet, "write_table", full)
    with pytest.raises(StorageError, match=r"cannot write .*00001-fgsm.parquet: the disk is full"):
        run(save_images=images)
    monkeypatch.undo()
    there = contents(tmp_path / "run")
    assert [name for name in there if name.endswith("parquet")] == [
        "00000-clean.parquet", "00000-fgsm.parquet", "00000-pgd.parquet", "00001-clean.parquet",
    ]  # fmt: skip
    assert not any(name.startswith(".") for name in there)
    verdict = fs.read_run(tmp_path / "run")
    assert not verdict.complete
    assert verdict.count == 50
    run(save_images=images)
    assert apart(tmp_path / "run") == apart(tmp_path / "whole")


def test_what_safetensors_says_of_a_full_disk(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import SafetensorError

    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(StorageError, match=r"00000-fgsm.safetensors: the disk is full"):
        run(save_images=True)


def test_a_place_that_cannot_be_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InvalidParameterError, match=r"cannot write to .*another directory"):
            run(out=place)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InvalidParameterError, match=r"cannot write to .*another directory"):
        run()


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    about = json.loads((path / "run.json").read_text())
    change(about)
    (path / "run.json").write_text(json.dumps(about))


def test_a_newer_version_is_refused(run: Run, tmp_path: Path) -> None:
    run()
    rewrite(tmp_path / "run", lambda about: about.update(format=4))
    for what in (run, lambda: fs.read_run(tmp_path / "run")):
        with pytest.raises(ResultFormatError, match=r"format 4 .* knows 3; install a newer"):
            what()


def plan_of(about: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = about["identity"]["plan"]
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about.pop("labels"),
        lambda about: about.update(labels="0123456789"),
        lambda about: about["identity"].pop("data"),
        lambda about: about["identity"]["data"].update(count="60"),
        lambda about: about["identity"].update(threat="linf"),
        lambda about: about["identity"]["threat"].update(norm="l9"),
        lambda about: about["identity"]["threat"].update(eps="__import__('os')"),
        lambda about: about["identity"].update(class_numbers=[11]),
        lambda about: plan_of(about).update(stages=[]),
        lambda about: plan_of(about)["stages"][0].update(name="../../../etc/passwd"),
        lambda about: plan_of(about)["stages"][0].update(name="a/b"),
        lambda about: plan_of(about)["stages"][0].update(name="x" * 100),
        lambda about: plan_of(about)["stages"][0].update(name=["fgsm"]),
    ],
)
def test_a_strangers_description_is_not_trusted(
    run: Run, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    run()
    rewrite(tmp_path / "run", change)
    with pytest.raises(ResultFormatError, match=r"run\.json") as raised:
        fs.read_run(tmp_path / "run")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[" * 100_000, '{"format": true}', "\x00", '{"format": 1e999}']
)
def test_no_json_of_ours(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(text)
    for what in (run, lambda: fs.read_run(tmp_path / "run")):
        with pytest.raises(ResultFormatError, match=r"run\.json"):
            what()


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", '"a\\ud800"'])
def test_what_json_cannot_say_is_refused(run: Run, tmp_path: Path, value: str) -> None:
    run()
    file = tmp_path / "run" / "run.json"
    file.write_text(file.read_text().replace('"seed": 0', f'"seed": {value}'))
    with pytest.raises(ResultFormatError, match=r"run\.json cannot be read"):
        fs.read_run(tmp_path / "run")


@pytest.mark.parametrize("name", ["run.json", "parts/00000-pgd.parquet"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(
    run: Run, tmp_path: Path, name: str
) -> None:
    run()
    (tmp_path / "run" / name).unlink()
    os.mkfifo(tmp_path / "run" / name)
    with pytest.raises(ResultFormatError, match="no file, but a directory, pipe or device"):
        fs.read_run(tmp_path / "run")


def test_a_description_has_a_size(run: Run, tmp_path: Path) -> None:
    run()
    rewrite(tmp_path / "run", lambda about: about.update(padding="x" * 10_000_000))
    with pytest.raises(ResultFormatError, match="more than 10000000 bytes"):
        fs.read_run(tmp_path / "run")


def change_rows(table: pa.Table, name: str, change: Callable[[list[Any]], list[Any]]) -> pa.Table:
    place = table.schema.get_field_index(name)
    column = pa.array(change(table[name].to_pylist()), table.schema.field(name).type)
    return table.set_column(place, table.schema.field(name), column)


@pytest.mark.parametrize(
    ("stage", "name", "change"),
    [
        ("pgd", "index", lambda rows: [59, *rows[1:]]),
        ("pgd", "index", lambda rows: [rows[1], *rows[1:]]),
        ("pgd", "attack", lambda rows: ["fgsm"] * len(rows)),
        ("pgd", "success", lambda rows: [None, *rows[1:]]),
        ("pgd", "seconds", lambda rows: [float("nan")] * len(rows)),
        ("pgd", "margin", lambda rows: [float("nan")] * len(rows)),
        ("pgd", "flat", lambda rows: [float("nan")] * len(rows)),
        ("pgd", "flat", lambda rows: [1.5] * len(rows)),
        ("pgd", "steep", lambda rows: [float("inf")] * len(rows)),
        ("pgd", "distance", lambda rows: [-1.0] * len(rows)),
        ("pgd", "forwards", lambda rows: [2**62] * len(rows)),
        ("pgd", "prediction", lambda rows: [10] * len(rows)),
        ("clean", "label", lambda rows: [10, *rows[1:]]),
        ("clean", "index", lambda rows: [59, *rows[1:]]),
    ],
)
def test_a_strangers_rows_are_not_trusted(
    run: Run, tmp_path: Path, stage: str, name: str, change: Callable[[list[Any]], list[Any]]
) -> None:
    run()
    file = tmp_path / "run" / "parts" / f"00000-{stage}.parquet"
    rows = change_rows(parquet.read_table(file), name, change)
    write_rows(file, rows, RunDirectory(tmp_path / "run").hash)  # a stranger can seal it as well
    with pytest.raises(ResultFormatError):
        fs.read_run(tmp_path / "run")


def test_samples_that_are_there_twice(run: Run, tmp_path: Path) -> None:
    run()
    parts = tmp_path / "run" / "parts"
    (parts / "00007-clean.parquet").write_bytes((parts / "00001-clean.parquet").read_bytes())
    with pytest.raises(ResultFormatError, match="samples twice"):
        fs.read_run(tmp_path / "run")


def test_tables_that_unfold_without_end(run: Run, tmp_path: Path) -> None:
    run()
    file = tmp_path / "run" / "parts" / "00000-pgd.parquet"
    parquet.write_table(pa.table({"index": pa.repeat(pa.scalar(0), 2_000_000)}), file)
    assert file.stat().st_size < 100_000
    with pytest.raises(ResultFormatError, match="2000000 rows"):
        fs.read_run(tmp_path / "run")


def test_other_files_are_left_alone(run: Run, tmp_path: Path) -> None:
    verdict = run()
    parts = tmp_path / "run" / "parts"
    (parts / "00009-clean.parquet.tmp").write_text("")
    (parts / ".00009-clean.parquet").write_text("")
    (parts / "00009-other.parquet").write_text("")
    (tmp_path / "run" / "verdict.json").write_text("[")
    again = fs.read_run(tmp_path / "run")
    assert again.robust_accuracy == verdict.robust_accuracy
    assert not again.complete  # as far as anybody can say without its verdict


def test_a_directory_without_a_run(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(ResultFormatError, match="holds no run"):
            open_run(place)


def test_a_run_that_was_not_finished(run: Run, tmp_path: Path) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 4

    partial = run(cancelled=stop)
    again = fs.read_run(tmp_path / "run")
    assert not partial.complete
    assert not again.complete
    assert again.count <= partial.count
    assert "stopped early" in again.notes[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run().complete


def test_a_file_that_a_network_never_wrote(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    (tmp_path / "parts").mkdir()
    assert directory.load(0, "clean", [0]) is None


def test_a_run_that_was_refused_leaves_its_directory_free(run: Run, tmp_path: Path) -> None:
    run()
    for file in (tmp_path / "run" / "parts").iterdir():
        if not file.name.endswith("-clean.parquet"):
            file.unlink()
    assert run(seed=1).record["identity"]["seed"] == 1
    with pytest.raises(InvalidParameterError, match="seed is 1, and here 2"):
        run(seed=2)
