"""The zoo itself: what its networks answer depends on the picture, and on that picture alone."""

import pytest
import torch

from tests.attribution.zoo import CLASSES, RELU, SMALL, TOYS, UNKNOWN, either


@pytest.mark.parametrize("name", [*TOYS, *SMALL])
def test_a_network_answers_each_picture_by_itself(name: str) -> None:
    """Else a map that differs between batch and single would be the network's own doing."""
    case = either(name)
    images = case.images.clone().requires_grad_()
    logits = case.model(images)
    singles = torch.cat([case.model(image[None]) for image in case.images])
    assert torch.allclose(logits, singles, atol=1e-5)
    differ = (logits - case.model(torch.zeros_like(images))).abs().amax(1)
    assert bool((differ > 1e-2).all())
    (slope,) = torch.autograd.grad(logits[:, 1].sum(), images)
    assert bool((slope.flatten(1).norm(dim=1) > 1e-3).all())


def test_its_names_are_those_of_toys() -> None:
    assert {*RELU, *UNKNOWN} <= {*TOYS}
    assert not {*RELU} & {*UNKNOWN}
    assert all(either(name).model.num_classes == CLASSES for name in TOYS)
