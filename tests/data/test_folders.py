"""Folders of pictures as they lie about: read rightly, or said what was left out."""

import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fluoroscope.data.imageset import ImageSet, load_images
from fluoroscope.errors import FluoroscopeError, UnknownDataError

Paint = Callable[..., Path]


@pytest.fixture
def lay(tmp_path: Path, paint: Paint) -> Callable[..., Path]:
    """Pictures at these paths, and other files with a word in them."""

    def made(*paths: str) -> Path:
        for number, path in enumerate(paths):
            if path.endswith("/"):
                (tmp_path / path).mkdir(parents=True)
            elif Path(path).suffix.lower() in (".png", ".jpeg"):
                paint(tmp_path / path, number)
            else:
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / path).write_text("MIT")
        return tmp_path

    return made


def read(images: ImageSet) -> dict[str, str | None]:
    """The class of each picture by its name."""
    names = images.labels
    return {
        one.name: None if one.label is None else names[one.label] if names else str(one.label)
        for one in images
    }


TWO = ("cat/1.png", "dog/2.png")


@pytest.mark.parametrize(
    "beside",
    [
        "README.md",
        "LICENSE",
        "empty/",
        ".git/x.png",
        "__MACOSX/cat/._1.png",
        "cat/Thumbs.db",
        "papers/a.pdf",
        "labels.txt",
    ],
)
@pytest.mark.parametrize("place", ["", "train/"])
def test_what_lies_beside_classes_changes_nothing(
    lay: Callable[..., Path], beside: str, place: str
) -> None:
    splits = [f"{place}{one}" for one in TWO] + (["val/cat/3.png"] if place else [])
    images = load_images(lay(*splits, beside), "train" if place else None)
    assert read(images) == {f"{place}cat/1.png": "cat", f"{place}dog/2.png": "dog"}
    assert (images.split, images.notes) == ("train" if place else None, ())


@pytest.mark.parametrize(
    ("paths", "expected", "note"),
    [
        # A class that is called like a part, one class alone, a name in two words.
        (("cat/1.png", "train/2.png"), ["cat", "train"], None),
        (("test tube/1.png", "cat/2.png"), ["cat", "test tube"], None),
        (("7/1.png", "7/2.png"), ["7", "7"], None),
        (("all/7/1.png", "all/8/1.png"), ["7", "8"], None),
        # Folders in the class folders, of whatever depth.
        (("cat/images/1.png", "dog/images/2.png"), ["cat", "dog"], None),
        (("cat/1.png", "dog/more/2.png"), ["cat", "dog"], None),
        (
            ("pet/cat/1.png", "pet/dog/2.png", "car/bus/1.png", "car/van/1.png"),
            ["car", "car", "pet", "pet"],
            "4 folders in them, such as 'bus', are not told apart",
        ),
        # Pictures beside the class folders, and folders beside many pictures.
        (("a.png", "cat/1.png", "dog/2.png"), ["cat", "dog"], "1 picture beside the class folders"),
        (("a.png", "b.png", "old/1.png"), [None, None, None], None),
        (("a.png", "b.png", "old/1.png", "new/1.png"), [None] * 4, None),
        (("images/1.png", "images/2.png"), [None, None], None),
        (
            ("cat/1.PNG", "cat/2.heic", "dog/3.JPEG"),
            ["cat", "dog"],
            "1 file whose ending .*1 .heic",
        ),
        (("2/1.png", "10/1.png"), ["10", "2"], None),
    ],
)
def test_classes_are_the_folders_that_say_so(
    lay: Callable[..., Path], paths: tuple[str, ...], expected: list[str | None], note: str | None
) -> None:
    images = load_images(lay(*paths))
    assert list(read(images).values()) == expected
    assert images.split is None
    if note is None:
        assert images.notes == ()
    else:
        assert re.search(note, " ".join(images.notes))
    assert (images.why_unlabelled is not None) == (expected[0] is None)


def test_splits_among_other_things(lay: Callable[..., Path]) -> None:
    root = lay(
        *("train/cat/1.png", "train/dog/2.png", "Test/cat/3.png", "extra/dog/4.png"),
        *("docs/logo.png", "cover.png", "LICENSE"),
    )
    images = load_images(root)
    assert (images.split, read(images)) == ("test", {"Test/cat/3.png": "cat"})
    assert images.labels == ("cat", "dog")  # numbered together
    assert read(load_images(root, "extra")) == {"extra/dog/4.png": "dog"}
    assert images.notes == (
        "left out 1 picture beside the parts",
        "left out 1 picture in the folder 'docs' beside the parts",
    )
    with pytest.raises(UnknownDataError, match="no split 'x'; expected one of: test, train, extra"):
        load_images(root, "x")


