"""Networks with random weights, and how alike two maps are."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import nn

import fluoroscope as fs
from fluoroscope.gradients.randomised import rank_correlation, spearman, with_random_weights


class Scaled(nn.Module):
    """A layer that does not know how to draw its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.arange(3 * 8 * 8.0).view(3, 8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


def network() -> fs.Classifier:
    layers = (Scaled(), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5))
    return fs.Classifier(nn.Sequential(*layers).train(), input_size=8)


def test_weights_are_drawn_anew_by_the_seed_alone_and_the_network_stays() -> None:
    model, images = network(), torch.rand(20, 3, 8, 8)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    torch.manual_seed(1)
    twin = with_random_weights(model, images, seed=3)
    torch.manual_seed(2)
    drawn = torch.get_rng_state()
    again = with_random_weights(model, images, seed=3)
    other = with_random_weights(model, images, seed=4)
    assert torch.equal(drawn, torch.get_rng_state())
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, before[name])
    assert model.module.training
    for name in ("0.scale", "1.weight", "4.weight"):
        mine = twin.module.state_dict()[name]
        assert not torch.equal(mine, before[name])
        assert torch.equal(mine, again.module.state_dict()[name])
        assert not torch.equal(mine, other.module.state_dict()[name])
    shuffled = twin.module.state_dict()["0.scale"]
    assert torch.equal(shuffled.flatten().sort().values, before["0.scale"].flatten())


def test_batch_norms_take_their_statistics_from_the_pictures() -> None:
    model, images = network(), torch.rand(20, 3, 8, 8)
    twin = with_random_weights(model, images, batch_size=20)
    scaled, convolution, norm, *_ = twin.module
    inside = convolution(scaled(images)).detach()
    assert torch.allclose(norm.running_mean, inside.mean((0, 2, 3)), rtol=1e-4, atol=1e-4)
    assert torch.allclose(norm.running_var, inside.var((0, 2, 3)), rtol=1e-3)
    assert not norm.training


@given(st.integers(0, 2**31), st.booleans())
def test_rank_correlation_is_scipys(seed: int, tied: bool) -> None:
    draw = torch.Generator().manual_seed(seed)
    one, other = (torch.randn(2, 1, 3, 4, generator=draw) for _ in range(2))
    if tied:
        one, other = one.round(), other.round()
    found = rank_correlation(one, other)
    for row in range(2):
        flat = torch.stack((one[row].abs().flatten(), other[row].abs().flatten()))
        expected = spearmanr(*flat[:, flat.any(0)]).statistic
        assert abs(float(found[row]) - (0.0 if expected != expected else expected)) < 1e-12


def test_maps_that_are_the_same_everywhere_have_nothing_in_common() -> None:
    flat = torch.ones(2, 3, 4, 4)
    assert rank_correlation(flat, torch.rand(2, 3, 4, 4)).tolist() == [0.0, 0.0]
    assert rank_correlation(*[torch.rand(2, 3, 4, 4)] * 2).tolist() == [1.0, 1.0]


def test_ground_that_no_map_can_tell_is_no_likeness() -> None:
    """Unrelated maps on black ground, where both are 0: over all pixels they would seem alike."""
    draw = torch.Generator().manual_seed(0)
    one, other = torch.zeros(2, 3, 1, 28, 28)
    ink = torch.rand(28, 28, generator=draw) < 0.2
    for maps in (one, other):
        maps[:, :, ink] = torch.randn(3, 1, int(ink.sum()), generator=draw)
    assert float(rank_correlation(one, other).abs().max()) < 0.3
    wanted = rank_correlation(one[:, :, None, ink], other[:, :, None, ink])
    assert torch.allclose(rank_correlation(one, other), wanted)
    assert spearman(one.flatten(1), -one.flatten(1)).tolist() == pytest.approx([-1.0] * 3)
    nothing = torch.zeros_like(one)
    assert rank_correlation(nothing, nothing).tolist() == [0.0] * 3


def test_nobody_is_warned_that_it_learnt_nothing(recwarn: pytest.WarningsRecorder) -> None:
    images = torch.rand(20, 3, 8, 8)
    fs.predict(with_random_weights(network(), images), images)
    assert not recwarn.list
