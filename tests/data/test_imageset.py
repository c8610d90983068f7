"""Sets of pictures: what they hold, what they refuse, and what batching must never change."""

import pickle
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fluoroscope.data.batches import Batch, read_batches, suitable_workers
from fluoroscope.data.imageset import ImageSet, load_images
from fluoroscope.errors import (
    FluoroscopeError,
    InvalidImagesError,
    InvalidParameterError,
    PictureError,
    UnknownDataError,
)
from fluoroscope.models.preprocessing import Preprocessing

Paint = Callable[..., Path]
FIT = Preprocessing(input_size=(4, 4))


@pytest.fixture
def folder(tmp_path: Path, paint: Paint) -> Path:
    """Seven pictures of different sizes; their red tells which is which."""
    for number in range(7):
        paint(tmp_path / "photos" / f"{number}.png", number * 30, (4 + number, 6))
    return tmp_path / "photos"


def red(images: torch.Tensor) -> list[int]:
    return (images[..., 0, 0, 0] * 255).round().int().tolist()


def test_digits_are_built_in() -> None:
    digits = load_images("digits", channels=1)
    assert len(digits) == 1797
    assert digits.labels == tuple("0123456789")
    assert digits.split is None
    seven = digits[7]
    assert (seven.label, seven.index, seven.name) == (7, 7, "digits:7")
    assert seven.image.shape == (1, 28, 28)
    in_colour = load_images("digits")[7].image
    assert torch.equal(in_colour, seven.image.expand(3, -1, -1))


def test_a_sample_belongs_to_its_reader() -> None:
    digits = load_images("digits", channels=1)
    digits[3].image.fill_(7.0)
    assert digits[3].image.max() <= 1


def test_a_plain_folder_is_read_in_the_order_of_names(folder: Path) -> None:
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".hidden.png").write_bytes(b"")
    photos = load_images(folder)
    assert [red(sample.image[None])[0] for sample in photos] == [0, 30, 60, 90, 120, 150, 180]
    assert photos[2].name == "2.png"
    assert photos[2].label is None
    assert photos.labels is None
    assert photos[2].image.shape == (3, 6, 6)  # its own size


def test_names_that_sound_like_splits_do_not_hide_pictures(tmp_path: Path, paint: Paint) -> None:
    for name in ("cat.png", "test.png", "train_2.png"):
        paint(tmp_path / name, 9)
    assert len(load_images(tmp_path)) == 3


def test_one_file_and_lists_of_pictures(folder: Path) -> None:
    assert red(next(iter(load_images(folder / "3.png"))).image[None]) == [90]
    content = (folder / "1.png").read_bytes()
    mixed = load_images(
        [folder / "3.png", str(folder / "2.png"), content, Image.new("RGB", (2, 2))]
    )
    assert [red(sample.image[None])[0] for sample in mixed] == [90, 60, 30, 0]
    assert mixed[2].name == "picture 2"


@pytest.mark.parametrize("kind", ["tensor", "array"])
@pytest.mark.parametrize("last", [False, True], ids=["channels-first", "channels-last"])
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("eight_bit", [False, True])
def test_arrays(kind: str, last: bool, single: bool, eight_bit: bool) -> None:
    values = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 7), dtype=np.uint8)
    expected = torch.from_numpy(values).float() / 255
    given = values if eight_bit else expected.numpy()
    given = np.moveaxis(given, 1, -1) if last else given
    given = given[0] if single else given
    images = load_images(torch.from_numpy(given.copy()) if kind == "tensor" else given)
    assert len(images) == (1 if single else 5)
    assert all(torch.equal(images[i].image, expected[i]) for i in range(len(images)))


def test_an_array_keeps_double_precision_and_a_list_of_arrays_is_a_batch() -> None:
    doubles = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    assert torch.equal(load_images(doubles)[1].image, doubles[1])
    assert torch.equal(load_images([doubles[1], doubles[0]])[1].image, doubles[0])
    backwards = doubles.numpy()[::-1]
    backwards.flags.writeable = False
    assert torch.equal(load_images(backwards)[0].image, doubles[1])
    assert load_images(doubles.bfloat16())[0].image.dtype == torch.float32


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (torch.full((1, 3, 4, 4), torch.nan), "NaN"),
        (torch.full((1, 3, 4, 4), 1.5), r"values from 1.5 to 1.5; expected \[0, 1\]"),
        (torch.rand(1, 5, 4, 4), r"expected \(N, 3, H, W\): .* as in channels=4"),
        (torch.rand(13, 16, 16), r"expected \(N, 3, H, W\): .* as in channels=13"),
        (torch.rand(60, 8, 8), r"expected \(N, 3, H, W\)$"),
        (torch.rand(4, 4), r"expected \(N, 3, H, W\)"),
        (torch.ones(1, 3, 4, 4, dtype=torch.int64), "hold int64; expected 8-bit values or floats"),
        (np.full((1, 3, 4, 4), 9000, np.uint16), "hold uint16; .*: divide them by the top of"),
        (np.zeros((0, 3, 4, 4), np.uint8), "no pixels"),
        ([torch.rand(3, 4, 4), torch.rand(3, 5, 4)], "expected one shape"),
        ([], "a sequence of nothing"),
        ([3.5], "a sequence of float"),
        (np.array([[["a"]]]), "an array of <U1"),
    ],
)
def test_unusable_arrays_are_refused(source: object, message: str) -> None:
    with pytest.raises(InvalidImagesError, match=message):
        load_images(source)  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
