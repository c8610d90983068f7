"""``--limit`` on a folder that is sorted by class, as every folder of class folders is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import fluoroscope as fs
from fluoroscope.cli.attack_options import apart

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def sorted_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sorted")
    for one in fs.load_images("digits", channels=1).take(120):
        path = folder / str(one.label) / f"{one.index:03}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((one.image[0] * 255).round().byte().numpy()).save(path)
    (folder / "README.md").write_text("# Digits\n")
    return folder


def test_a_few_are_of_every_class_and_it_is_said(fluoroscope: Call, sorted_digits: Path) -> None:
    words = ("predict", "-m", "digits-linear", "--data", str(sorted_digits), "--limit", "20")
    said = fluoroscope(*words)
    assert said.code == 0
    assert "20 of 120, drawn evenly over the classes" in " ".join(said.err.split())
    images = fs.load_images(sorted_digits, channels=1)
    assert list((images.take(20).class_counts() or {}).values()) == [2] * 10
    first = fluoroscope(*words, "--first")
    assert "the first 20 of 120, which lie in order of class" in " ".join(first.err.split())
    alone = fluoroscope(*words[:-2], "--first")
    assert alone.code == 2
    assert "--first says which pictures --limit takes" in alone.err


def test_what_is_learnt_from_and_what_is_attacked_are_apart(sorted_digits: Path) -> None:
    images = fs.load_images(sorted_digits, channels=1)
    for data in (images, fs.load_images("digits", channels=1).take(50)):
        seen, rest = apart("patch", fs.attack("patch"), data, 20)
        assert len(seen) == 20
        assert sorted(seen.indices + rest.indices) == list(data.indices)
    assert set(
        (apart("patch", fs.attack("patch"), images, 20)[0].class_counts() or {}).values()
    ) == {2}


def test_drawn_pictures_and_the_first_ones_are_other_data(sorted_digits: Path) -> None:
    images = fs.load_images(sorted_digits, channels=1)
    drawn, first = images.take(20), images.take(20, first=True)
    assert drawn.identity() | {"chosen": ""} == first.identity() | {"chosen": ""}
    assert drawn.identity() != first.identity()
    assert "chosen" not in images.identity()
