"""MART, against a slow version written from the paper."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError
from fluoroscope.training.losses.adversarial import PGDLoss
from fluoroscope.training.losses.by_name import adversarial_loss
from fluoroscope.training.losses.mart import MARTLoss
from fluoroscope.training.trainer.step import Moment, named_terms

IMAGES = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double)
LABELS = torch.arange(6) % 3
MOMENT = Moment(torch.tensor([40, 2, 77, 5, 13, 21]), epoch=2, share=1.0, seed=9)
LOSS = MARTLoss(threat=fs.Linf(0.2), steps=3, beta=2.5)


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 3)).double()
    with torch.no_grad():
        net[1].weight.mul_(3)
        net[3].weight.mul_(3)
    return net


def slow_terms(clean: Tensor, moved: Tensor, labels: Tensor, beta: float) -> dict[str, Tensor]:
    boosted, divergence = [], []
    for p, q, label in zip(clean.softmax(1), moved.softmax(1), labels.tolist(), strict=True):
        others = [q[k].item() if k != label else -1.0 for k in range(len(q))]
        second = others.index(max(others))
        boosted.append(-q[label].log() - (1 - q[second]).log())
        apart = sum(p[k] * (p[k] / q[k]).log() for k in range(len(q)))
        divergence.append(apart * (1 - p[label]))
    return {
        "boosted": torch.stack(boosted).mean(),
        "divergence": beta * torch.stack(divergence).mean(),  # type: ignore[arg-type]
    }


def test_is_the_papers_formula_and_so_is_its_gradient() -> None:
    net = network()
    terms, logits = LOSS(net, IMAGES, LABELS, MOMENT)
    by_pgd = PGDLoss(threat=fs.Linf(0.2), steps=3)
    moved = by_pgd.moved(net, IMAGES, LABELS, MOMENT)
    expected = slow_terms(net(IMAGES), net(moved), LABELS, 2.5)
    torch.testing.assert_close(named_terms(terms), expected)
    torch.testing.assert_close(logits, net(moved))
    weights = list(net.parameters())
    for name, term in named_terms(terms).items():
        slopes = torch.autograd.grad(term, weights, retain_graph=True)
        torch.testing.assert_close(
            slopes, torch.autograd.grad(expected[name], weights, retain_graph=True)
        )


def test_of_sure_answers_it_stays_finite() -> None:
    logits = torch.tensor([[200.0, 0.0, -200.0], [0.0, 300.0, 0.0]], requires_grad=True)
    labels = torch.tensor([2, 1])
    terms = LOSS.terms(logits * 1.0, logits, labels)
    assert terms["boosted"].item() == pytest.approx((400 + 200 + 0) / 2)
    (slope,) = torch.autograd.grad(sum(terms.values()), logits)  # type: ignore[arg-type]
    assert bool(slope.isfinite().all())


def test_by_name() -> None:
    assert adversarial_loss("mart", "8/255") == MARTLoss(threat=fs.Linf("8/255"))
    assert adversarial_loss("mart", 0.3).describe() == {
        "method": "mart", "norm": "linf", "eps": 0.3, "ramp": 0.0, "steps": 10, "step_size": None,
        "beta": 5.0,
    }  # fmt: skip


@pytest.mark.parametrize("beta", [-1.0, float("inf"), float("nan")])
def test_betas_out_of_range(beta: Any) -> None:
    with pytest.raises(InvalidParameterError, match=r"beta is .*; expected 0 or more"):
        MARTLoss(threat=fs.Linf(0.1), beta=beta)
