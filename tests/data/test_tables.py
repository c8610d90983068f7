"""Parquet and class folders through ``datasets``: labels, splits, laziness and what goes wrong."""

import io
import os
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from fluoroscope.data.imageset import load_images
from fluoroscope.errors import HubUnreachableError, MissingExtraError, UnknownDataError
from fluoroscope.models.preprocessing import Preprocessing

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.usefixtures("data_cache")

Paint = Callable[..., Path]


def encoded(red: int, size: tuple[int, int] = (4, 6)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((*size, 3), (red, 0, 0), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(path: Path, reds: list[int], labels: list[int], names: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}
    pictures = [{"bytes": encoded(red), "path": None} for red in reds]
    table = datasets.Dataset.from_dict(
        {"image": pictures, "label": labels}, features=datasets.Features(features)
    )
    table.to_parquet(path)


def reds(images: torch.Tensor) -> list[int]:
    return (images[..., 0, 0, 0] * 255).round().int().tolist()


@pytest.mark.parametrize(
    ("name", "split", "size", "shape", "labels", "first"),
    [
        (
            "mnist",
            "train",
            60_000,
            (1, 28, 28),
            [str(digit) for digit in range(10)],
            [5, 0, 4, 1, 9],
        ),
        ("mnist", None, 10_000, (1, 28, 28), [str(digit) for digit in range(10)], [7, 2, 1, 0, 4]),
        ("cifar10", "train", 50_000, (3, 32, 32), ["airplane", "automobile", "bird"], None),
        ("cifar10", "test", 10_000, (3, 32, 32), ["airplane", "automobile", "bird"], None),
        (
            "imagenet_sample",
            None,
            1_000,
            (3, None, None),
            ["tench", "goldfish", "great white shark"],
            [0, 1, 2, 3, 4],
        ),
    ],
)
def test_the_shared_data_sets(
    shared: Path,
    name: str,
    split: str | None,
    size: int,
    shape: tuple[int | None, ...],
    labels: list[str],
    first: list[int] | None,
) -> None:
    images = load_images(shared / "data" / name, split, channels=shape[0])
    assert len(images) == size
    assert images.split == split or split is None
    assert images.labels is not None
    assert list(images.labels[: len(labels)]) == labels
    assert len(images.labels) == {"mnist": 10, "cifar10": 10, "imagenet_sample": 1000}[name]
    samples = [images[position] for position in range(5)]
    if first is not None:
        assert [sample.label for sample in samples] == first
    for sample in samples:
        assert all(a in (b, None) for a, b in zip(shape, sample.image.shape, strict=True))
        assert 0 <= sample.image.min() < sample.image.max() <= 1
    assert images[size - 1].index == size - 1


def test_pixels_are_those_in_the_file(shared: Path) -> None:
    row = pq.ParquetFile(shared / "data" / "mnist" / "test-00000-of-00001.parquet")
    stored = next(row.iter_batches(1)).to_pylist()[0]["image"]["bytes"]
    pixels = np.asarray(Image.open(io.BytesIO(stored)))
    expected = torch.from_numpy(pixels.astype(np.float32)) / 255
    images = load_images(shared / "data" / "mnist", "test", channels=1)
    assert torch.equal(images[0].image[0], expected)


def test_the_shorter_side_of_the_sample_is_288_and_the_panda_is_there(shared: Path) -> None:
    images = load_images(shared / "data" / "imagenet_sample")
    panda = images[388]
    assert images.labels is not None
    assert images.labels[panda.label or 0] == "giant panda"
    assert min(panda.image.shape[1:]) == 288
    assert panda.name.endswith("imagenet_sample:validation:388")


def test_workers_give_the_same_bytes_as_none(shared: Path) -> None:
    images = load_images(shared / "data" / "imagenet_sample").take(12)
    fit = Preprocessing(input_size=(64, 64), resize=72)
    plain = list(images.batches(4, fit=fit, workers=0))
    for workers in (1, 2):
        others = list(images.batches(4, fit=fit, workers=workers))
        for one, other in zip(plain, others, strict=True):
            assert torch.equal(one.images, other.images)
            assert one.labels is not None
            assert other.labels is not None
            assert torch.equal(one.labels, other.labels)


def test_a_parquet_folder(tmp_path: Path) -> None:
    write_parquet(tmp_path / "set" / "test-0.parquet", [10, 20, 30], [1, 0, 1], ["cat", "dog"])
    write_parquet(tmp_path / "set" / "train-0.parquet", [40], [0], ["cat", "dog"])
    images = load_images(tmp_path / "set")
    assert (images.split, images.labels) == ("test", ("cat", "dog"))
    batch = next(images.batches())
    assert reds(batch.images) == [10, 20, 30]
    assert batch.labels is not None
    assert batch.labels.tolist() == [1, 0, 1]
    assert reds(load_images(tmp_path / "set", "train")[0].image[None]) == [40]


def test_only_the_split_asked_for_is_copied(tmp_path: Path, data_cache: Path) -> None:
    write_parquet(tmp_path / "lean" / "test-0.parquet", [10], [0], ["a"])
    (tmp_path / "lean" / "train-0.parquet").write_bytes(b"never read")
    assert len(load_images(tmp_path / "lean", "test")) == 1
    copies = [path.name for path in data_cache.glob("lean/**/*.arrow")]
    assert copies == ["lean-test.arrow"]


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "fresh" / "test-0.parquet"
    for red in (10, 20):
        write_parquet(file, [red], [0], ["a"])
        os.utime(file, (red, red))
        assert reds(load_images(file.parent)[0].image[None]) == [red]


def test_splits_are_chosen_and_listed(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        write_parquet(tmp_path / "two" / f"{split}-0.parquet", [1], [0], ["a"])
    assert load_images(tmp_path / "two").split == "validation"
    with pytest.raises(
        UnknownDataError, match="no split 'test'; expected one of: train, validation"
    ):
        load_images(tmp_path / "two", "test")
    with pytest.raises(UnknownDataError, match="no split 'train\\[:1\\]'"):
        load_images(tmp_path / "two", "train[:1]")
    card = "configs:\n- config_name: default\n  data_files:\n"
    for split in ("left", "right"):
        write_parquet(tmp_path / "odd" / f"{split}.parquet", [1], [0], ["a"])
        card += f"  - split: {split}\n    path: {split}.parquet\n"
    (tmp_path / "odd" / "README.md").write_text(f"---\n{card}---\n")
    assert load_images(tmp_path / "odd", "right").split == "right"
    with pytest.raises(UnknownDataError, match="several splits; expected one of: left, right"):
        load_images(tmp_path / "odd")


def test_parquet_that_knows_nothing_of_datasets(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    rows = {"img": [encoded(10), encoded(20)], "fine_label": [1, 0], "id": [7, 8]}
    pq.write_table(pa.table(rows), folder / "data.parquet")
    images = load_images(folder)
    assert images.labels is None
    assert [(sample.label, reds(sample.image[None])[0]) for sample in images] == [(1, 10), (0, 20)]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ({"label": [3, -1]}, [3, None]),
        ({"label": [None, 4]}, [None, 4]),
        ({}, [None, None]),
    ],
)
def test_missing_labels_are_none(
    column: dict[str, list[object]], expected: list[int | None], tmp_path: Path
) -> None:
    rows = {"image": [encoded(1), encoded(2)], **column}
    pq.write_table(pa.table(rows), tmp_path / "data.parquet")
    images = load_images(tmp_path)
    assert images.labels is None
    assert [sample.label for sample in images] == expected
    assert next(images.batches()).labels is None


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    write_parquet(tmp_path / "holes" / "test.parquet", [1], [0], ["a"])
    table = pq.read_table(tmp_path / "holes" / "test.parquet")
    empty = pa.array([None], type=table.schema.field("image").type)
    table = table.set_column(0, table.schema.field("image"), empty)
    pq.write_table(table, tmp_path / "holes" / "test.parquet")
    with pytest.raises(UnknownDataError, match="holes:test:0 holds no picture"):
        load_images(tmp_path / "holes")[0]


def test_class_folders(tmp_path: Path, paint: Paint) -> None:
    for red, name in enumerate(["cat/1.png", "cat/2.png", "dog/1.jpg", "ape/x/deep.png"]):
        if "deep" not in name:
            paint(tmp_path / name, red)
    images = load_images(tmp_path)
    assert images.labels == ("cat", "dog")
    assert [sample.label for sample in images] == [0, 0, 1]
    assert images[1].image.shape == (3, 4, 6)


def test_classes_that_sound_like_splits_are_classes(tmp_path: Path, paint: Paint) -> None:
    for name in ("cat/test_1.png", "test tube/1.png", "train/1.png", "train/val.png"):
        paint(tmp_path / name, 9)
    images = load_images(tmp_path)
    assert images.labels == ("cat", "test tube", "train")
    assert sorted(sample.label for sample in images if sample.label is not None) == [0, 1, 2, 2]


def test_split_folders_number_their_classes_together(tmp_path: Path, paint: Paint) -> None:
    for name in ("train/ape/1.png", "train/cat/1.png", "val/cat/1.png", "val/cat/test.png"):
        paint(tmp_path / name, 9)
    images = load_images(tmp_path)
    assert (images.split, images.labels, len(images)) == ("validation", ("ape", "cat"), 2)
    assert images[0].label == 1
    assert len(load_images(tmp_path, "train")) == 2


def test_a_folder_described_by_a_table(tmp_path: Path, paint: Paint) -> None:
    for number in range(3):
        paint(tmp_path / f"{number}.png", number)
    (tmp_path / "metadata.csv").write_text("file_name,label\n2.png,1\n0.png,0\n")
    images = load_images(tmp_path)
    assert [(sample.label, reds(sample.image[None])[0]) for sample in images] == [(1, 2), (0, 0)]


def test_pictures_in_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name, red in (("1.png", 10), ("2.png", 20)):
            archive.writestr(name, encoded(red))
    images = load_images(tmp_path)
    assert images.labels is None
    assert [reds(sample.image[None])[0] for sample in images] == [10, 20]


def test_several_data_sets_side_by_side_are_not_mixed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_parquet(tmp_path / name / "test.parquet", [1], [0], ["a"])
    with pytest.raises(UnknownDataError, match=r"several data sets \(one, two\)"):
        load_images(tmp_path)


def test_a_read_only_folder_stays_untouched(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "sealed" / "cat" / "1.png", 5)
    paint(tmp_path / "sealed" / "dog" / "1.png", 6)
    everything = [tmp_path / "sealed", *(tmp_path / "sealed").rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = [(path, path.stat().st_mtime_ns) for path in everything]
    assert len(list(load_images(tmp_path / "sealed"))) == 2
    after = [tmp_path / "sealed", *(tmp_path / "sealed").rglob("*")]
    assert [(path, path.stat().st_mtime_ns) for path in after] == before


def test_memory_stays_flat_over_parquet(tmp_path: Path) -> None:
    """Neither the encoded nor the decoded pictures gather."""
    noise = np.random.default_rng(0).integers(0, 256, (120, 128, 128, 3), dtype=np.uint8)
    pictures = []
    for pixels in noise:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        pictures.append(buffer.getvalue())
    pq.write_table(pa.table({"image": pictures}), tmp_path / "noise.parquet")
    images = load_images(tmp_path)
    stored = sum(map(len, pictures))
    del pictures, noise
    arrow = pa.total_allocated_bytes()
    fit = Preprocessing(input_size=(8, 8))
    tracemalloc.start()
    count = sum(len(batch.images) for batch in images.batches(4, fit=fit, workers=0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 120
    assert peak < stored / 4
    assert pa.total_allocated_bytes() - arrow < stored / 10


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a.txt": "text"},
            r"holds no pictures \(it has 1 .txt\); expected pictures",
        ),
        ({"a.bin": "?"}, r"holds no pictures \(it has 1 .bin"),
        ({"test.parquet": "no parquet"}, "cannot be opened as a data set"),
    ],
)
def test_folders_without_pictures_are_refused(
    files: dict[str, str], message: str, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(UnknownDataError, match=message) as caught:
        load_images(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_table_without_a_picture_column_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.0], "label": [1]}), tmp_path / "data.parquet")
    with pytest.raises(UnknownDataError, match="0 columns that may hold pictures among x, label"):
        load_images(tmp_path)


