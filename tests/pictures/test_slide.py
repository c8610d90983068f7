"""The slide: whole factors, a change to scale, and words that are drawn as they stand."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError
from fluoroscope.pictures.lettering import broken, lettering
from fluoroscope.pictures.slide import Caption, amplification, drawn_at, slide
from fluoroscope.pictures.write import to_pil


def drawn(channels: int = 1, side: tuple[int, int] = (8, 8), **change: object) -> Image.Image:
    torch.manual_seed(0)
    before = torch.rand(channels, *side) * 0.5 + 0.25
    after = before + 0.1 * torch.randn(channels, *side).sign()
    given = {"was": Caption("seven", 0.99), "became": Caption("two", 0.84)} | change
    return slide(before, after, **given)


def words_of(monkeypatch: pytest.MonkeyPatch, **given: object) -> list[str]:
    said: list[str] = []
    real = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda self, place, text, **how: (said.append(text), real(self, place, text, **how))[1],
    )
    drawn(**given)
    return said


@pytest.mark.parametrize(("channels", "side"), [(1, (28, 28)), (3, (32, 32)), (3, (128, 96))])
def test_the_three_pictures_are_there_pixel_by_pixel(channels: int, side: tuple[int, int]) -> None:
    torch.manual_seed(1)
    before = torch.rand(channels, *side) * 0.6 + 0.2
    after = before + 0.1 * torch.randn(channels, *side).sign()
    made = slide(before, after, was=Caption("a", 0.5), became=Caption("b", 0.5))
    pixels = np.asarray(made)
    factor = round(640 / max(side))
    cell = factor * max(side)
    between = round(105 * cell / 540)
    for number, picture in enumerate((before, 0.5 + 5 * (after - before), after)):
        wanted = np.asarray(to_pil(picture.clamp(0, 1)).convert("RGB"))
        wanted = wanted.repeat(factor, 0).repeat(factor, 1)
        middle = made.width // 2 + (number - 1) * (cell + between)
        left = middle - wanted.shape[1] // 2
        columns = pixels[:, left : left + wanted.shape[1]]
        first = next(
            y for y in range(made.height) if (columns[y : y + 9, 0] == wanted[:9, 0]).all()
        )
        np.testing.assert_array_equal(columns[first : first + len(wanted)], wanted)


@pytest.mark.parametrize(
    ("largest", "factor"),
    [
        (0.1, 5),
        (2 / 255, 60),
        (8 / 255, 10),
        (1.0, 0.5),
        (0.7, 0.7),
        (0.3, 1),
        (0.002, 200),
        (0, 1),
    ],
)
def test_a_change_is_enlarged_as_far_as_the_scale_goes(largest: float, factor: float) -> None:
    found = amplification(float(torch.tensor(largest)))
    assert found == pytest.approx(factor)
    assert found * largest <= 0.5 * 1.001


def test_it_says_what_was_what_became_and_how_much_was_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = words_of(monkeypatch, channels=3, network="/home/someone/nets/mine")
    assert said == [
        "seven", "99.0\u202f%", "change × 5", "at most 25.5/255 of", "black to white", "two",
        "84.0\u202f%", "+", "=", "mine",
    ]  # fmt: skip
    assert "at most 10\u202f% of black" in words_of(monkeypatch)
    assert words_of(monkeypatch, failed="wanted: 2")[-3:] == ["wanted: 2", "+", "="]
    assert "channels 1, 2, 3 of 5" in words_of(monkeypatch, channels=5)


@pytest.mark.parametrize("label", ["_x", "$a_b$", "<script>", "café", "no\nline\x1b[2J"])
def test_labels_are_drawn_as_they_stand(monkeypatch: pytest.MonkeyPatch, label: str) -> None:
    said = words_of(monkeypatch, was=Caption(label, 0.5))
    assert said[0] == " ".join("".join(s if s.isprintable() else " " for s in label).split())


def test_long_words_are_broken_between_words_and_cut() -> None:
    font = lettering(60, bold=True)
    assert broken("great white shark", font, 400, 2) == ["great white", "shark"]
    lines = broken("a very long name of a class that nobody would ever read aloud", font, 500, 2)
    assert len(lines) == 2
    assert lines[1].endswith("…")
    assert all(font.getlength(line) <= 500 for line in lines)
    one = broken("W" * 5000, font, 500, 2)
    assert all(font.getlength(line) <= 500 for line in one)
    assert len(one) == 2


@pytest.mark.parametrize(
    ("factor", "words"),
    [(60, "change × 60"), (1, "change"), (0.5, "change at half strength"),
     (0.7, "change at 70\u202f% strength")],
)  # fmt: skip
def test_a_change_that_is_drawn_weaker_is_said_so(factor: float, words: str) -> None:
    assert drawn_at(factor) == words


@pytest.mark.parametrize("side", [8, 28, 32, 128, 224, 299, 384, 448, 640])
def test_pictures_fill_the_slide_whatever_their_size(side: int) -> None:
    made = drawn(3, (side, side))
    assert 1500 < made.width < 2900
    assert 3 * round(640 / side) * side > 0.8 * made.width


def test_large_pictures_are_shrunk_and_narrow_ones_have_room_for_words() -> None:
    assert drawn(3, (700, 1000)).size == drawn(3, (1400, 2000)).size
    assert drawn(1, (1, 300)).width > 1900
    assert drawn(1, (300, 1)).width > 1900


def test_what_did_not_come_about_is_on_the_slide(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fs.load_model("digits-robust")
    seven = fs.open_image("digits:7", channels=1).image
    told: list[str] = []
    monkeypatch.setattr(
        "fluoroscope.pictures.slide.slide", lambda *_, failed, **__: told.append(failed)
    )
    fs.morph(model, seven, to=2, eps=0.05, steps=2).slide()
    fs.morph(model, seven, away=True, eps=0.05, steps=2).slide()
    fs.attack("fgsm", eps=0.01)(model, seven[None], [7]).slide()
    fs.attack("fgsm", eps=0.01)(model, seven[None], [2], targeted=True).slide()
    fs.morph(model, seven, to=7, steps=2).slide()
    assert told == ["wanted: 2", "still 7", "not fooled", "wanted: 2", ""]


def test_a_network_and_its_probabilities_are_on_a_morphs_slide() -> None:
    model = fs.load_model("digits-cnn")
    seven = fs.open_image("digits:7", channels=1).image
    result = fs.morph(model, seven, to=2, steps=10)
    again = slide(
        seven,
        result.image,
        was=Caption("7", float(fs.predict(model, seven).probabilities.max())),
        became=Caption("2", float(fs.predict(model, result.image).probabilities.max())),
        network="digits-cnn",
    )
    np.testing.assert_array_equal(np.asarray(result.slide()), np.asarray(again))


def test_an_attack_has_a_slide_of_each_of_its_pictures() -> None:
    model = fs.load_model("digits-linear")
    batch = next(fs.load_images("digits", channels=1).take(6).batches(6))
    found = (fs.attack("fgsm", eps=0.1) | fs.attack("pgd", eps=0.1))(
        model, batch.images, batch.labels
    )
    clean = fs.predict(model, batch.images).probabilities
    torch.testing.assert_close(found.read_probability, clean.amax(1))
    ends = fs.predict(model, found.images).probabilities[4]
    again = slide(
        batch.images[4],
        found.images[4],
        was=Caption(model.labels[int(clean[4].argmax())], float(clean[4].max())),
        became=Caption(model.labels[int(ends.argmax())], float(ends.max())),
        network="digits-linear",
    )
    np.testing.assert_array_equal(np.asarray(found.slide(4)), np.asarray(again))
    with pytest.raises(InvalidParameterError, match="index is 6; expected 0 to 5"):
        found.slide(6)
