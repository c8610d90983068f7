"""The page knows every measure of an assessment, every flag, and the numbers behind them."""

from pathlib import Path

import torch

import fluoroscope as fs
from fluoroscope.inversion.measures import choice, flags, of_answers, of_class, of_sets, pictures

PAGE = (Path(__file__).parents[2] / "docs" / "inversion.md").read_text("utf-8")


def test_every_measure_is_explained() -> None:
    model = fs.load_model("digits-linear")
    found = fs.inversion.assess(model, torch.zeros(2, 1, 28, 28), [0, 1])
    for one in found.measures:
        name = one.name.split(", ")
        if len(name) == 2:  # of several, by the space in which it is measured
            assert f"`{name[0]}, " in PAGE
            assert name[1] in PAGE
        else:
            assert f"`{one.name}`" in PAGE, one.name


def test_the_thresholds_are_those_of_the_code() -> None:
    assert (flags.COLLAPSED, flags.NARROW, flags.SAME_PIXELS) == (0.1, 0.5, 0.01)
    assert flags.REPEATS == 0.5
    assert (flags.COPIES, flags.FEWEST_COPIES) == (0.05, 2)
    assert (flags.SEES, flags.AGREES, flags.SURVIVES, flags.ALIKE) == (0.5, 0.5, 0.5, 0.5)
    assert flags.JUDGES == 0.25
    assert (flags.MIDDLE, flags.LAYERS, of_class.COPY) == (0.5, 0.5, 0.5)
    assert (of_sets.K, of_answers.LEAD, choice.REFERENCES) == (5, 0.1, 9)
    assert f"quality {pictures.JPEG_QUALITY}" in PAGE
    for words in ("*k* = 5", "more than 0.1", "Up to nine", "by two pixels", "At least 5 %"):
        assert words in PAGE
    for flag in (
        "collapsed", "less varied", "repeats itself", "leaks", "not seen",
        "only this network agrees",
        "second network is no judge", "no class in it after rounding",
        "goes another way through the layers",
        "the same with random weights",
    ):  # fmt: skip
        assert f"| `{flag}`" in PAGE
