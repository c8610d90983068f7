"""Ensemble optimisation: the paper's formula with torch's Adam, and what stands around it."""

from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError


@pytest.fixture(scope="module")
def members() -> list[fs.Classifier]:
    made = []
    for seed in range(3):
        module = nn.Sequential(nn.Flatten(), nn.Linear(75, 16), nn.Tanh(), nn.Linear(16, 5))
        numbers = torch.Generator().manual_seed(seed)
        for weights in module.parameters():
            weights.data = torch.randn(weights.shape, generator=numbers) / 3
        made.append(fs.Classifier(module.double(), channels=3, input_size=5))
    return made


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    numbers = torch.Generator().manual_seed(7)
    return torch.rand(4, 3, 5, 5, generator=numbers, dtype=torch.float64)


WANTED = torch.tensor([0, 3, 1, 4])


def from_the_paper(
    members: list[fs.Classifier], picture: Tensor, wanted: Tensor, weight: float, distance: str,
    steps: int, sign: float = 1,
) -> Tensor:  # fmt: skip
    """One picture ``(1, C, H, W)``; the distance is so written that its slope at 0 is 0."""
    x = picture.clone().requires_grad_()
    adam = torch.optim.Adam([x], lr=0.03)
    for _ in range(steps):
        away = (x - picture).square()
        squared = away.mean() if distance == "rms" else away.sum()
        far = torch.where(squared > 0, squared, 1).sqrt() * (squared > 0)
        loss = torch.stack([F.cross_entropy(member.module(x), wanted) for member in members])
        adam.zero_grad()
        (weight * far + sign * loss.mean()).backward()
        adam.step()
        x.data.clamp_(0, 1)
    return x.detach()


@pytest.mark.parametrize(
    ("distance", "weight"), [("rms", 4.0), ("l2", 0.5), ("rms", 0.0)]
)  # fmt: skip
@pytest.mark.parametrize("targeted", [True, False])
def test_it_is_the_papers_formula(
    members: list[fs.Classifier],
    pictures: Tensor,
    distance: Literal["rms", "l2"],
    weight: float,
    targeted: bool,
) -> None:
    attack = fs.attack(
        "ensemble-optimisation", steps=7, step_size=0.03, weight=weight, distance=distance
    )
    found = attack(
        fs.Ensemble(members, average="loss"), pictures, WANTED, targeted=targeted, keep="last"
    )
    for row in range(len(pictures)):
        at = slice(row, row + 1)
        sign = 1 if targeted else -1
        theirs = from_the_paper(members, pictures[at], WANTED[at], weight, distance, 7, sign)
        torch.testing.assert_close(found.images[at], theirs, atol=1e-7, rtol=0)
    assert (found.images - pictures).abs().amax() > 0.1


def test_of_any_ensemble_it_takes_the_mean_loss_and_the_given_one_judges(
    members: list[fs.Classifier], pictures: Tensor
) -> None:
    attack = fs.attack("ensemble-optimisation", steps=5, step_size=0.03)
    results = [
        attack(fs.Ensemble(members, average=average), pictures, WANTED, targeted=True, keep="last")
        for average in ("loss", "logits", "probabilities")
    ]
    for one, average in zip(results[1:], ("logits", "probabilities"), strict=True):
        assert torch.equal(one.images, results[0].images)
        judge = fs.Ensemble(members, average=average)  # type: ignore[arg-type]
        torch.testing.assert_close(one.logits, judge(one.images))
        assert one.record["model_sha256"] == judge.fingerprint()


def test_a_heavier_weight_keeps_pictures_nearer(
    members: list[fs.Classifier], pictures: Tensor
) -> None:
    ensemble = fs.Ensemble(members, average="loss")
    far = [
        fs.attack("ensemble-optimisation", steps=60, step_size=0.01, weight=weight)(
            ensemble, pictures, WANTED, targeted=True, keep="last"
        ).distance.mean()
        for weight in (0.0, 3.0, 30.0)
    ]
    assert far[0] > 1.2 * far[1] > 1.5 * far[2]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_bound_holds_and_a_grid_too(
    members: list[fs.Classifier], pictures: Tensor, norm: str
) -> None:
    attack = fs.attack(
        "ensemble-optimisation", eps=0.1, norm=norm, steps=10, weight=0.0, step_size=0.03
    )
    model = fs.Ensemble(members, average="loss")
    found = attack(model, pictures, WANTED, targeted=True, keep="last", grid=8)
    assert attack.threat.allows(found.images, found.originals).all()
    assert torch.equal((found.images * 255).round() / 255, found.images)
    assert (found.distance > 0.08).all()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"weight": -1}, "weight is -1"),
        ({"steps": 0}, "steps is 0"),
        ({"step_size": 0}, "step_size is 0; expected more than 0"),
        ({"distance": "linf"}, "distance is 'linf'; expected 'rms' or 'l2'"),
    ],
)
def test_what_makes_no_sense_is_refused(parameters: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidParameterError, match=said):
        fs.attack("ensemble-optimisation", **parameters)  # type: ignore[arg-type]