@pytest.mark.parametrize("last", [False, True])
def test_an_array_tells_its_channels(channels: int, last: bool) -> None:
    pixels = torch.rand(2, channels, 16, 15)
    for given in (pixels.movedim(1, -1), list(pixels.movedim(1, -1))) if last else (pixels,):
        images = load_images(given, labels=[1, 0])
        assert images.channels == channels
        assert torch.equal(images[1].image, pixels[1])
    assert load_images("digits").channels == 3


def test_unknown_names_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    for name, message in {
        "digit": "expected 'digits', a picture, a folder",
        "photo": r"did you mean photos\?",
        "photos/8.png": r"photos/8\.png does not exist",
        "photos/album": r"photos/album does not exist",
        "./nowhere/at/all": "nor does the folder",
        "nowhere/cat.jpg": "nor does the folder",
    }.items():
        with pytest.raises(UnknownDataError, match=message):
            load_images(name)
    (folder.parent / "empty").mkdir()
    with pytest.raises(UnknownDataError, match="empty is empty"):
        load_images("empty")
    for name in ("digits", "photos", "photos/1.png"):
        with pytest.raises(UnknownDataError, match="no split 'test': it has no parts"):
            load_images(name, "test")
    with pytest.raises(InvalidParameterError, match="channels is 2"):
        load_images("digits", channels=2)


def test_a_path_is_only_a_path(folder: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    paint(Path("digits/1.png"), 5)
    assert len(load_images(Path("digits"))) == len(load_images("./digits")) == 1
    assert len(load_images("digits")) == 1797
    with pytest.raises(UnknownDataError, match="owner/name does not exist"):
        load_images(Path("owner/name"))


def test_what_the_file_system_refuses_is_an_error_of_ours() -> None:
    for name in ("x" * 300, "~nobody-of-this-name/photos"):
        with pytest.raises(UnknownDataError, match="cannot be looked up"):
            load_images(name)


def test_positions(folder: Path) -> None:
    photos = load_images(folder)
    assert photos[-1].index == 6
    for position in (7, -8):
        with pytest.raises(UnknownDataError, match=rf"no picture {position}; expected 0 to 6"):
            photos[position]


def test_views_are_lazy_and_keep_indices(folder: Path) -> None:
    (folder / "0.png").write_bytes(b"damaged")
    photos = load_images(folder)
    view = photos.select(torch.tensor([5, 1, 5])).select([0, 1])
    assert [(sample.index, red(sample.image[None])[0]) for sample in view] == [(5, 150), (1, 30)]
    assert next(view.batches(2, fit=FIT)).indices.tolist() == [5, 1]
    assert len(photos) == 7
    assert len(photos.take(3)) == 3
    assert len(photos.take(30)) == 7
    with pytest.raises(UnknownDataError, match="no picture 7"):
        photos.select([7])
    with pytest.raises(InvalidParameterError, match="first 0 pictures"):
        photos.take(0)


def test_batches_hold_everything_once_in_order(folder: Path) -> None:
    batches = list(load_images(folder).batches(3, fit=FIT, workers=0))
    assert [len(batch.images) for batch in batches] == [3, 3, 1]
    assert [index for batch in batches for index in batch.indices.tolist()] == list(range(7))
    assert [value for batch in batches for value in red(batch.images)] == [
        0,
        30,
        60,
        90,
        120,
        150,
        180,
    ]
    assert all(batch.images.shape[1:] == (3, 4, 4) for batch in batches)
    assert all(batch.labels is None for batch in batches)


def test_labels_are_int64() -> None:
    batch = next(load_images("digits", channels=1).select([7, 9]).batches())
    assert isinstance(batch, Batch)
    assert torch.equal(batch.labels, torch.tensor([7, 9]))
    assert batch.labels.dtype == batch.indices.dtype == torch.int64


def equal(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.images, b.images) and torch.equal(a.indices, b.indices)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_give_the_same_bytes_as_none(folder: Path, workers: int) -> None:
    photos = load_images(folder)
    plain = list(photos.batches(2, fit=FIT, workers=0))
    assert equal(plain, list(photos.batches(2, fit=FIT, workers=workers)))


@pytest.mark.parametrize("workers", [0, 2])
def test_global_random_state_is_untouched(folder: Path, workers: int) -> None:
    def state() -> tuple[object, ...]:
        numbers = np.random.get_state()[1].tolist()
        return torch.get_rng_state().tolist(), numbers, random.getstate()

    before = state()
    list(load_images(folder).batches(2, fit=FIT, workers=workers))
    assert state() == before


def test_one_thread_reads_and_the_readers_number_returns(folder: Path) -> None:
    class Counting:
        channels = 3

        def fit(self, images: torch.Tensor) -> torch.Tensor:
            threads.append(torch.get_num_threads())
            return FIT.fit(images)

    threads: list[int] = []
    usual = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for _ in load_images(folder).batches(2, fit=Counting(), workers=0):
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(usual)
    assert set(threads) == {1}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_named_in_one_line(folder: Path, workers: int) -> None:
    (folder / "4.png").write_bytes(b"damaged")
    batches = load_images(folder).batches(2, fit=FIT, workers=workers)
    assert next(batches).indices.tolist() == [0, 1]
    with pytest.raises(PictureError, match=r"4\.png is no picture") as caught:
        list(batches)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_unequal_sizes_need_a_fit(folder: Path, workers: int) -> None:
    with pytest.raises(
        InvalidImagesError, match=r"1\.png has 5×6 pixels and .*0\.png has 4×6.*fit="
    ):
        list(load_images(folder).batches(2, workers=workers))
    assert len(list(load_images(folder).batches(1, workers=workers))) == 7


def test_a_fit_decides_the_channels(folder: Path) -> None:
    grey = Preprocessing(input_size=(4, 4), channels=1)
    assert next(load_images(folder).batches(fit=grey)).images.shape == (7, 1, 4, 4)
    digits = load_images("digits", channels=1).take(2)
    assert next(digits.batches(fit=FIT)).images.shape == (2, 3, 4, 4)
    colour = load_images(torch.rand(2, 3, 4, 4))
    with pytest.raises(InvalidImagesError, match="3 channels; expected 1"):
        list(colour.batches(fit=grey))


def test_batch_numbers_are_checked() -> None:
    digits = load_images("digits")
    with pytest.raises(InvalidParameterError, match="batch_size is 0"):
        digits.batches(0)
    with pytest.raises(InvalidParameterError, match="workers is -1"):
        digits.batches(workers=-1)


class Deadly:
    """A fit that kills its process, as the kernel does when memory runs out."""

    channels = 3

    def fit(self, images: torch.Tensor) -> torch.Tensor:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)
        return images


