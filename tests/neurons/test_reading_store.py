"""Activations on disk: whole whatever happens, of one network and data set, in bounded memory."""

import errno
import random
import shutil
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import fluoroscope as fs
from fluoroscope.neurons.reading import read as reading
from fluoroscope.neurons.reading import store
from fluoroscope.neurons.reading.activations import Activations
from fluoroscope.neurons.reading.units import Units

FILES = ("activations.json", "activations.npy", "rows.parquet")
PICTURES = torch.rand(11, 1, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def model() -> fs.Classifier:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 3))
    return fs.Classifier(layers, input_size=6, channels=1)


@pytest.fixture
def data() -> fs.ImageSet:
    return fs.load_images(PICTURES, labels=[0, 1, 2] * 3 + [0, 1])


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "part_size", lambda model: 4)


def kept(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


class Killed(BaseException):
    """What nobody expects."""


class Bomb:
    """Counts the steps of a reading, and ends it before or after one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps, self.at = 0, -1
        for home, name in (
            (store, "_write_values"), (store, "write_tensors"), (store, "write_rows"),
            (store, "write_record"), (store, "remove"), (reading.Job, "_pass"),
        ):  # fmt: skip
            monkeypatch.setattr(home, name, self._watched(getattr(home, name)))

    def _watched(self, own: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **named: Any) -> Any:
            self._tick()
            found = own(*given, **named)
            self._tick()
            return found

        return step

    def _tick(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise Killed


def test_killed_anywhere_it_ends_with_the_same_bytes(
    model: fs.Classifier, data: fs.ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs.neurons.read(model, data, "0", out=tmp_path / "whole", batch_size=2)
    whole = kept(tmp_path / "whole")
    assert sorted(whole) == list(FILES)
    bomb, draw = Bomb(monkeypatch), random.Random(0)
    for trial in range(12):
        out, kills = tmp_path / str(trial), 0
        while True:
            bomb.steps, bomb.at = 0, draw.randrange(1, 30)
            try:
                fs.neurons.read(model, data, "0", out=out, batch_size=2)
                break
            except Killed:
                kills += 1
        assert kept(out) == whole, f"trial {trial}, after {kills} kills"


def test_what_is_whole_is_not_read_again(
    model: fs.Classifier, data: fs.ImageSet, tmp_path: Path
) -> None:
    shares: list[float] = []
    stopped = fs.neurons.read(
        model, data, "0", out=tmp_path, batch_size=2, on_share=shares.append,
        cancelled=lambda: len(shares) > 3,
    )  # fmt: skip
    assert len(stopped) == 4
    assert "stopped early: the first 4 of 11 pictures are read" in stopped.notes
    assert not (tmp_path / "activations.json").exists()
    with pytest.raises(fs.FluoroscopeError, match="cannot be read"):
        Activations.open(tmp_path)
    shares.clear()
    found = fs.neurons.read(model, data, "0", out=tmp_path, batch_size=2, on_share=shares.append)
    assert shares[0] == pytest.approx(4 / 11)
    assert shares[-1] == 1
    np.testing.assert_array_equal(found.values[:4], stopped.values)
    shares.clear()
    again = fs.neurons.read(model, data, "0", out=tmp_path, batch_size=2, on_share=shares.append)
    assert not shares
    np.testing.assert_array_equal(found.values, again.values)


def test_a_part_that_was_harmed_is_read_again(
    model: fs.Classifier, data: fs.ImageSet, tmp_path: Path
) -> None:
    whole = fs.neurons.read(model, data, "0", batch_size=2).values
    shares: list[float] = []
    fs.neurons.read(
        model, data, "0", out=tmp_path, batch_size=2, on_share=shares.append,
        cancelled=lambda: len(shares) > 5,
    )  # fmt: skip
    file = tmp_path / "activations.npy"
    harmed = bytearray(file.read_bytes())
    harmed[130] ^= 1
    file.write_bytes(harmed)
    found = fs.neurons.read(model, data, "0", out=tmp_path, batch_size=2)
    np.testing.assert_array_equal(found.values, whole)


@pytest.mark.parametrize("name", FILES)
def test_harm_of_what_is_finished_is_noticed(
    model: fs.Classifier, data: fs.ImageSet, tmp_path: Path, name: str
) -> None:
    fs.neurons.read(model, data, "0", out=tmp_path)
    whole = (tmp_path / name).read_bytes()
    for at in range(3, len(whole), max(1, len(whole) // 40)):
        harmed = bytearray(whole)
        harmed[at] ^= 2
        (tmp_path / name).write_bytes(harmed)
        with suppress(fs.FluoroscopeError):
            found = Activations.open(tmp_path)
            # In what says nothing: Parquet's own statistics, spaces of the JSON.
            assert found.rows.equals(fs.neurons.read(model, data, "0").rows)
            assert name != "activations.npy"


def test_of_another_network_data_set_or_question(
    model: fs.Classifier, data: fs.ImageSet, tmp_path: Path
) -> None:
    found = fs.neurons.read(model, data, "0", out=tmp_path)
    other = fs.Classifier(
        nn.Sequential(nn.Conv2d(1, 5, 3), nn.Flatten(), nn.Linear(80, 3)), input_size=6, channels=1
    )
    brighter = fs.load_images(PICTURES.clamp(min=0.2), labels=[0, 1, 2] * 3 + [0, 1])
    assert Activations.open(tmp_path, model, data).images is data
    with pytest.raises(fs.FluoroscopeError, match="was read from Sequential, with other weights"):
        Activations.open(tmp_path, other)
    for pictures in (brighter, data.select(range(10)), data.select([1, 0, *range(2, 11)])):
        with pytest.raises(fs.FluoroscopeError, match="11 pictures of array, which are not the"):
            Activations.open(tmp_path, model, pictures)
    with pytest.raises(fs.FluoroscopeError, match=r"content hash .* is .*, and here"):
        fs.neurons.read(other, data, "0", out=tmp_path)
    with pytest.raises(fs.FluoroscopeError, match="reduction is mean, and here max"):
        fs.neurons.read(model, data, "0", reduction="max", out=tmp_path)
    with pytest.raises(fs.FluoroscopeError, match="which are not the 11 pictures of array"):
        fs.neurons.read(model, brighter, "0", out=tmp_path)
    np.testing.assert_array_equal(fs.neurons.read(model, data, "0", out=tmp_path).values,
                                  found.values)  # fmt: skip


def test_too_little_disk_is_said_before_anything_is_read(
    model: fs.Classifier, data: fs.ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(fs.FluoroscopeError, match=r"11 pictures of 80 units .* take 5\.\d+ KB, "
                       r"and 1 KB are free at"):  # fmt: skip
        fs.neurons.read(model, data, "2", out=tmp_path)
    assert not kept(tmp_path)


def test_a_disk_that_fills_up_meanwhile(
    model: fs.Classifier, data: fs.ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        with pytest.raises(fs.FluoroscopeError, match="the disk is full; make room"):
            store._write_values(tmp_path / "a.npy", (2, 2), range(1), np.zeros((1, 2), np.float32))


class Made(Dataset[Any]):
    """Pictures that are made when they are asked for."""

    def __init__(self, many: int) -> None:
        self.many = many

    def __len__(self) -> int:
        return self.many

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        if place >= self.many:
            raise IndexError
        return torch.full((1, 6, 6), place % 7 / 7), place % 3


def test_memory_does_not_grow_with_the_data(
    model: fs.Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "part_size", lambda model: 64)

    def peak(many: int, out: Path | None) -> int:
        pictures = fs.load_images(Made(many))
        tracemalloc.start()
        fs.neurons.read(model, pictures, "2", out=out)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(64, tmp_path / "before")  # what is imported only once
    small, large = (peak(many, tmp_path / str(many)) for many in (128, 512))
    assert large - small < (512 - 128) * 250  # of which a row takes half, and no number of a unit
    assert peak(512, None) > large + 512 * 4 * 80 / 2


def test_two_at_once_are_refused(model: fs.Classifier, data: fs.ImageSet, tmp_path: Path) -> None:
    def meanwhile(share: float) -> None:
        if share == 1:
            with pytest.raises(fs.FluoroscopeError, match="is in use by process"):
                fs.neurons.read(model, data, "0", out=tmp_path)

    fs.neurons.read(model, data, "0", out=tmp_path, on_share=meanwhile)


def test_numbers_from_elsewhere_are_saved_and_opened(tmp_path: Path) -> None:
    units = Units("planted", None, (4,), 4, 1, None)
    values = np.arange(12.0).reshape(3, 4)
    columns = {"label": [0, 1, 1], "target": [1, -1, 0], "name": ["a", "ü", "b\0"]}
    made = Activations.of(values, units, columns, classes=["no", "yes"], notes=("planted",))
    made.save(tmp_path)
    made.save(tmp_path)
    found = Activations.open(tmp_path)
    np.testing.assert_array_equal(found.values, values)
    assert found.rows.equals(made.rows)
    assert found.targets.tolist() == [1, -1, 0]
    assert (found.names, found.classes, found.notes) == (
        ("a", "ü", "b\0"), ("no", "yes"), ("planted",),
    )  # fmt: skip
    with pytest.raises(fs.FluoroscopeError, match=r"expected \(N, 4\)"):
        Activations.of(values[:, :3], units)
    with pytest.raises(fs.FluoroscopeError, match="the column 'label' 2 rows"):
        Activations.of(values, units, {"label": [0, 1]})