def test_code_that_lies_beside_the_data_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "trap"
    write_parquet(folder / "test.parquet", [1], [0], ["a"])
    (folder / "trap.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert len(load_images(folder)) == 1
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["owner/name", "hf/owner/name", "hf/name"])
def test_an_unreachable_hub_is_reported_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(
        HubUnreachableError, match=f"cannot load {name} .*'digits', local"
    ) as caught:
        load_images(name)
    assert time.monotonic() - started < 10
    assert "\n" not in str(caught.value)


def test_offline_mode_asks_nobody_and_uses_what_was_loaded_before(
    tmp_path: Path, data_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    write_parquet(tmp_path / "kept" / "test.parquet", [77], [0], ["a"])
    info = "dataset_info:\n  download_size: 1000\n"
    (tmp_path / "kept" / "README.md").write_text(f"---\n{info}---\n")
    # As from the hub, where it is small enough to be copied whole.
    datasets.load_dataset(str(tmp_path / "kept"))
    (data_cache / "kept").rename(data_cache / "owner___kept")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert reds(load_images("owner/kept")[0].image[None]) == [77]
    with pytest.raises(HubUnreachableError, match="cannot load owner/other"):
        load_images("owner/other")


def test_nothing_is_printed_and_settings_are_restored(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_parquet(tmp_path / "quiet" / "test.parquet", [1] * 50, [0] * 50, ["a"])
    capfd.readouterr()
    settings = datasets.utils.logging.get_verbosity(), datasets.utils.are_progress_bars_disabled()
    load_images(tmp_path / "quiet")
    with pytest.raises(UnknownDataError):
        load_images(tmp_path / "quiet", "train")
    assert capfd.readouterr() == ("", "")
    assert settings == (
        datasets.utils.logging.get_verbosity(),
        datasets.utils.are_progress_bars_disabled(),
    )


def test_a_missing_library_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    (tmp_path / "data.parquet").touch()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fluoroscope\[hub\]'"):
        load_images(tmp_path)
