"""What else is known of pictures, and the slices by it."""

import json
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import fluoroscope as fs
from fluoroscope.data.slices import MISSING, slices
from fluoroscope.errors import InvalidParameterError, UnknownDataError

Paint = Callable[..., Path]


def lay(paint: Paint, folder: Path, *files: str) -> Path:
    for number, file in enumerate(files):
        paint(folder / file, number)
    return folder


def array(count: int, **columns: object) -> fs.ImageSet:
    pictures = np.zeros((count, 1, 4, 4), dtype=np.float32)
    return fs.load_images(pictures, labels=[0] * count, columns=columns)  # type: ignore[arg-type]


def test_a_table_of_labels_tells_its_other_columns(tmp_path: Path, paint: Paint) -> None:
    lay(paint, tmp_path, "b.png", "a.png", "sub/c.png")
    table = "file,label,camera,iso\nsub/c.png,dog,X,100\na.png,cat,Y,\nb.png,cat,X,200\n"
    (tmp_path / "labels.csv").write_text(table)
    images = fs.load_images(tmp_path)
    assert images.columns == ("label", "camera", "iso", "folder")
    by_name = dict(zip(images.names(), images.column("camera"), strict=True))
    assert by_name == {"sub/c.png": "X", "a.png": "Y", "b.png": "X"}
    assert images.column("iso") == [100, None, 200]
    assert images.select([2, 0]).column("camera") == ["X", "X"]
    assert images.column("folder") == ["sub", ".", "."]
    assert pickle.loads(pickle.dumps(images)).column("iso") == images.column("iso")


@pytest.mark.parametrize("table", ["metadata.csv", "cameras.csv"])
def test_a_table_beside_class_folders_tells_columns_and_no_labels(
    tmp_path: Path, paint: Paint, table: str
) -> None:
    lay(paint, tmp_path, "cat/site 1/a.png", "cat/site 2/b.png", "dog/site 1/c.png", "dog/d.png")
    (tmp_path / table).write_text("file_name,camera\na.png,X\nc.png,Y\nd.png,X\n")
    images = fs.load_images(tmp_path)
    assert images.labels == ("cat", "dog")
    named = dict(zip(images.names(), images.column("camera"), strict=True))
    assert named == {
        "cat/site 1/a.png": "X", "cat/site 2/b.png": None, "dog/d.png": "X",
        "dog/site 1/c.png": "Y",
    }  # fmt: skip
    folders = dict(zip(images.names(), images.column("folder"), strict=True))
    assert folders == {
        "cat/site 1/a.png": "site 1", "cat/site 2/b.png": "site 2", "dog/d.png": ".",
        "dog/site 1/c.png": "site 1",
    }  # fmt: skip


@pytest.mark.usefixtures("data_cache")
def test_columns_of_parquet_and_of_datasets(tmp_path: Path, paint: Paint) -> None:
    datasets = pytest.importorskip("datasets")
    file = paint(tmp_path / "one.png", 1)
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "site": datasets.Value("string"),
            "age": datasets.Value("float32"),
            "boxes": datasets.List(datasets.Value("int32")),
        }
    )
    rows = {
        "image": [str(file)] * 4, "label": [0, 1, 1, 0], "site": ["A", "B", None, "A"],
        "age": [1.5, 2.0, None, 4.0], "boxes": [[1], [2], [3], []],
    }  # fmt: skip
    table = datasets.Dataset.from_dict(rows, features=features)
    held = fs.load_images(table.select([2, 0, 1]))
    assert held.columns == ("label", "site", "age")
    assert held.column("site") == [None, "A", "B"]
    assert held.column("label") == ["dog", "cat", "dog"]
    (tmp_path / "data").mkdir()
    table.to_parquet(tmp_path / "data" / "test.parquet")
    found = fs.load_images(tmp_path / "data")
    assert found.column("site") == ["A", "B", None, "A"]
    assert found.take(2).column("age") == [1.5, 2.0]


def test_columns_that_come_with_the_pictures() -> None:
    images = array(4, camera=np.array(["a", "b", "a", "b"]), iso=torch.tensor([1, 2, 3, 4]))
    assert images.columns == ("camera", "iso")
    assert images.select([3, 0]).column("iso") == [4, 1]
    digits = fs.load_images("digits").take(3)
    with pytest.raises(UnknownDataError, match="digits has no column 'camera'; it has none: exp"):
        digits.column("camera")
    with pytest.raises(UnknownDataError, match="no column 'kamera'; expected one of: 'camera', 'i"):
        images.column("kamera")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"camera": ["a"]}, "columns= has 1 for 'camera'; expected .* each of the 2 pictures"),
        ({"camera": "ab"}, "columns= has str for 'camera'"),
        ({"camera": np.array(1)}, "columns= has ndarray for 'camera'"),
        ({1: ["a", "b"]}, "columns= is a dict; expected a mapping of names"),
        (["camera"], "columns= is a list; expected a mapping"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: object, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        fs.load_images(np.zeros((2, 1, 4, 4), np.float32), columns=columns)  # type: ignore[arg-type]


def test_words_and_whole_numbers_are_slices_as_they_stand() -> None:
    images = array(5, site=["B", "", None, "A", "B"], year=[2**40, 2**40 + 1, None, 7, 7.0])
    assert slices(images, "site") == {0: "B", 1: MISSING, 2: MISSING, 3: "A", 4: "B"}
    named = slices(images, "year")
    assert named == {0: str(2**40), 1: str(2**40 + 1), 2: MISSING, 3: "7", 4: "7"}
    assert slices(images.select([4, 3]), "site") == {4: "B", 3: "A"}
    floats = array(3, dose=[0.1234567, 0.12345678, float("nan")])
    assert slices(floats, "dose") == {0: "0.1234567", 1: "0.12345678", 2: MISSING}
    assert set(slices(array(2, yes=[True, False]), "yes").values()) == {"True", "False"}
    mixed = array(3, mixed=[1, "a", 10**400])
    assert slices(mixed, "mixed") == {0: "1", 1: "a", 2: f"1{'0' * 58}…"}


def test_many_numbers_are_cut_into_quarters() -> None:
    ages = np.random.default_rng(0).permutation(np.arange(100) / 2)
    images = array(101, age=[*ages, np.inf])
    found = slices(images, "age")
    counts = Counter(found.values())
    assert counts == {
        "up to 12": 25, "> 12 to 24.5": 25, "> 24.5 to 37": 25, "> 37 to 49.5": 25,
        MISSING: 1,
    }  # fmt: skip
    for index, age in enumerate(ages):
        end = float(found[index].rpartition("to ")[2])
        assert age <= end
        assert found[index].startswith("up") or age > float(found[index].split()[1])
    same = array(100, age=[*(np.arange(20) / 3), *[9.5] * 80])
    assert Counter(slices(same, "age").values())["up to 9.5"] == 100


def test_what_cannot_be_sliced_is_refused() -> None:
    with pytest.raises(InvalidParameterError, match="'name' of array has 60 values; expected at m"):
        slices(array(60, name=[f"p{n}" for n in range(60)]), "name")
    with pytest.raises(InvalidParameterError, match="'name' of array has no value for any picture"):
        slices(array(2, name=[None, " "]), "name")


def test_values_of_strangers_are_one_line_and_stay_apart() -> None:
    values = ["\x1b[31mred", "\x1b]31mred", "x" * 500, "x" * 400, "a (2)", "a\x01", "a"]
    shown = list(slices(array(7, site=values), "site").values())
    assert len(set(shown)) == 7
    assert all(one.isprintable() and len(one) < 70 for one in shown)
    json.dumps(shown)
