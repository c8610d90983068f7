"""Dark ink on white, shown to a network that learnt white ink on black, is noticed and mended."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import fluoroscope as fs
import fluoroscope.evaluation.evaluate
from fluoroscope.engine.first_look import look_at, notes_of
from fluoroscope.engine.labels import negatives, what_was_fed
from fluoroscope.errors import ChanceLevelError, FluoroscopeWarning
from fluoroscope.notices import collected
from fluoroscope.pictures.write import to_pil

DIGITS = next(fs.load_images("digits", channels=1).take(200).batches(200))
evaluate = sys.modules["fluoroscope.evaluation.evaluate"]
NETWORKS = ["digits-linear", "digits-cnn", "digits-robust"]


def found(model: fs.Classifier, images: Tensor) -> str:
    words = [each.words for each in look_at(model, images).findings if each.kind == "negative"]
    return "".join(words)


def stranger(turned: bool = False, mean: float | None = None) -> fs.Classifier:
    """The network on digits as somebody else's, of whose training nothing is known but its mean."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = fs.load_model("digits-cnn").module

        def forward(self, x: Tensor) -> Tensor:
            x = x if mean is None else x + mean
            return self.inner(1 - x if turned else x)

    stated: dict[str, Any] = {} if mean is None else {"mean": [mean], "std": [1.0]}
    return fs.Classifier(Own(), channels=1, input_size=28, labels=list("0123456789"), **stated)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_built_in_networks_know_white_ink_on_black(name: str) -> None:
    model = fs.load_model(name)
    for first in range(0, 200, 4):
        some = DIGITS.images[first : first + 4]
        assert not found(model, some)
        assert "dark ink on white" in found(model, 1 - some)
        assert "invert= shows it those" in found(model, 1 - some[:1])
    for blank in (0.0, 0.5, 1.0):
        assert not found(model, torch.full((1, 1, 28, 28), blank))
    assert not found(model, torch.rand(4, 1, 28, 28))


def test_of_others_it_is_told_by_a_stated_mean_or_by_how_sure_they_are() -> None:
    turned, ink = 0, DIGITS.images
    for first in range(0, 200, 4):
        some = ink[first : first + 4]
        assert not found(stranger(mean=0.13), some)
        assert "0.13, as the negatives have" in found(stranger(mean=0.13), 1 - some)
        assert not found(stranger(turned=True, mean=0.87), 1 - some)
        assert not found(stranger(turned=True), 1 - some)
        assert not found(stranger(), some)
        turned += "far surer" in found(stranger(), 1 - some)
    assert turned > 35  # of 50


def test_it_costs_one_small_pass_and_only_where_there_is_paper() -> None:
    model, some = stranger(), DIGITS.images[:8]
    usual = look_at(model, some).passes
    assert look_at(model, 1 - some).passes == usual + 4
    assert look_at(stranger(mean=0.13), 1 - some).passes == usual


def test_what_was_said_of_the_first_pictures_is_not_said_of_their_negatives() -> None:
    model, dark = fs.load_model("digits-cnn"), 1 - DIGITS.images[:4]
    with pytest.warns(FluoroscopeWarning, match="dark ink on white"):
        fs.predict(model, dark)
    assert any("dark ink" in note for note in notes_of(model))
    with collected() as told:
        result = fs.attack("fgsm", eps=0.1)(model, 1 - dark, [0, 1, 2, 3])
    assert not any("dark ink" in note for note in [*told, *result.notes, *notes_of(model)])


@pytest.mark.parametrize("name", NETWORKS)
def test_labels_tell_it_too(name: str) -> None:
    model, labels = fs.load_model(name), DIGITS.labels
    assert labels is not None
    assert not negatives(model, DIGITS.images, labels)
    [note] = negatives(model, 1 - DIGITS.images, labels)
    right = int((fs.predict(model, DIGITS.images[:32]).winners == labels[:32]).sum())
    assert f"and {right} of their negatives; invert= shows it those" in note
    assert note in what_was_fed(model, 1 - DIGITS.images, labels)
    [short] = negatives(model, 1 - DIGITS.images, labels, advised=True)
    assert note.startswith(f"{short}; ")
    assert not negatives(model, torch.rand(32, 1, 28, 28), labels)
    colour = torch.rand(4, 3, 8, 8)
    assert not negatives(fs.Classifier(nn.Flatten(), channels=3), colour, labels[:4])


