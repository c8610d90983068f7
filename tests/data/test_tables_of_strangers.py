"""Tables that others wrote: labels in every form, and paths that lead only into the folder."""

import gzip
import io
import os
import re
import socket
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fluoroscope.data.imageset import ImageSet, load_images
from fluoroscope.errors import PictureError, UnknownDataError

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.usefixtures("data_cache")

Paint = Callable[..., Path]


def encoded(red: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), (red, 0, 0), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, label: list[Any] | pa.Array, **more: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [{"bytes": encoded(n), "path": None} for n in range(len(label))]
    pq.write_table(pa.table({"image": pictures, "label": label, **more}), path)


def naming(path: Path, *pictures: str) -> Path:
    """A Parquet file that names pictures; its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = pa.array([{"bytes": None, "path": one} for one in pictures], kind)
    pq.write_table(pa.table({"image": column, "label": [0] * len(pictures)}), path)
    return path.parent


def labels(images: ImageSet) -> list[int | None]:
    return [one.label for one in images]


@pytest.mark.parametrize(
    ("column", "numbers", "names"),
    [
        (["dog", "cat"], [1, 0], ("cat", "dog")),
        ([True, False], [1, 0], None),
        ([2.0, 0.0], [2, 0], None),
        ([[0, 0, 1], [1, 0, 0]], [2, 0], None),
        ([None, 4], [None, 4], None),
        (["7", None], [0, None], ("7",)),
    ],
)
def test_labels_in_every_form(
    tmp_path: Path, column: list[Any], numbers: list[int | None], names: tuple[str, ...] | None
) -> None:
    write(tmp_path / "data.parquet", column)
    images = load_images(tmp_path)
    assert (labels(images), images.labels) == (numbers, names)
    assert (images.split, images.why_unlabelled) == (None, None)
    assert len(images.with_labels()) == sum(one is not None for one in numbers)


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ([0.5, 1.0], r"its column 'label' holds numbers that are not whole \(0.5\)"),
        ([[1, 1], [0, 1]], "its column 'label' holds lists, and they are not one-hot"),
        ([-1, -1], "its column 'label' holds no label"),
        ([{"a": 1}, {"a": 2}], "its column 'label' holds struct"),
    ],
)
def test_why_labels_cannot_be_used(tmp_path: Path, column: list[Any], why: str) -> None:
    write(tmp_path / "data.parquet", column)
    images = load_images(tmp_path)
    assert labels(images) == [None, None]
    assert re.search(why, images.why_unlabelled or "")


def test_no_label_column_is_said_with_those_there_are(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [encoded(1)], "kind": ["a"]}), tmp_path / "data.parquet")
    why = load_images(tmp_path).why_unlabelled
    assert why == "no column called label or class among image, kind"


def test_words_are_numbered_over_all_parts(tmp_path: Path) -> None:
    write(tmp_path / "train-0.parquet", ["ape", "cat", "dog"])
    write(tmp_path / "test-0.parquet", ["dog", "cat"])
    images = load_images(tmp_path)
    assert (labels(images), images.labels, images.notes) == ([2, 1], ("ape", "cat", "dog"), ())
    (tmp_path / "train-0.parquet").write_bytes(b"damaged")
    images = load_images(tmp_path)
    assert (labels(images), images.labels) == ([1, 0], ("cat", "dog"))
    assert "by the names in the part 'test' alone" in images.notes[0]


def test_more_classes_than_names_are_not_guessed(tmp_path: Path) -> None:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    kind = features.arrow_schema.with_metadata(features.arrow_schema.metadata)
    pictures = [{"bytes": encoded(1), "path": None}]
    pq.write_table(
        pa.table({"image": pictures, "label": [5]}).cast(kind), tmp_path / "data.parquet"
    )
    assert "holds the class 5, and names only 2" in (load_images(tmp_path).why_unlabelled or "")


def test_names_of_classes_stand_on_the_card(tmp_path: Path) -> None:
    write(tmp_path / "data.parquet", [1, 0])
    (tmp_path / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: label\n    dtype:\n      class_label:\n"
        "        names:\n          '0': cat\n          '1': dog\n---\n# Pets\n"
    )
    images = load_images(tmp_path)
    assert (images.labels, labels(images)) == (("cat", "dog"), [1, 0])


def test_what_lies_beside_tables_changes_nothing(tmp_path: Path, paint: Paint) -> None:
    write(tmp_path / "set" / "data" / "test-0.parquet", [1, 0])
    write(tmp_path / "set" / "data" / "train-0.parquet", [0])
    (tmp_path / "set" / "LICENSE").write_text("MIT")
    (tmp_path / "set" / "empty").mkdir()
    paint(tmp_path / "set" / "assets" / "logo.png", 3)
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "set" / "data" / "scores.parquet")
    images = load_images(tmp_path / "set")
    assert (images.split, len(images)) == ("test", 2)


def test_tables_of_no_part_are_counted(tmp_path: Path) -> None:
    for name in ("test", "train", "extra"):
        write(tmp_path / f"{name}.parquet", [1])
    assert "left out 1 table of no part, such as 'extra.parquet'" in load_images(tmp_path).notes


def test_a_table_of_features_leaves_class_folders_alone(tmp_path: Path, paint: Paint) -> None:
    for name in ("cat/1.png", "dog/2.png"):
        paint(tmp_path / name, 3)
    pq.write_table(pa.table({"feature": [0.1]}), tmp_path / "features.parquet")
    (tmp_path / "all.tar").write_bytes(b"as it was downloaded")
    assert load_images(tmp_path).labels == ("cat", "dog")


def test_parquet_of_names_and_labels(tmp_path: Path, paint: Paint) -> None:
    for name in "ab":
        paint(tmp_path / f"{name}.png", 3)
    rows = {"file_name": ["b.png", "a.png"], "label": ["x", "y"]}
    pq.write_table(pa.table(rows), tmp_path / "metadata.parquet")
    images = load_images(tmp_path)
    assert (images.names(), labels(images)) == (("b.png", "a.png"), [0, 1])


def test_stored_names_are_the_pictures_names(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": encoded(n), "path": path} for n, path in enumerate(["x/cat_1.png", None])]
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), tmp_path / "test.parquet")
    images = load_images(tmp_path)
    assert images.names() == ("cat_1.png", f"{tmp_path}:test:1")
    assert next(images.batches()).names == images.names()
    assert images.names([1]) == images.names()[1:]


@pytest.fixture
def listener() -> Iterator[tuple[int, socket.socket]]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(5)
        server.setblocking(False)
        yield server.getsockname()[1], server


@pytest.mark.parametrize(
    "path",
    [
        "{top}/private.png",
        "../private.png",
        "sub/../../private.png",
        "link.png",
        "linked/private.png",
        "file://{top}/private.png",
        "zip://a.png::../all.zip",
        "zip://a.png::{top}/all.zip",
        "zip://a.png::ftp://127.0.0.1:{port}/x.zip",
        "zip://a.png::http://127.0.0.1:{port}/x.zip",
        "zip://a.png::zip://b.zip::http://127.0.0.1:{port}/x.zip",
        "http://127.0.0.1:{port}/a.png",
        "ftp://127.0.0.1:{port}/a.png",
        "s3://bucket/a.png",
        "hf://datasets/owner/name/a.png",
        "github://owner:name@main/a.png",
        "simplecache::http://127.0.0.1:{port}/a.png",
        "\\\\127.0.0.1\\share\\a.png",
        "pipe.png",
        "sub",
        "/dev/zero",
        "/proc/self/environ",
        "none.png",
        "a\0.png",
        "x" * 5000,
    ],
)
def test_a_path_leads_nowhere_else(
    tmp_path: Path, paint: Paint, listener: tuple[int, socket.socket], path: str
) -> None:
    paint(tmp_path / "private.png", 3)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("a.png", encoded(1))
    port, server = listener
    folder = naming(tmp_path / "set" / "test.parquet", path.format(top=tmp_path, port=port))
    (folder / "sub").mkdir()
    (folder / "link.png").symlink_to(tmp_path / "private.png")
    (folder / "linked").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.png")
    with pytest.raises(UnknownDataError, match="names") as caught:
        load_images(folder)[0]
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    with pytest.raises(BlockingIOError):
        server.accept()  # nobody called


def test_a_path_into_the_folder_is_read(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "set" / "sub" / "a.png", 7)
    (tmp_path / "set" / "same.png").symlink_to("sub/a.png")
    with zipfile.ZipFile(tmp_path / "set" / "all.zip", "w") as archive:
        archive.writestr("x/a.png", encoded(9))
    folder = naming(
        tmp_path / "set" / "test.parquet",
        *("sub/a.png", str(tmp_path / "set/sub/a.png"), "same.png"),
        *("zip://x/a.png::all.zip", f"zip://x/a.png::{tmp_path}/set/all.zip", "zip://n::all.zip"),
    )
    images = load_images(folder)
    reds = [round(images[at].image[0, 0, 0].item() * 255) for at in range(5)]
    assert reds == [7, 7, 7, 9, 9]
    with pytest.raises(PictureError, match=r"all\.zip:n cannot be read"):
        images[5]


def test_a_member_that_unpacks_to_more_than_a_picture_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fluoroscope.data import places

    monkeypatch.setattr(places, "MAX_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"0" * 2**24)
    with pytest.raises(PictureError, match="unpacks to more than 1 MiB"):
        load_images(tmp_path)[0]


@pytest.mark.parametrize(
    "named", ["../other/secret.parquet", "{top}/other/secret.parquet", "http://127.0.0.1:{port}/x"]
)
def test_a_card_leads_nowhere_else(
    tmp_path: Path, listener: tuple[int, socket.socket], named: str
) -> None:
    write(tmp_path / "other" / "secret.parquet", [5])
    write(tmp_path / "set" / "own.parquet", [1])
    port, server = listener
    named = named.format(top=tmp_path, port=port)
    (tmp_path / "set" / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: test\n"
        f"    path: '{named}'\n---\n"
    )
    assert labels(load_images(tmp_path / "set")) == [1]
    with pytest.raises(BlockingIOError):
        server.accept()


def test_odd_names_of_files_are_no_patterns(tmp_path: Path) -> None:
    write(tmp_path / "a[1]*" / "test-[0].parquet", [1, 0])
    assert labels(load_images(tmp_path / "a[1]*")) == [1, 0]


def test_one_file_is_a_data_set(tmp_path: Path, paint: Paint) -> None:
    write(tmp_path / "one.parquet", ["b", "a"])
    write(tmp_path / "two.parquet", ["c"])
    images = load_images(tmp_path / "one.parquet")
    assert (labels(images), images.labels) == ([1, 0], ("a", "b"))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("cat/1.png", encoded(1))
        archive.writestr("dog/1.png", encoded(2))
    assert load_images(str(tmp_path / "all.zip")).labels == ("cat", "dog")
    (tmp_path / "labels.csv").write_text("file,label\n")
    for name, message in {
        "labels.csv": "is a table; expected the folder",
        "none.zip": "does not exist",
        "bad.zip": "holds no pictures",
        "bad.tar": "cannot be opened",
    }.items():
        if name.startswith("bad"):
            (tmp_path / name).write_bytes(b"?")
        with pytest.raises(UnknownDataError, match=message):
            load_images(tmp_path / name)


def test_what_unpacks_to_far_more_than_it_weighs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fluoroscope.data import local_tables

    monkeypatch.setattr(local_tables, "MAX_UNPACKED", 2**20)
    pq.write_table(pa.table({"image": [b"0" * 2**22]}), tmp_path / "a.parquet", compression="zstd")
    with pytest.raises(UnknownDataError, match="unpacks from"):
        load_images(tmp_path / "a.parquet")
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        member = tarfile.TarInfo("1.png.gz")
        packed = gzip.compress(encoded(1))
        member.size = len(packed)
        archive.addfile(member, io.BytesIO(packed))
    with pytest.raises(UnknownDataError, match=r"holds the compressed file '1\.png\.gz'"):
        load_images(tmp_path / "b.tar")


def test_a_tar_of_pictures_and_classes(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "test.tar", "w") as archive:
        for number in range(2):
            for ending, content in (("png", encoded(number)), ("cls", str(1 - number).encode())):
                member = tarfile.TarInfo(f"{number}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    images = load_images(tmp_path)
    assert (labels(images), images.names()) == ([1, 0], ("0.png", "1.png"))
