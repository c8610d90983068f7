"""The short names a person types for one picture."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fluoroscope.data.reference import open_image
from fluoroscope.errors import InvalidParameterError, PictureError, UnknownDataError

Paint = Callable[..., Path]


def test_a_file(tmp_path: Path, paint: Paint) -> None:
    path = paint(tmp_path / "a.png", 51)
    sample = open_image(str(path))
    assert sample.image.shape == (3, 4, 6)
    assert sample.image[0, 0, 0] == 51 / 255
    assert (sample.label, sample.index, sample.name) == (None, 0, str(path))
    assert open_image(str(path), channels=1).image.shape == (1, 4, 6)


def test_a_file_whose_name_looks_like_a_data_set(tmp_path: Path, paint: Paint) -> None:
    path = paint(tmp_path / "a.png", 1).rename(tmp_path / "digits:7")
    assert open_image(str(path)).image.shape == (3, 4, 6)


@pytest.mark.parametrize(
    ("name", "value"), [("black", 0), ("white", 1), ("grey", 0.5), ("gray", 0.5)]
)
def test_blanks(name: str, value: float) -> None:
    sample = open_image(name, channels=1, size=(2, 5))
    assert torch.equal(sample.image, torch.full((1, 2, 5), float(value)))
    assert (sample.label, sample.name) == (None, name)


def test_noise_is_uniform_seeded_and_its_own() -> None:
    state = torch.get_rng_state()
    noise = open_image("noise", size=(100, 100), seed=3).image
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(noise, open_image("noise", size=(100, 100), seed=3).image)
    assert not torch.equal(noise, open_image("noise", size=(100, 100), seed=4).image)
    assert noise.shape == (3, 100, 100)
    assert noise.mean().item() == pytest.approx(0.5, abs=0.01)
    assert noise.var().item() == pytest.approx(1 / 12, rel=0.03)
    assert noise.min() >= 0
    assert noise.max() <= 1


@pytest.mark.parametrize("name", ["black", "noise"])
def test_a_blank_needs_a_size(name: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"'{name}' has no size"):
        open_image(name)


def test_a_place_in_the_built_in_digits() -> None:
    seven = open_image("digits:7", channels=1)
    assert (seven.label, seven.index, seven.name) == (7, 7, "digits:7")
    assert seven.image.shape == (1, 28, 28)


def test_a_place_in_a_folder(tmp_path: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        paint(tmp_path / "photos" / f"{number}.png", number)
        paint(tmp_path / "with:colon" / f"{number}.png", number + 100)
    monkeypatch.chdir(tmp_path)
    assert open_image("photos:2").image[0, 0, 0] == 2 / 255
    assert open_image("with:colon:1").image[0, 0, 0] == 101 / 255
    assert open_image("photos:2").name == "photos/2.png"


def test_a_place_in_a_split(shared: Path, data_cache: Path) -> None:
    place = f"{shared / 'data' / 'imagenet_sample'}:validation:388"
    panda = open_image(place)
    assert (panda.label, panda.index, panda.name) == (388, 388, place)
    assert torch.equal(open_image(panda.name).image, panda.image)


def test_what_leads_nowhere(tmp_path: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(tmp_path / "panda.png", 1)
    monkeypatch.chdir(tmp_path)
    for reference, message in {
        "digits:1797": "digits has no picture 1797; expected 0 to 1796",
        "digits:test:1": "digits has no split 'test'",
        "digit:1": "digit does not exist; expected 'digits'",
        "pnda.png": r"pnda\.png does not exist \(did you mean panda\.png\?\); expected a file",
        "zebra": "zebra does not exist; expected a file, black",
        "digits:x": "digits:x does not exist",
        "./none:3": "none does not exist",
        "y" * 300: "cannot be looked up",
        ".": "is a folder; expected one picture",
    }.items():
        with pytest.raises(UnknownDataError, match=message) as caught:
            open_image(reference)
        assert "\n" not in str(caught.value)
    (tmp_path / "text.jpg").write_text("text")
    with pytest.raises(PictureError, match=r"text\.jpg is no picture"):
        open_image("text.jpg")