def test_a_killed_worker_is_reported_in_one_line(folder: Path) -> None:
    with pytest.raises(PictureError, match="a process that decodes pictures died") as caught:
        list(load_images(folder).batches(2, fit=Deadly(), workers=1))
    assert "\n" not in str(caught.value)


def test_workers_are_not_started_for_little_or_without_shared_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fluoroscope.data import batches

    monkeypatch.setattr(batches, "processors", lambda: 8)
    sample = load_images(folder).take(1)[0]

    def count(pictures: int, batch_size: int, free: int = 10**12) -> int:
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(batches.shutil, "disk_usage", lambda _: usage)
        return suitable_workers(lambda _: sample, pictures, batch_size, None)

    assert count(100, 64) == 0
    assert count(64 * 4, 64) == 2
    assert count(64 * 100, 64) == 8
    assert count(64 * 100, 64, free=0) == 0
    assert count(64 * 100, 64, free=64 * sample.image.nbytes * 3 * 5) == 5


def test_a_pickled_set_is_the_same_set(folder: Path) -> None:
    """Where processes are not forked, this is how they receive it."""
    photos = load_images(folder).select([2, 4])
    twin = pickle.loads(pickle.dumps(photos))
    assert isinstance(twin, ImageSet)
    assert torch.equal(twin[1].image, photos[1].image)
    assert twin[1].index == 4


def test_memory_stays_flat_over_a_folder(tmp_path: Path, paint: Paint) -> None:
    for number in range(60):
        paint(tmp_path / f"{number:03}.png", number, (200, 200))
    photos = load_images(tmp_path)
    one = photos[0].image.nbytes
    fit = Preprocessing(input_size=(8, 8))
    tracemalloc.start()
    for _ in photos:
        pass
    singly = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    for _ in photos.batches(4, fit=fit, workers=0):
        pass
    batched = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert singly < 4 * one
    assert batched < 8 * one  # far below the 60 that the folder holds


def test_reading_stops_where_the_reader_stops(folder: Path) -> None:
    asked = []
    photos = load_images(folder)

    def read(position: int) -> object:
        asked.append(position)
        return photos[position]

    batches = read_batches(read, len(photos), 2, FIT, workers=0)  # type: ignore[arg-type]
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert asked == [0, 1]


def test_every_error_is_the_packages_own(folder: Path) -> None:
    for source in ("no such", folder / "none.png", torch.rand(2), [None]):
        with pytest.raises(FluoroscopeError):
            load_images(source)  # type: ignore[arg-type]