def test_a_part_by_the_name_of_its_folder(lay: Callable[..., Path]) -> None:
    assert load_images(lay("train/cat/1.png", "val/cat/2.png"), "val").split == "validation"


def test_a_split_without_classes_says_so(lay: Callable[..., Path]) -> None:
    images = load_images(lay("train/cat/1.png", "train/dog/2.png", "test/3.png"))
    assert images.labels is None
    assert images.why_unlabelled == (
        "no class folders, and no table of labels (parts that have labels: train)"
    )


def test_links_lead_nowhere_else(lay: Callable[..., Path], tmp_path: Path) -> None:
    root = lay("set/cat/1.png", "set/dog/2.png", "private/3.png") / "set"
    (root / "fox").symlink_to(tmp_path / "private")
    (root / "cat" / "3.png").symlink_to(tmp_path / "private" / "3.png")
    (root / "cat" / "4.png").symlink_to("1.png")
    (root / "dog" / "round").symlink_to(root)
    (root / "dog" / "lost.png").symlink_to("nowhere.png")
    images = load_images(root)
    assert read(images) == {"cat/1.png": "cat", "cat/4.png": "cat", "dog/2.png": "dog"}
    assert images.notes == (
        "left out 1 file that are pipes, sockets, devices or broken links",
        "left out 3 files that link to folders or out of the data set's own",
    )
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "cat").symlink_to(root / "cat")
    with pytest.raises(UnknownDataError, match=r"holds no pictures \(left out 1 file that link"):
        load_images(linked)


def test_pipes_and_folders_called_like_pictures(lay: Callable[..., Path]) -> None:
    root = lay("cat/1.png", "dog/2.png", "dog/3.png/")
    os.mkfifo(root / "cat" / "4.png")
    os.mkfifo(root / "README.md")
    images = load_images(root)
    assert read(images) == {"cat/1.png": "cat", "dog/2.png": "dog"}
    assert "left out 2 files that are pipes" in images.notes[0]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("metadata.csv", "file_name,label\nb.png,ape\na.png,zebra\n", {"b": "ape", "a": "zebra"}),
        ("labels.csv", "id;y\nb;1\na;0\n", {"b": "1", "a": "0"}),
        ("list.tsv", "path\tclass\tby\n./x/b.png\tape\tme\n", {"b": "ape"}),
        ("metadata.jsonl", '{"file_name": "a.png", "label": 3}\n', {"a": "3"}),
        ("val_annotations.txt", "a.png\tn01\t0\t62\nb.png\tn02\t1\t2\n", {"a": "n01", "b": "n02"}),
        ("onehot.csv", "image,MEL,NV\na,0.0,1.0\nb,1.0,0.0\n", {"a": "NV", "b": "MEL"}),
        ("codes.csv", "file,code\na.png,007\nb.png,010\n", {"a": "007", "b": "010"}),
    ],
)
def test_tables_of_names_and_labels(
    lay: Callable[..., Path], name: str, text: str, expected: dict[str, str]
) -> None:
    root = lay("x/a.png", "x/b.png") if "x/" in text else lay("a.png", "b.png")
    (root / name).write_text(text)
    images = load_images(root)
    assert {Path(file).stem: label for file, label in read(images).items()} == expected
    left = 2 - len(expected)
    assert images.notes == ((f"left out 1 picture that {name!r} does not name",) if left else ())


def test_a_table_leads_nowhere_else(lay: Callable[..., Path], tmp_path: Path) -> None:
    root = lay("set/a.png", "secret.png") / "set"
    (root / "metadata.csv").write_text(
        f"file_name,label\na.png,1\n../secret.png,2\n{tmp_path}/secret.png,3\nftp://h/b.png,4\n"
    )
    with pytest.raises(FluoroscopeError):
        load_images(root / "none")
    images = load_images(root)
    # Fewer than half of the names are pictures here: it is no table of theirs.
    assert read(images) == {"a.png": None}
    (root / "metadata.csv").write_text("file_name,label\na.png,1\n../secret.png,2\n")
    images = load_images(root)
    assert read(images) == {"a.png": "1"}
    assert "left out 1 of 2 rows of 'metadata.csv'" in images.notes[0]


