"""Maps and curves: what a colour means, and that the scale is the one stated."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import colormaps

from fluoroscope.pictures.captioned import captioned_figure
from fluoroscope.pictures.curves import (
    probability_curves,
    query_curves,
    robustness_curves,
    success_curve,
)
from fluoroscope.pictures.maps import amplified, map_figure, signed_map, write_figure
from fluoroscope.words import Ruler


def color(name: str, position: float) -> torch.Tensor:
    return torch.tensor(colormaps[name](position)[:3])


@pytest.mark.parametrize("channels", [1, 3])
def test_ends_and_middle_of_the_colours(channels: int) -> None:
    values = torch.tensor([-2.0, 0.0, 2.0, 4.0]).view(1, 1, 4) / channels
    picture, scale = signed_map(values.repeat(channels, 1, 1), scale=2.0)
    assert scale == 2.0
    for column, position in enumerate([0.0, 0.5, 1.0, 1.0]):
        torch.testing.assert_close(
            picture[:, 0, column].double(), color("RdBu_r", position).double(), atol=0.01, rtol=0
        )


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_below_zero_is_blue_and_above_it_red_for_any_picture(channels: int) -> None:
    values = torch.tensor([[[-0.7, 0.0, 0.7]]]).repeat(channels, 1, 1) / channels
    picture, _ = signed_map(values, scale=1.0)
    (r, _, b), white, (red, _, blue) = picture[:, 0].T.tolist()
    assert b > r + 0.3
    assert min(white) > 0.95
    assert red > blue + 0.3


def test_the_default_scale_is_the_98th_percentile() -> None:
    values = torch.randn(1, 40, 40, generator=torch.Generator().manual_seed(0))
    _, scale = signed_map(values)
    assert scale == pytest.approx(np.percentile(values.abs().numpy(), 98), rel=1e-5)


def test_all_zero_is_all_middle() -> None:
    picture, scale = signed_map(torch.zeros(1, 3, 3))
    assert scale == 1.0
    assert picture.std(dim=(1, 2)).max() == 0


def test_times_fifty() -> None:
    values = torch.tensor([[[0.0, 0.005, -0.005, 1.0, -1.0]]])
    expected = torch.tensor([[[0.5, 0.75, 0.25, 1.0, 0.0]]])
    torch.testing.assert_close(amplified(values), expected)


def test_the_colour_bar_states_the_numbers() -> None:
    figure = map_figure([("five", torch.randn(1, 8, 8)), ("$six", torch.randn(1, 8, 8))], scale=3.0)
    bar = figure.axes[-1]
    assert [text.get_text() for text in bar.get_yticklabels()] == ["-3", "-1.5", "0", "1.5", "3"]
    assert "red: brighter pixels raise it" in bar.get_ylabel()


def test_same_figure_same_bytes_and_labels_stay_text(tmp_path: Path) -> None:
    labels = ["<script>alert(1)</script>", "$x_1$", "c & d"]
    probabilities = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    for name in ("a.svg", "b.svg"):
        figure = probability_curves(probabilities, labels, always=[0, 1], stations=[(0, 0), (1, 1)])
        write_figure(tmp_path / name, figure)
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    assert "<script>" not in text
    shown = [entry.get_text() for entry in figure.axes[0].get_legend().get_texts()]
    assert shown == labels


def test_a_bar_that_saturates_says_how_far_the_values_go() -> None:
    values = torch.linspace(-1, 1, 64).view(1, 8, 8)
    values[0, 0, 0] = -7.28
    [*_, bar] = map_figure([("five", values)]).axes
    assert "the ends stand for up to ±7.28" in bar.get_ylabel()
    [*_, bar] = map_figure([("five", values)], scale=8.0).axes
    assert "ends" not in bar.get_ylabel()


@pytest.mark.parametrize("name", ["_x", "$a_b$", "<b>"])
def test_no_name_is_left_out_of_a_legend(name: str) -> None:
    several = {name: [(0.0, 1.0, 0.9, 1.0)], "other": [(0.0, 1.0, 0.9, 1.0)]}
    figures = [
        probability_curves(torch.tensor([[0.9, 0.1]]), [name, "other"], always=[0, 1]),
        robustness_curves(several, norm="linf"),
        query_curves({"eps": {name: [1, 2], "other": [3]}}, 4, 10),
    ]
    for figure in figures:
        legend = figure.axes[0].get_legend().get_texts()
        assert [text.get_text() for text in legend] == [name, "other"]
        assert not any(text.get_parse_math() for text in legend)
        figure.draw_without_rendering()


def test_colour_is_measured_in_255ths_on_every_axis() -> None:
    points = {"one": [(0.0, 0.9, 0.8, 1.0), (4 / 255, 0.5, 0.4, 0.6)]}
    for channels, last in ((1, 4 / 255), (3, 4.0)):
        axes = robustness_curves(points, norm="linf", channels=channels, mark=2 / 255).axes[0]
        assert axes.get_lines()[0].get_xdata()[1] == pytest.approx(last)
        assert ("255ths" in axes.get_xlabel()) == (channels == 3)
        ruler = Ruler("linf", channels)
        axes = success_curve([4 / 255, 1 / 255], 2, ruler=ruler, half=1 / 255).axes[0]
        assert axes.get_lines()[0].get_xdata()[2] == pytest.approx(last)
        assert axes.texts[0].get_text() == (
            "half within 1/255" if channels == 3 else "half within 0.00392"
        )


def test_a_long_title_stays_within_the_pictures() -> None:
    figure = captioned_figure([(torch.rand(1, 8, 8), "a\nb")] * 2, "a title " * 20)
    figure.draw_without_rendering()
    box = figure._suptitle.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
