"""Searches that are put down at any step and taken up again end as if nobody had touched them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fluoroscope as fs
from fluoroscope.attacks.registry import ATTACKS
from fluoroscope.attacks.result import AttackResult
from fluoroscope.engine import bookmark as room
from fluoroscope.engine.bookmark import Bookmark, UnusableBookmarkError
from fluoroscope.tensor_files import read_tensors, write_tensors
from tests.attacks.invertible_networks import invertible

EPS = {"linf": 0.03, "l2": 0.3, "l1": 3.0, "l0": 4.0, "none": None}
PAUSING = {name: kind for name, kind in ATTACKS.items() if kind.can_pause}
CASES = [(name, kind.norms[0]) for name, kind in PAUSING.items()]
CASES += [("apgd", "l1"), ("apgd-t", "l1"), ("square", "l2")]
# Samples, slots: they are refilled while the search goes on.
COUNT, SLOTS = 7, 3


class Stopped(Exception):  # noqa: N818  a person, not a fault
    """The process is killed here."""


@pytest.fixture(scope="module")
def setting() -> tuple[fs.Classifier, Tensor, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = torch.nn.Sequential(
            torch.nn.Conv2d(2, 4, 3), torch.nn.Flatten(), torch.nn.Tanh(), torch.nn.Linear(144, 4)
        )
        images = torch.rand(COUNT, 2, 8, 8)
    model = fs.Classifier(module, channels=2, input_size=8)
    return model, images, fs.predict(model, images).winners


def made(name: str, norm: str, images: Tensor) -> Any:
    own: dict[str, Any] = {}
    if name == "feature-adversary":
        own = {"layer": "0", "guides": images}
    if name == "admix":
        own = {"pool": images}
    return fs.attack(name, eps=EPS[norm], norm=norm, **own)


def same(one: AttackResult, other: AttackResult) -> None:
    for name in ("images", "logits", "success", "finished", "distance", "forwards", "backwards"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert one.notes == other.notes


@pytest.mark.parametrize(("name", "norm"), CASES)
@pytest.mark.filterwarnings("ignore::fluoroscope.FluoroscopeWarning")
def test_every_attack_goes_on_where_it_was(
    name: str, norm: str, setting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images, classes = setting
    if name == "latent":  # which needs an inverse
        model = invertible(2, 8)
        classes = fs.predict(model, images).winners
    attack, place = made(name, norm, images), tmp_path / "search.going"
    options: dict[str, Any] = {
        "batch_size": SLOTS, "restarts": 2, "budget": fs.Budget(forwards=10),
    }  # fmt: skip
    steps: list[Tensor] = []
    whole = attack(model, images, classes, on_step=lambda s: steps.append(s.forwards), **options)
    seen, deadly = 0, len(steps) // 2

    def until_killed(_: object) -> None:
        nonlocal seen
        if seen == deadly:
            raise Stopped
        seen += 1

    # Kept before the step that it dies in: that one is made again, and none before it.
    monkeypatch.setattr(Bookmark, "due", property(lambda self: seen == deadly))
    with pytest.raises(Stopped):
        attack(
            model, images, classes, on_step=until_killed, bookmark=Bookmark(place, {}), **options
        )
    monkeypatch.undo()
    left: list[Tensor] = []
    kept = Bookmark(place, {})
    assert kept.found
    again = attack(
        model, images, classes, on_step=lambda s: left.append(s.forwards), bookmark=kept, **options
    )
    same(again, whole)
    assert len(left) == len(steps) - deadly
    assert all(map(torch.equal, left, steps[deadly:]))


@pytest.fixture
def half_way(setting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search that a person stopped."""
    model, images, classes = setting
    monkeypatch.setattr(room, "_WORTH", 0.0)
    seen: list[object] = []
    kept = Bookmark(tmp_path / "search.going", {"of": "this"})
    found = square(
        model, images, classes, on_step=seen.append, cancelled=lambda: len(seen) == 30,
        bookmark=kept,
    )  # fmt: skip
    assert not found.finished.all()
    assert len(seen) == 30
    return kept.path


