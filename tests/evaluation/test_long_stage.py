"""A stage that takes long is kept while it goes on: what is killed in it is not begun anew."""

import random
import time
from pathlib import Path

import pytest
import runs

import fluoroscope as fs
from fluoroscope.engine import bookmark
from fluoroscope.evaluation.plan import Plan, Stage

# All in one part: without bookmarks nothing would ever be finished.
PLAN = Plan("long", (Stage("square", fs.attack("square", eps=0.08, queries=100)),))
OPTIONS = {
    "plan": PLAN,
    "threat": "linf:0.08",
    "part": runs.PICTURES,
    "save_images": True,
    "batch_size": 16,
}


def run_kept_often(out: Path) -> None:
    bookmark.EVERY, bookmark.SHARE = 0.02, 0.5
    runs.run(out, **OPTIONS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped."""
    out = tmp_path_factory.mktemp("whole")
    assert runs.run(out, **OPTIONS).complete
    return out


def assert_same(out: Path, whole: Path) -> None:
    assert runs.parts(out) == runs.parts(whole)
    assert runs.rows(out) == runs.rows(whole)
    for file in (whole / "parts").glob("*.safetensors"):
        assert (out / "parts" / file.name).read_bytes() == file.read_bytes()


def test_killed_in_it_at_random_moments(whole: Path, tmp_path: Path) -> None:
    rng, kills, place = random.Random(3), 0, tmp_path / "parts" / "00000-square.going"
    for _ in range(2):
        before = place.stat().st_mtime_ns if place.exists() else 0
        at_work = runs.process(run_kept_often, tmp_path)
        while at_work.is_alive() and (not place.exists() or place.stat().st_mtime_ns == before):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        kills += runs.kill(at_work)
    assert kills
    if place.exists():
        assert runs.rows(tmp_path)["attack"] == ["clean"] * runs.PICTURES
    runs.run(tmp_path, **OPTIONS)
    assert_same(tmp_path, whole)


def test_what_a_person_stopped_is_searched_on(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bookmark, "_WORTH", 0.0)
    steps: list[fs.evaluation.evaluate.Progress] = []
    first = runs.run(tmp_path, **OPTIONS, on_progress=steps.append,
                     cancelled=lambda: len(steps) == 100)  # fmt: skip
    assert not first.complete
    assert "00000-square.going" in runs.parts(tmp_path)
    told = fs.read_run(tmp_path).notes
    assert any(note.startswith("square was put down in the middle of its search") for note in told)
    assert not any("0 searches" in note for note in told)
    left: list[fs.evaluation.evaluate.Progress] = []
    second = runs.run(tmp_path, **OPTIONS, on_progress=left.append)
    everything: list[object] = []
    runs.run(None, **(OPTIONS | {"save_images": False}), on_progress=everything.append)
    # Less what was searched before, and the clean look; and a word that it is taken up.
    assert len(left) == len(everything) - 98
    assert [one.stage for one in left[:3]] == [
        "clean", "taking up square where it stopped", "square",
    ]  # fmt: skip
    assert left[1].done == pytest.approx(steps[-1].done)
    assert all(one.done >= steps[-1].done > 0 for one in left[1:])
    assert_same(tmp_path, whole)
    again = runs.run(whole, **OPTIONS)
    assert (second.robust_accuracy, second.forwards) == (again.robust_accuracy, again.forwards)
    assert second.seconds > first.seconds
    assert not any("put down" in note for note in fs.read_run(tmp_path).notes)


def test_a_bookmark_of_another_search_is_no_matter(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bookmark, "_WORTH", 0.0)
    steps: list[object] = []
    options = {"on_progress": steps.append, "cancelled": lambda: len(steps) == 50}
    runs.run(tmp_path, **(OPTIONS | options | {"seed": 1}))
    place = tmp_path / "parts" / "00000-square.going"
    other = place.read_bytes()
    runs.run(tmp_path, **OPTIONS, resume=False)  # goes with the rest
    assert_same(tmp_path, whole)
    (tmp_path / "parts" / "00000-square.parquet").unlink()
    place.write_bytes(other)
    runs.run(tmp_path, **OPTIONS)
    assert_same(tmp_path, whole)
