"""Which channels of a picture are shown, and that nothing is shown otherwise than it says."""

from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

import fluoroscope as fs
from fluoroscope.pictures.display import said, said_at_length, shown, shown_array, shown_channels
from fluoroscope.pictures.pairs import Pair, pair_sheet
from fluoroscope.pictures.write import to_pil, write_gif, write_png

EACH = torch.arange(13).view(13, 1, 1).expand(13, 2, 3) / 255  # the number of a channel, from 0


@pytest.mark.parametrize(
    ("channels", "which", "words"),
    [
        (1, [0], ""),
        (2, [0, 1, 0], "channels 1, 2, 1 of 2"),
        (3, [0, 1, 2], ""),
        (4, [0, 1, 2], "channels 1, 2, 3 of 4"),
        (13, [0, 1, 2], "channels 1, 2, 3 of 13"),
    ],
)
def test_what_is_shown(channels: int, which: list[int], words: str, tmp_path: Path) -> None:
    image = EACH[:channels]
    assert [round(255 * float(value)) for value in shown(image)[:, 0, 0]] == which
    assert said(channels) == words
    assert shown_array(image).shape == ((2, 3) if channels == 1 else (2, 3, 3))
    with Image.open(write_png(tmp_path / "picture.png", image)) as written:
        assert written.mode == ("L" if channels == 1 else "RGB")  # a fourth is no transparency
        assert written.getpixel((0, 0)) == (0 if channels == 1 else tuple(which))
        assert words in written.info.get("Description", "")
        assert bool(written.info.get("Description")) == bool(words)


def test_a_user_chooses() -> None:
    with fs.showing(4, 3, 2):
        assert shown(EACH)[:, 0, 0].mul(255).round().tolist() == [3, 2, 1]
        assert said_at_length(13) == "Pictures show channels 4, 3, 2 of 13 as red, green and blue."
        with fs.showing(8):
            assert shown(EACH).shape == (1, 2, 3)
            assert said_at_length(13) == "Pictures show channel 8 of 13 as grey."
        with pytest.raises(fs.FluoroscopeError, match="are 4, 3, 2; the pictures have 3"):
            shown_channels(3)
    assert shown_channels(13) == (1, 2, 3)
    with fs.showing(3, 2, 1):  # a choice of three is told of colour, too
        assert said(3) == "channels 3, 2, 1 of 3"


@pytest.mark.parametrize("channels", [(), (1, 2), (0, 1, 2), (1, 2, True), (1.0, 2.0, 3.0)])
def test_a_choice_that_is_none(channels: tuple[int, ...]) -> None:
    with pytest.raises(fs.FluoroscopeError, match="expected three for red, green"):
        fs.showing(*channels).__enter__()


def test_exact_pictures_are_grey_or_rgb() -> None:
    with pytest.raises(fs.FluoroscopeError, match="has 4 channels; expected 1"):
        to_pil(EACH[:4])


def test_captions_say_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words: list[str] = []
    drawn = ImageDraw.ImageDraw.text
    with monkeypatch.context() as patched:
        patched.setattr(
            ImageDraw.ImageDraw,
            "text",
            lambda self, at, text, *rest, **how: (
                words.append(text),
                drawn(self, at, text, *rest, **how),
            ),
        )
        sheet = pair_sheet([Pair(EACH, EACH.flip(0), "wheat", "rye")])
    said = " ".join(words)
    for row in ("before channels 1, 2, 3 of 13", "change × 10", "after channels 1, 2, 3 of 13"):
        assert row in said
    assert "largest change" in said, words
    assert {"wheat", "rye"} <= set(words)
    assert sheet.width > 280
    tall, plain = (
        Image.open(write_gif(tmp_path / f"{count}.gif", [EACH[:count]], ["wheat"])).height
        for count in (13, 3)
    )
    assert tall > plain  # a second line below
