"""Sheets of maps: colours are the numbers on the scale that is stated, and no word is lost."""

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from torch import Tensor

from fluoroscope.pictures.attribution_colours import Colours, colours_of
from fluoroscope.pictures.attribution_tile import attribution_tile
from fluoroscope.pictures.attributions import Column, attribution_sheet
from fluoroscope.pictures.maps import write_figure

SIGNED = torch.tensor([[[-2.0, 0.0], [1.0, 2.0]]])
RISING = torch.tensor([[[0.0, 1.0], [2.0, 4.0]]])


def colour(name: str, share: float) -> list[float]:
    return [float(each) for each in colormaps[name](share)[:3]]


def test_signed_maps_are_white_at_zero_and_others_black() -> None:
    signed, rising = colours_of([SIGNED]), colours_of([RISING])
    assert (signed.signed, rising.signed) == (True, False)
    assert (rising.start, rising.end, rising.cut) == (0.0, 4.0, False)
    assert signed.start == -signed.end
    drawn = signed.rgb(SIGNED)
    assert drawn.shape == (3, 2, 2)
    np.testing.assert_allclose(drawn[:, 0, 1], colour("RdBu_r", 0.5), atol=1e-6)
    drawn = rising.rgb(RISING)
    for (row, column), share in {(0, 0): 0.0, (0, 1): 0.25, (1, 0): 0.5, (1, 1): 1.0}.items():
        np.testing.assert_allclose(drawn[:, row, column], colour("inferno", share), atol=1e-6)


def test_several_maps_are_on_one_scale_and_what_lies_beyond_is_said() -> None:
    spread = torch.linspace(-1, 1, 100).view(1, 10, 10)
    spread[0, 0, 0] = -50.0
    found = colours_of([SIGNED / 100, spread])
    assert 0.9 < found.end < 1.1
    assert found.beyond == 50.0
    assert found.cut
    assert found.words(3) == f"±{found.end:.3g}, channels added up"
    assert colours_of([RISING, RISING / 2]).end == 4.0
    assert colours_of([RISING]).words(1) == "0 and 4"
    few = torch.linspace(0, 1, 400).view(1, 20, 20)
    assert colours_of([few]).end == 1.0
    few[0, 0, 0] = 50.0
    found = colours_of([few])
    assert 0.97 < found.end < 1.0
    assert (found.beyond, found.cut) == (50.0, True)


@pytest.mark.parametrize("maps", [[], [torch.zeros(1, 2, 2)], [torch.full((3, 2, 2), torch.nan)]])
def test_nothing_has_a_scale_too(maps: list[Tensor]) -> None:
    assert colours_of(maps) == Colours(1.0, False, 0.0)


def test_an_overlay_shows_the_picture_where_the_map_says_nothing() -> None:
    grey = np.array([[0.0, 0.2], [0.4, 1.0]])
    for values in (SIGNED, RISING):
        colours = colours_of([values])
        laid = colours.over(grey, torch.zeros_like(values))
        assert laid.shape == (2, 2, 3)
        assert (np.diff(laid.ravel()[::3]) > 0).all()  # the picture's own order
        strong = colours.over(grey, values)[1, 1]
        full = np.array(colour(colours.name, 1.0))
        assert np.abs(strong - full).max() < (0.2 if colours.signed else 0.5)


def words_of(columns: list[Column], rows: list[str], picture: Tensor) -> list[str]:
    pictures = [picture, *[None] * (len(rows) - 1)]
    figure = attribution_sheet(columns, rows, pictures)
    found = []
    for axis in figure.axes:
        labels = (axis.title, axis.xaxis.label, axis.yaxis.label, *axis.texts)
        found += [text.get_text() for text in (*labels, *axis.get_xticklabels())]
    return [word for word in found if word]


def column(title: str, values: Tensor, rows: int = 1, **given: object) -> Column:
    maps = [values] * rows
    return Column(title, maps, colours_of(maps), **given)  # type: ignore[arg-type]


def test_a_sheet_states_scale_unit_and_meaning() -> None:
    columns = [
        column("one", SIGNED, 2, unit="logit", key="red: for\nblue: against", captions=["a", "b"]),
        column("two", RISING, 2, unit="none"),
    ]
    found = words_of(columns, ["cat", "$\\frac$"], torch.rand(1, 2, 2))
    for word in ("one", "two", "cat", "$\\frac$", "a", "b", "4", "picture"):
        assert word in found, word
    assert any(word.startswith("logit\nred: for\nblue: against") for word in found)


