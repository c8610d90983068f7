"""The terms that a generator lowers, against the papers' formulas written slowly, and PyTorch."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.inside import Place
from fluoroscope.inversion.generator.conditioning import Codes
from fluoroscope.inversion.generator.losses import (
    How,
    Weights,
    cosines,
    cross_entropy,
    divergence,
    magnitude,
    orthogonality,
    slope_of_last_layer,
)
from fluoroscope.inversion.generator.network_pass import NetworkPass
from fluoroscope.inversion.variation import total_variation

FEATURES = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CLASSES = torch.tensor([0, 1, 2, 0, 1, 2, 0])
LOGITS = torch.randn(7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_divergence_is_torchs() -> None:
    asked = torch.rand(7, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    asked = asked / asked.sum(1, keepdim=True)
    logs = LOGITS.log_softmax(1)
    expected = F.kl_div(logs, asked, reduction="none").sum(1)
    torch.testing.assert_close(divergence(asked, logs), expected)


def test_the_divergence_has_no_floor_under_it() -> None:
    """What is certain is 0 away from a one-hot; after a second softmax it would be 1.461."""
    asked = torch.eye(10, dtype=torch.float64)
    logs = (200 * asked).log_softmax(1)
    assert divergence(asked, logs).max() == 0
    second = divergence(asked, logs.exp().log_softmax(1))
    torch.testing.assert_close(second, torch.full_like(second, -math.log(math.e / (math.e + 9))))
    logits = (30 * asked).requires_grad_()
    divergence(asked, logits.log_softmax(1)).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()  # 0 log 0 has no slope


def test_cross_entropy_is_torchs_smoothed_too() -> None:
    logs = LOGITS.log_softmax(1)
    for smoothing in (0.0, 0.1):
        expected = F.cross_entropy(LOGITS, CLASSES, reduction="none", label_smoothing=smoothing)
        torch.testing.assert_close(cross_entropy(CLASSES, logs, smoothing), expected)


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(one @ other / one.norm() / other.norm())


def test_cosines_of_all_pairs_of_a_class_and_as_the_lab_takes_them() -> None:
    rows = range(7)
    pairs = [(i, j) for i in rows for j in rows if i != j]
    of_all = sum(_cosine(FEATURES[i], FEATURES[j]) for i, j in pairs) / (7 * 6)
    assert float(cosines(FEATURES, CLASSES, How()).mean()) == pytest.approx(of_all)
    same = [(i, j) for i, j in pairs if CLASSES[i] == CLASSES[j]]
    of_same = sum(_cosine(FEATURES[i], FEATURES[j]) for i, j in same) / len(same)
    assert float(cosines(FEATURES, CLASSES, How(within=True)).mean()) == pytest.approx(of_same)
    labs = sum(abs(_cosine(FEATURES[i], FEATURES[j])) for i in rows for j in rows) / 49
    assert float(cosines(FEATURES, CLASSES, How(absolute=True)).mean()) == pytest.approx(labs)
    assert cosines(torch.zeros(3, 4), CLASSES[:3], How()).isfinite().all()


def test_orthogonality_is_the_gram_matrix_from_the_identity() -> None:
    units = FEATURES / FEATURES.norm(dim=1, keepdim=True)
    expected = ((units @ units.T - torch.eye(7)) ** 2).mean()
    torch.testing.assert_close(orthogonality(FEATURES, How()).mean(), expected)
    labs = ((FEATURES @ FEATURES.T - torch.eye(7)) ** 2).mean()
    torch.testing.assert_close(orthogonality(FEATURES, How(normalised=False)).mean(), labs)


def test_the_slope_at_the_last_layer_is_autograds() -> None:
    layer = nn.Linear(5, 3).double()
    for row in range(7):
        loss = F.cross_entropy(layer(FEATURES[row : row + 1]), CLASSES[row : row + 1])
        slopes = torch.autograd.grad(loss, list(layer.parameters()))
        expected = torch.cat([slope.flatten() for slope in slopes]).norm()
        one = slice(row, row + 1)
        logs = layer(FEATURES[one]).log_softmax(1)
        found = slope_of_last_layer(FEATURES[one], CLASSES[one], logs)
        torch.testing.assert_close(found[0], expected)


def test_total_variation_by_hand() -> None:
    picture = torch.tensor([[[[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]]]])
    down, right = (0.5 + 0.5 + 0.0) / 3, (1.0 + 1.0 + 0.0 + 0.5) / 4
    assert float(total_variation(picture)) == pytest.approx(down + right)
    assert float(total_variation(torch.ones(1, 1, 1, 1))) == 0


def test_magnitude_is_the_distance_from_what_the_network_takes_as_nothing() -> None:
    picture = torch.tensor([[[[0.0, 1.0]], [[0.5, 0.25]]]])
    assert float(magnitude(picture, None)) == pytest.approx((0 + 1 + 0.5 + 0.25) / 4)
    assert float(magnitude(picture, (0.25, 0.5))) == pytest.approx((0.25 + 0.75 + 0 + 0.25) / 4)


@pytest.mark.parametrize("at_once", [6, 2, 5])
def test_the_gradient_is_that_of_the_whole_batch_in_pieces_too(at_once: int) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    model = fs.Classifier(module, channels=1, input_size=4)
    pictures = torch.rand(6, 1, 4, 4, dtype=torch.float64)
    codes = Codes(CLASSES[:6], torch.rand(6, 3).softmax(1))
    weights = {
        "kl": 1.5, "cross_entropy": 0.5, "cosine": 2.0, "orthogonality": 3.0,
        "gradient_penalty": 0.1,
    }  # fmt: skip
    place = Place("3", given=True)
    through = NetworkPass(model, (place,), place, How(), at_once)
    found = through(pictures, codes, weights)
    pixels = pictures.clone().requires_grad_()
    features = module[:3](pixels)
    logs = module[3](features).log_softmax(1)
    losses = {
        "kl": divergence(codes.asked, logs).mean(),
        "cross_entropy": F.nll_loss(logs, codes.classes),
        "cosine": cosines(features, codes.classes, How()).mean(),
        "orthogonality": orthogonality(features, How()).mean(),
        "gradient_penalty": slope_of_last_layer(features, codes.classes, logs).mean(),
    }
    total = torch.stack([weights[name] * losses[name] for name in weights]).sum()
    (expected,) = torch.autograd.grad(total, pixels)
    torch.testing.assert_close(found.gradient, expected)
    torch.testing.assert_close(found.losses, {k: v.detach() for k, v in losses.items()})
    assert through.backwards == 6
    assert through.forwards == (6 if at_once == 6 else 12)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kl": -1}, "kl is -1; expected a weight of 0 or more"),
        ({"cosine": math.nan}, "cosine is nan"),
        ({"kl": 0, "cross_entropy": 0}, "are all 0"),
    ],
)
def test_weights_that_cannot_be(given: dict[str, float], said: str) -> None:
    with pytest.raises(fs.errors.InvalidParameterError, match=said):
        Weights(**given)