def test_tables_that_do_not_tell(lay: Callable[..., Path]) -> None:
    root = lay("a.png", "b.png")
    for text, why in {
        "file,x,y2\na.png,3,red\nb.png,4,red": "has no column called label or class .others: x, y2",
        "file,label\na.png,0.5\nb.png,1": "holds numbers that are not whole .0.5",
        "file,label\na.png,\nb.png,": "holds no",
        "what\nnothing": "no class folders, and no table",
    }.items():
        (root / "table.csv").write_text(text)
        images = load_images(root)
        assert images.labels is None
        assert len(images) == 2
        assert re.search(why, images.why_unlabelled or "")
    (root / "table.csv").write_text("file,label\na.png,0\nb.png,1")
    (root / "other.csv").write_text("file,label\na.png,1\nb.png,0")
    assert "several tables name its pictures" in (load_images(root).why_unlabelled or "")


def test_tables_make_parts(lay: Callable[..., Path]) -> None:
    root = lay("images/a.png", "images/b.png", "images/c.png")
    (root / "train.csv").write_text("file,label\na.png,cat\nb.png,dog\n")
    (root / "test.csv").write_text("file,label\nc.png,dog\n")
    images = load_images(root)
    assert (images.split, images.labels, images.notes) == ("test", ("cat", "dog"), ())
    assert read(images) == {"images/c.png": "dog"}
    assert len(load_images(root, "train")) == 2


def test_archives_are_read_as_folders(tmp_path: Path, paint: Paint) -> None:
    picture = paint(tmp_path / "a.png", 9).read_bytes()
    (tmp_path / "set").mkdir()
    with zipfile.ZipFile(tmp_path / "set" / "all.zip", "w") as archive:
        for name in ("cat/1.png", "dog/2.png", "../out.png", "__MACOSX/cat/1.png", "cat/a.txt"):
            archive.writestr(name, picture)
    images = load_images(tmp_path / "set")
    assert read(images) == {"cat/1.png": "cat", "dog/2.png": "dog"}
    assert images[1].image[0, 0, 0] == 9 / 255


def test_thirteen_bands_in_class_folders(tmp_path: Path, paint: Paint) -> None:
    values = np.random.default_rng(0).random((2, 13, 4, 4), dtype=np.float32)
    for number, name in enumerate(("skog", "sjö")):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "1.npy", values[number])
    (tmp_path / "README.md").write_text("Sentinel")
    images = load_images(tmp_path, channels=13)
    assert images.labels == ("sjö", "skog")
    assert torch.equal(images[1].image, torch.from_numpy(values[0]))
    paint(tmp_path / "photos" / "1.png", 3)
    with pytest.raises(FluoroscopeError, match="expected 13"):
        list(load_images(tmp_path, channels=13))


def test_the_order_is_that_of_names(lay: Callable[..., Path]) -> None:
    root = lay("b/2.png", "b/10.png", "a/3.png", "a/x/1.png", "a-b/1.png")
    assert load_images(root).names() == ("a/3.png", "a/x/1.png", "a-b/1.png", "b/10.png", "b/2.png")


def test_made_up_labels_of_a_competition_are_none(lay: Callable[..., Path]) -> None:
    root = lay("train/1.png", "train/2.png", "test/3.png")
    (root / "train.csv").write_text("id,target\n1,a\n2,b\n")
    (root / "sample_submission.csv").write_text("id,target\n3,a\n")
    assert read(load_images(root)) == {"test/3.png": None}
    assert read(load_images(root, "train")) == {"train/1.png": "a", "train/2.png": "b"}


def test_parts_are_where_their_folders_say(lay: Callable[..., Path]) -> None:
    images = load_images(lay("val/cat/1.png", "valid/val/cat/2.png", "train/train/cat/3.png"))
    assert (images.labels, len(images)) == (("cat",), 2)
    assert images.notes == ("the part 'validation' is the folders 'val' and 'valid' together",)


def test_names_that_are_no_text_are_written_out(lay: Callable[..., Path]) -> None:
    root = lay("cat/1.png", "dog/2.png")
    (root / "dog").rename(os.fsdecode(os.fsencode(root) + b"/d\xff"))
    images = load_images(root)
    assert (images.labels, images.names()) == (("cat", r"d\xff"), ("cat/1.png", r"d\xff/2.png"))
    assert len(list(images)) == 2
