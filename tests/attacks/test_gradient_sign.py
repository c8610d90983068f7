"""One signed step: against its closed form, and with its bookkeeping."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import fluoroscope as fs


def linear(seed: int, classes: int = 3) -> tuple[fs.Classifier, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(12, classes)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(classes, 12, generator=generator))
        layer.bias.zero_()
    images = 0.3 + 0.4 * torch.rand(5, 3, 2, 2, generator=generator)
    return fs.Classifier(nn.Sequential(nn.Flatten(), layer)), layer.weight.detach(), images


@given(st.integers(0, 1000), st.floats(0.001, 0.25))
def test_on_a_linear_network_the_score_moves_by_eps_times_the_l1_norm(
    seed: int, eps: float
) -> None:
    model, weight, images = linear(seed, classes=2)
    classes = torch.tensor([0, 1, 0, 1, 0])
    result = fs.fgsm(model, images, classes, eps)
    before, after = model(images).detach(), result.logits
    margin = lambda z: z.gather(1, classes[:, None]) - z.gather(1, 1 - classes[:, None])  # noqa: E731
    moved = (margin(before) - margin(after)).flatten()
    torch.testing.assert_close(
        moved, eps * (weight[0] - weight[1]).abs().sum().expand(5), rtol=1e-4, atol=1e-5
    )


@given(st.integers(0, 1000), st.booleans())
def test_success_distance_and_counts(seed: int, targeted: bool) -> None:
    model, _, images = linear(seed)
    classes = torch.tensor([0, 1, 2, 0, 1])
    result = fs.fgsm(model, images, classes, "20/255", targeted=targeted, batch_size=2)
    read = model(result.images).argmax(1)
    assert torch.equal(result.success, (read == classes) == targeted)
    assert (result.distance <= 20 / 255 + 1e-6).all()
    torch.testing.assert_close(result.distance, (result.images - images).flatten(1).abs().amax(1))
    assert result.forwards.tolist() == [3] * 5  # the clean look included
    assert result.backwards.tolist() == [1] * 5
    assert result.images.min() >= 0
    assert result.images.max() <= 1


def test_eps_of_zero_changes_nothing() -> None:
    model, _, images = linear(0)
    assert torch.equal(fs.fgsm(model, images, 0, 0).images, images)