def square(model: fs.Classifier, images: Tensor, classes: Tensor, **options: Any) -> AttackResult:
    attack = fs.attack("square", eps=0.02, queries=50)
    return attack(model, images, classes, batch_size=SLOTS, **options)


@pytest.mark.filterwarnings("ignore::fluoroscope.FluoroscopeWarning")
def test_what_a_person_stops_loses_nothing(setting: Any, half_way: Path) -> None:
    steps: list[object] = []
    whole = square(*setting, on_step=steps.append)
    left: list[object] = []
    same(square(*setting, on_step=left.append, bookmark=Bookmark(half_way, {"of": "this"})), whole)
    assert len(left) == len(steps) - 30


def test_what_is_of_another_search_or_damaged_is_not_there(half_way: Path) -> None:
    assert Bookmark(half_way, {"of": "this"}).found
    assert not Bookmark(half_way, {"of": "that"}).found
    whole = half_way.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b"", b"x" * 50):
        half_way.write_bytes(damaged)
        assert not Bookmark(half_way, {"of": "this"}).found


@pytest.mark.filterwarnings("ignore::fluoroscope.FluoroscopeWarning")
@pytest.mark.parametrize("harm", ["rows", "shape", "indices", "fields", "lists", "kinds"])
def test_what_does_not_fit_is_refused(harm: str, setting: Any, half_way: Path) -> None:
    tensors, about = read_tensors(half_way)
    tree = json.loads(about["tree"])
    slots = tree["slots"]["fields"]
    indices = slots["samples"]["fields"]["indices"]["tensor"]
    best = tree["best"]["items"][0]["tensor"]
    if harm == "rows":
        tensors[indices] = tensors[indices][:-1]
    elif harm == "shape":
        tensors[best] = tensors[best][:, :1]
    elif harm == "indices":
        tensors[indices] = tensors[indices] + COUNT
    elif harm == "fields":
        del slots["number"]
    elif harm == "lists":
        tree["best"]["items"].pop()
    else:
        tree["handed"] = {"value": "many"}
    about["tree"] = json.dumps(tree)
    write_tensors(half_way, tensors, about)
    bookmark = Bookmark(half_way, {"of": "this"})
    assert bookmark.found
    with pytest.raises(UnusableBookmarkError, match=r"search\.going"):
        square(*setting, bookmark=bookmark)


def test_writing_takes_little_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(room.time, "monotonic", lambda: now)

    def slow(*_: object) -> None:
        nonlocal now
        now += 2.0

    monkeypatch.setattr(room, "write_tensors", slow)
    bookmark, spent = Bookmark(tmp_path / "x.going", {}), 0.0
    while now < 5000:
        now += 0.5
        if bookmark.due:
            before = now
            bookmark.write()
            spent += now - before
    assert 0 < spent <= 1.05 * room.SHARE * now


def test_where_the_disk_refuses_the_search_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bookmark = Bookmark(tmp_path / "file" / "x.going", {})
    bookmark.keep("one", lambda: torch.zeros(2))
    bookmark.write()
    assert "x.going" in bookmark.trouble
    assert not bookmark.due


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    whole = torch.rand(4, 3, 5, 5)
    last = whole.contiguous(memory_format=torch.channels_last)
    kept = Bookmark(tmp_path / "x.going", {})
    things = [whole, whole[1], last, whole[:, :, ::2, 0], whole, torch.zeros(0, 3)]
    kept.keep("things", lambda: things)
    kept.keep("said", lambda: ["a", "b"])
    kept.write()
    found = Bookmark(kept.path, {})
    back = found.kept("things", tuple(things))
    assert all(map(torch.equal, back, things))
    assert back[0] is back[4]
    assert back[2].stride() == last.stride()
    assert found.kept("said", [""]) == ["a", "b"]
    found.drop()
    assert not kept.path.exists()
