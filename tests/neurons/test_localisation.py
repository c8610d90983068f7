"""Where maps lie on masks, against a slow count."""

import pytest
import torch
from torch.nn import functional as F

from fluoroscope.errors import InvalidParameterError
from fluoroscope.neurons.answers.localisation import localisation


def test_every_number_is_that_of_a_slow_count() -> None:
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(6, 3, 4, generator=rng)
    masks = torch.rand(6, 6, 8, generator=rng) > 0.6
    found = localisation(maps, masks, share=0.3)
    for number in range(6):
        large = F.interpolate(maps[number][None, None].double(), (6, 8), mode="bilinear")[0, 0]
        best, where, both, either = -9.0, (0, 0), 0, 0
        for row in range(6):
            for column in range(8):
                if large[row, column] > best:
                    best, where = float(large[row, column]), (row, column)
        for row in range(6):
            for column in range(8):
                on, mask = bool(large[row, column] > 0.3 * best), bool(masks[number, row, column])
                both, either = both + (on and mask), either + (on or mask)
        assert found.iou[number] == pytest.approx(both / either)
        assert bool(found.pointed[number]) == bool(masks[number][where])
    assert found.mean_iou == pytest.approx(float(found.iou.mean()))
    assert found.pointing == pytest.approx(float(found.pointed.double().mean()))
    assert found.above(0.2) == pytest.approx(float((found.iou > 0.2).double().mean()))


def test_a_map_that_is_its_mask_and_one_that_is_nowhere() -> None:
    mask = torch.zeros(1, 4, 4)
    mask[0, 1, 2:] = 1
    found = localisation(mask, mask > 0)
    assert (found.mean_iou, found.pointing) == (1, 1)
    nowhere = localisation(-mask, torch.ones(1, 4, 4))
    assert (nowhere.mean_iou, nowhere.pointing) == (0, 0)


def test_refusals() -> None:
    with pytest.raises(InvalidParameterError, match="maps are"):
        localisation(torch.zeros(2, 3, 3), torch.zeros(1, 3, 3))
    with pytest.raises(InvalidParameterError, match="share is 1"):
        localisation(torch.zeros(1, 3, 3), torch.zeros(1, 3, 3), share=1)
