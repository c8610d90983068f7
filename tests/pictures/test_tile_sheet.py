"""Sheets of pictures: pixels stay square and where they belong, words are words."""

import numpy as np
import pytest
import torch

from fluoroscope.pictures.tile_sheet import Tile, picture_of, tile_sheet

HOSTILE = "<b>$\\frac$ ‮ name " * 40


def test_small_pictures_are_enlarged_by_whole_factors() -> None:
    picture = torch.rand(1, 7, 5, generator=torch.Generator().manual_seed(0))
    sheet = np.asarray(tile_sheet([[Tile(picture)]], [""]).convert("L"))
    large = np.round(255 * picture[0].numpy()).repeat(20, 0).repeat(20, 1)  # 140 pixels high
    height, width = large.shape
    found = [
        (y, x)
        for y in range(sheet.shape[0] - height + 1)
        for x in range(sheet.shape[1] - width + 1)
        if (sheet[y, x], sheet[y + height - 1, x + width - 1]) == (large[0, 0], large[-1, -1])
        and (sheet[y : y + height, x : x + width] == large).all()
    ]
    assert len(found) == 1


def test_words_of_strangers_are_drawn_and_bounded() -> None:
    tile = Tile(torch.zeros(3, 6, 6), [HOSTILE, HOSTILE])
    sheet = tile_sheet(
        [[tile, Tile(None, ["none"])]], [HOSTILE], heads=[HOSTILE, "b"], title=HOSTILE, foot=HOSTILE
    )
    assert sheet.width < 600
    assert sheet.height < 600


def test_large_pictures_are_shrunk_and_many_channels_are_said() -> None:
    sheet = tile_sheet([[Tile(torch.rand(13, 500, 300))]], ["a"])
    assert sheet.height < 320


@pytest.mark.parametrize("level", [0.0, 0.25])
def test_what_was_moved_little_is_transparent(level: float) -> None:
    picture = torch.linspace(0, 1, 300).view(3, 10, 10)
    moved = torch.full((1, 10, 10), 2.0)
    moved[0, 0] = 2 * level
    found = picture_of(picture, moved)
    alpha = np.asarray(found)[..., 3]
    assert (alpha[1:] == 255).all()
    assert (alpha[0] == round(255 * level)).all()
    plain = picture_of(picture, torch.zeros(1, 10, 10))  # nothing moved: all of it is seen
    assert (np.asarray(plain)[..., 3] == 255).all()


def test_all_lines_below_a_tile_are_drawn_and_white_pictures_have_a_frame() -> None:
    white = torch.ones(1, 7, 7)

    def sheet(*words: str) -> np.ndarray:
        return np.asarray(tile_sheet([[Tile(white, words)]], [""]).convert("L"))

    # Two lines each, and the last of them seen.
    long = "a prayer rug that is named at length"
    assert sheet(long, long, "z").shape[0] > sheet(long, long).shape[0]
    assert (sheet()[:, 100] < 255).sum() >= 2
