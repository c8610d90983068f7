"""Randomness that belongs to the image: from its pixels and a seed, whatever lies beside it."""

import pytest
import torch

from fluoroscope.models.wrappers.draws import row_keys, row_uniform

IMAGES = torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_a_row_draws_the_same_whatever_its_neighbours(dtype: torch.dtype) -> None:
    images = IMAGES.to(dtype)
    everyone = row_uniform(images, 3, 7, (4, 5))
    assert everyone.shape == (50, 4, 5)
    chosen = torch.tensor([41, 3, 3])
    assert torch.equal(row_uniform(images[chosen], 3, 7, (4, 5)), everyone[chosen])
    turned = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(row_uniform(turned, 3, 7, (4, 5)), everyone)


def test_one_bit_of_one_pixel_another_seed_or_number_is_another_draw() -> None:
    moved = IMAGES[:1].repeat(192, 1, 1, 1)
    pixels = moved.view(192, 192)
    rows = torch.arange(192)
    pixels[rows, rows] = torch.nextafter(pixels[rows, rows], torch.ones(192))
    swapped = IMAGES[:1].flip(3)
    keys = torch.cat(
        [row_keys(IMAGES, 0), row_keys(IMAGES, 1), row_keys(moved, 0), row_keys(swapped, 0)]
    )
    assert len(keys.unique()) == 50 + 50 + 192 + 1
    draws = torch.stack([row_uniform(IMAGES, 0, number, (1,)) for number in range(20)])
    assert len(draws.unique()) == 20 * 50


def test_numbers_are_uniform_and_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    drawn = row_uniform(IMAGES, 0, 0, (4000,))
    assert torch.equal(torch.get_rng_state(), before)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = torch.histc(drawn, 20, 0, 1) / drawn.numel() * 20
    assert (counts - 1).abs().max() < 0.05
    assert abs(float(torch.corrcoef(drawn)[0, 1])) < 0.06