def test_negatives_are_handed_out_and_known_as_such(tmp_path: Path) -> None:
    plain, turned = (fs.load_images("digits", channels=1, invert=way).take(5) for way in (0, 1))
    for one, other in zip(plain, turned, strict=True):
        assert torch.equal(other.image, 1 - one.image)
        assert other.label == one.label
    assert turned.identity() == plain.identity() | {"inverted": True}
    assert any("negatives" in note for note in turned.select([1]).notes)
    to_pil(1 - plain[3].image).save(tmp_path / "ink.png")
    for reference in ("digits:3", str(tmp_path / "ink.png"), "black"):
        one, other = (
            fs.open_image(reference, channels=1, size=(8, 8), invert=way).image
            for way in (False, True)
        )
        assert torch.equal(other, 1 - one)


def test_the_command_line_says_it_and_mends_it(
    fluoroscope: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for digit in (0, 7):
        to_pil(1 - DIGITS.images[digit]).save(tmp_path / f"{digit}.png")
    seven = ("-m", "digits-cnn", "-i", str(tmp_path / "7.png"), "--json", "-")
    said = fluoroscope("predict", *seven)
    assert "as the negatives have: --invert shows it those" in said.err
    mended = fluoroscope("predict", *seven, "--invert")
    assert "dark ink" not in mended.err
    assert "the network sees the negatives" in mended.err
    turned = fluoroscope("predict", "-m", "digits-cnn", "-i", "digits:7", "--invert")
    assert "--invert shows it those; leave it out if it is given" in turned.err
    [picture] = json.loads(mended.out)["pictures"]
    assert (picture["top"][0]["label"], picture["inverted"]) == ("7", True)
    out = ("--out", str(tmp_path / "out"))
    morph = fluoroscope("morph", *seven, "--invert", "--to", "2", "--steps", "3", *out)
    assert json.loads(morph.out)["from"] == "7"
    slope = fluoroscope("gradient", *seven, "--invert", *out)
    assert json.loads(slope.out)["winner"] == "7"
    attack = fluoroscope("attack", "fgsm", *seven, "--invert", "--eps", "0.1", *out)
    assert json.loads(attack.out)["picture"]["from"] == "7"
    assert json.loads(attack.out)["record"]["data"]["inverted"] is True


def test_transparent_parts_are_laid_on_white_and_said(tmp_path: Path) -> None:
    ink = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
    ink.paste((0, 0, 0, 255), (10, 4, 16, 24))
    folder = tmp_path / "one"
    folder.mkdir()
    for number in range(3):
        ink.save(folder / f"{number}.png")
    with pytest.warns(FluoroscopeWarning, match="white there, and black in their negatives"):
        picture = fs.open_image(str(folder / "0.png"), channels=1).image
    assert picture[0, 0, 0] == 1
    assert picture[0, 10, 12] == 0
    for workers in (0, 1):
        with collected() as told:
            list(fs.load_images(tmp_path, channels=1).batches(1, workers=workers))
        assert len(told) == 1
    ink.putalpha(255)
    ink.save(tmp_path / "solid.png")
    with collected() as told:
        fs.open_image(str(tmp_path / "solid.png"), channels=1)
    assert not told


def test_a_refused_network_is_shown_what_it_was_fed_of_several_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert DIGITS.labels is not None
    order = DIGITS.labels.argsort(stable=True)
    words: list[str] = []
    real = evaluate.captioned_figure

    def observed(pictures: Any, title: str) -> Any:
        words.extend(caption for _, caption in pictures)
        return real(pictures, title)

    monkeypatch.setattr(evaluate, "captioned_figure", observed)
    with pytest.raises(ChanceLevelError, match=r"of the first 12 pictures .* of their negatives"):
        fs.evaluate(
            fs.load_model("digits-linear"), 1 - DIGITS.images[order], DIGITS.labels[order],
            threat="linf:0.1", plan="fast", out=tmp_path,
        )  # fmt: skip
    labels = [caption.splitlines()[0].removeprefix("labelled ") for caption in words]
    assert labels == [*"0123456789", "0", "1"]