def test_a_map_that_looks_empty_or_misses_its_promise_says_so() -> None:
    maps = [SIGNED, SIGNED * 1e-3, SIGNED * 0]
    shown = Column(
        "one", maps, colours_of(maps), captions=["to 1 %", "off by 19 %", ""],
        missed=[False, True, False],
    )  # fmt: skip
    figure = attribution_sheet([shown], ["a", "b", "c"], [torch.rand(3, 2, 2), None, None])
    labels = [axis.xaxis.label for axis in figure.axes]
    found = {label.get_text().replace("\n", " "): label.get_color() for label in labels}
    assert found["to 1 %"] != found["off by 19 %; all below 5 % of the scale"] == "#b42318"
    assert "zero everywhere" in found


def test_a_sheet_says_the_answer_below_the_picture_and_rows_upright() -> None:
    figure = attribution_sheet(
        [column("one", SIGNED, 2, foot="logit: a score"), column("two", SIGNED, 2)],
        ["6", "cat (< 0.1\u202f%) rather than dog"], [torch.rand(1, 2, 2), None],
        ["3 (64.0\u202f%), then 5 (35.9\u202f%)"],
    )  # fmt: skip
    below = figure.axes[0].xaxis.label.get_text()
    assert below == "the network says:\n3 (64.0\u00a0%), then 5 (35.9\u00a0%)"
    label = figure.axes[1].yaxis.label
    assert (label.get_text(), label.get_rotation()) == ("6", 0)
    assert figure.get_supxlabel() == "logit: a score"


def test_a_warning_is_on_every_map_or_in_its_place() -> None:
    shown = column("one", SIGNED, 3, warning="not valid here")
    hidden = column("two", SIGNED, 3, warning="not valid there", drawn=False)
    found = words_of([shown, hidden], ["a", "b", "c"], torch.rand(1, 2, 2))
    assert found.count("not valid here") == 3
    assert found.count("not drawn: not valid there") == 3
    figure = attribution_sheet([hidden], ["a", "b", "c"], [torch.rand(1, 2, 2), None, None])
    for axis in figure.axes[1:6:2]:  # what stands in a map's place is one grey
        (image,) = axis.get_images()
        assert len(np.unique(image.get_array())) == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("channels", [1, 2, 3, 13])
def test_any_picture_and_any_name_can_be_drawn(channels: int, tmp_path: object) -> None:
    names = [
        "鶴 rather than 鴕鳥",
        "an endless name, " * 40,
        "a\n\u202eb" if channels == 1 else "c",
    ]
    picture = torch.rand(channels, 5, 9)
    columns = [column("m" * 90, picture - 0.5, 3, captions=["word " * 40] * 3)]
    figure = attribution_sheet(columns, names, [picture, None, None], overlay=True)
    write_figure(f"{tmp_path}/sheet.png", figure)
    for text in (axis.yaxis.label.get_text() for axis in figure.axes):
        assert max(map(len, text.splitlines()), default=0) <= 13
        assert len(text.splitlines()) <= 5
        assert "\u202e" not in text


@pytest.mark.parametrize(("side", "wide"), [(4, 448), (28, 448), (224, 448), (600, 600)])
def test_a_tile_enlarges_by_whole_factors_and_carries_its_warning(side: int, wide: int) -> None:
    values = torch.zeros(1, side, side)
    values[0, 0, 0] = 1.0
    colours = colours_of([values])
    plain = attribution_tile(values, colours, ["a method", "鶴"])
    assert plain.width == wide + 24
    block = wide // side
    bright = [round(255 * each) for each in colour("inferno", 1.0)]
    corner = [plain.getpixel((12, 12)), plain.getpixel((11 + block, 11 + block))]
    for found in corner:
        np.testing.assert_allclose(found, bright, atol=1)
    warned = attribution_tile(values, colours, ["a method", "鶴"], warning="not valid " * 9)
    middle = (12 + wide // 2, 12 + wide - 6)
    assert plain.getpixel(middle) != warned.getpixel(middle) == (180, 35, 24)
