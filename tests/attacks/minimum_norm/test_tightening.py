"""Carlini and Wagner's Linf and L0 attacks, one image at a time, from the paper."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from l2_networks import curved, path
from torch import Tensor

import fluoroscope as fs
from fluoroscope.attacks.minimum_norm.carlini_wagner import STRETCH
from fluoroscope.attacks.minimum_norm.carlini_wagner_l0 import CarliniWagnerL0
from fluoroscope.attacks.minimum_norm.carlini_wagner_linf import CarliniWagnerLinf
from fluoroscope.errors import InvalidParameterError

ATTACKS: list[Any] = [
    CarliniWagnerLinf(steps=8, c=0.01, lr=0.02, largest_c=3, c_factor=3, shrink=0.8),
    CarliniWagnerL0(steps=8, c=0.01, lr=0.02, largest_c=3, c_factor=3),
]
EDGE = math.atanh(1 / STRETCH)


class Slow:
    """One image, by autograd and PyTorch's Adam; ``seen`` are the images it looks at."""

    def __init__(self, attack: Any, image: Tensor, sign: float, label: Tensor) -> None:
        self.attack, self.image, self.sign, self.label = attack, image, sign, label
        self.sparse = isinstance(attack, CarliniWagnerL0)
        self.tau = 1.0
        self.free = torch.ones_like(image[0], dtype=torch.bool)
        self.c = attack.c
        self.seen: list[Tensor] = []
        self.start(image)

    def start(self, image: Tensor) -> None:
        self.w = ((2 * image - 1) / STRETCH).atanh().clamp(-EDGE, EDGE).requires_grad_()
        self.adam = torch.optim.Adam([self.w], lr=self.attack.lr)
        self.step, self.last = 0, math.inf

    def shown(self) -> Tensor:
        x = 0.5 + STRETCH / 2 * self.w.tanh()
        if not self.sparse:
            return x
        still = ((x - self.image).abs() < 1e-4) | ~self.free
        # The value is the original's; the slope stays that of the variable.
        return x + torch.where(still, self.image - x, 0).detach()

    def lead(self, logits: Tensor) -> Tensor:
        others = torch.cat([logits[: self.label], logits[self.label + 1 :]]).max()
        return self.sign * (logits[self.label] - others)

    def penalty(self, x: Tensor) -> Tensor:
        if self.sparse:
            return (x - self.image).square().sum()
        return ((x - self.image).abs() - self.tau).clamp(min=0).sum()

    def run(self, model: fs.Classifier, most: int) -> None:
        while len(self.seen) < most and self.c <= self.attack.largest_c:
            x = self.shown()
            self.seen.append(x.detach())
            lead = self.lead(model(x[None])[0])
            missing = (self.attack.confidence - lead).clamp(min=0)
            loss = self.penalty(x) + self.c * missing
            won = (lead > 0) & (lead >= self.attack.confidence)
            if won and (self.sparse or loss < 1e-4 * self.c):
                (gradient,) = torch.autograd.grad(lead, x)
                if not self.tighten(x.detach(), gradient):
                    return
                continue
            self.adam.zero_grad()
            loss.backward()
            self.adam.step()
            self.w.data.clamp_(-EDGE, EDGE)
            self.count(float(loss.detach()) - self.c * self.attack.confidence)

    def tighten(self, x: Tensor, gradient: Tensor) -> bool:
        """Whether there is anything left to do."""
        if not self.sparse:
            largest = float((x - self.image).abs().max())
            self.tau = self.attack.shrink * min(self.tau, largest)
            self.start(x)
            return self.tau >= self.attack.smallest
        changed = int((x != self.image).any(0).sum())
        matters = (gradient * (x - self.image)).abs().sum(0)
        pixels = sorted(self.free.nonzero().tolist(), key=lambda at: float(matters[*at]))
        for row, column in pixels[: max(1, math.ceil(0.3 * math.sqrt(changed)))]:
            self.free[row, column] = False
        self.start(x)
        return bool(self.free.any())

    def count(self, loss: float) -> None:
        self.step += 1
        stuck = False
        if self.step % max(1, self.attack.steps // 10) == 0:
            stuck = self.attack.early_abort and loss > 0.9999 * self.last
            self.last = loss
        if stuck or self.step >= self.attack.steps:
            self.c *= self.attack.c_factor
            self.step, self.last = 0, math.inf


@pytest.mark.parametrize("attack", ATTACKS, ids=["linf", "l0"])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("confidence", [0.0, 0.5])
@pytest.mark.parametrize("early_abort", [False, True])
def test_it_looks_at_the_same_images_as_the_paper_one_by_one(
    attack: Any, targeted: bool, confidence: float, early_abort: bool
) -> None:
    model, images, own = curved()
    classes = (own + 1) % 4 if targeted else own
    attack = replace(attack, confidence=confidence, early_abort=early_abort)
    _, points = path(attack, model, images, classes, targeted=targeted)
    for image, label, found in zip(images, classes, points, strict=True):
        slow = Slow(attack, image, 1.0 if targeted else -1.0, label)
        slow.run(model, len(found) + 1)
        assert len(slow.seen) == len(found)
        # Where a change is too small to be shown, its slope is that of the image that is shown.
        close = 1e-5 if slow.sparse else 1e-8
        torch.testing.assert_close(found, torch.stack(slow.seen), rtol=0, atol=close)


@pytest.mark.parametrize("attack", ATTACKS, ids=["linf", "l0"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"c": 0.0},
        {"c": math.nan},
        {"lr": math.inf},
        {"largest_c": 1e-9},
        {"largest_c": math.inf},
        {"c_factor": 1.0},
        {"c_factor": math.nan},
        {"confidence": -1.0},
        {"threat": fs.L2(1)},
    ],
)
def test_unusable_parameters(attack: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match="expected") as caught:
        type(attack)(**wrong)
    assert next(iter(wrong)) in str(caught.value) or "norm" in str(caught.value)
    assert "\n" not in str(caught.value)
