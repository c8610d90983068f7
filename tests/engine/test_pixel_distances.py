"""What a step says of how far a picture went."""

import torch

from fluoroscope.engine.threats import pixel_distances


def test_the_length_of_many_small_changes_holds_to_its_last_digits() -> None:
    original = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    images = original + 0.0033 * (torch.arange(3 * 224 * 224).reshape(1, 3, 224, 224) % 7 - 3)
    change = images.double() - original.double()
    exact = (images - original).double().square().sum().sqrt().item()
    l0, l2, linf = pixel_distances(images, original)
    assert abs(l2.item() / exact - 1) < 1e-12
    assert l0.item() == (change != 0).any(1).sum()
    assert linf.item() == (images - original).abs().max()
