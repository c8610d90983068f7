"""What a training costs beyond the passes that it needs: the trainer and each recipe."""

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fluoroscope as fs
from benchmarks.page import PAGE, Scale, Section
from benchmarks.peers import SHARED
from benchmarks.timing import interleaved
from fluoroscope.models.invertible.network import InvertibleNetwork, Shape
from fluoroscope.training.beside.averaging import WeightAverage
from fluoroscope.training.beside.awp import AdversarialWeightPerturbation
from fluoroscope.training.gates.gates import ClassGates
from fluoroscope.training.losses.adversarial import FGSMLoss, PGDLoss, TRADESLoss
from fluoroscope.training.losses.consistent import ConsistentLoss
from fluoroscope.training.losses.latent import LatentLoss
from fluoroscope.training.losses.mart import MARTLoss
from fluoroscope.training.trainer.fitting import cross_entropy, fit
from fluoroscope.training.trainer.recipe import Recipe

GOAL = 1.1
_EPS = fs.Linf(0.03)


@dataclass(frozen=True)
class _Taught:
    """A recipe, and the passes of a step that it cannot do without."""

    name: str
    loss: Any = cross_entropy
    beside: tuple[Any, ...] = ()
    learnt: int = 1
    """Forward in training mode, and back to the weights."""
    searched: int = 0
    """Forward in evaluation mode, and back to the pixels."""
    looked: int = 0
    """Forward alone, in evaluation mode."""
    again: int = 0
    """How often those that are learnt from are made once more, and back to the weights."""
    gated: int = 0
    """Every so manieth step one pass more is learnt from."""

    def passes(self) -> str:
        """In words."""
        parts = {
            "to learn": self.learnt * (1 + self.again),
            "to search": self.searched,
            "to look": self.looked,
        }
        gated = f", one more every {self.gated} steps" if self.gated else ""
        return ", ".join(f"{many} {what}" for what, many in parts.items() if many) + gated


def _recipes(steps: int) -> list[_Taught]:
    pgd = PGDLoss(threat=_EPS, steps=steps)
    return [
        _Taught("plain"),
        _Taught("plain, ema", beside=(WeightAverage(),)),
        _Taught("gates", ClassGates(warm_up=0), gated=3),
        _Taught("fgsm", FGSMLoss(threat=_EPS), learnt=2, searched=1),
        _Taught("pgd", pgd, searched=steps),
        _Taught("pgd, ema", pgd, (WeightAverage(),), searched=steps),
        _Taught("pgd, awp", pgd, (AdversarialWeightPerturbation(),), searched=steps, again=1),
        _Taught("consistent, pgd", ConsistentLoss(base=pgd), learnt=2, searched=steps),
        _Taught("trades", TRADESLoss(threat=_EPS, steps=steps), learnt=2, searched=steps, looked=1),
        _Taught("mart", MARTLoss(threat=_EPS, steps=steps), learnt=2, searched=steps),
    ]


def _of_invertible() -> list[_Taught]:
    """One of the looks is to the latent, and the rounds of the inverse are as long as one each."""
    loss = LatentLoss(threat=fs.L2(0.5))
    return [
        _Taught("invertible"), _Taught("latent", loss, learnt=2, looked=1 + loss.rounds)
    ]  # fmt: skip


def training(scale: Scale) -> Section:
    """Steps of each recipe over the bare passes and updates of as many steps."""
    section = Section(PAGE, "training", "A training against the passes that it needs")
    rows = []
    for name, module, images, batch in _beds():
        number = scale.limit or (12 if batch > 32 else 5)
        classes = module(images[:1]).shape[1]
        chosen = torch.arange(number * batch, device="cpu") % len(images)
        pictures, labels = images[chosen], chosen % classes
        invertible = isinstance(module, InvertibleNetwork)
        for taught in _of_invertible() if invertible else _recipes(scale.steps or 7):
            ways: dict[str, Callable[[], object]] = {
                "bare": partial(_bare, module, pictures, labels, batch, taught),
                "ours": partial(_ours, module, pictures, labels, batch, taught),
            }
            timing = interleaved(ways, scale.repeats or 5, clock=time.process_time, threads=1)
            ratio = timing.ratio("ours", "bare")
            rows.append(
                [
                    name, taught.name, taught.passes(),
                    f"{1e3 * timing.median('bare') / number:.1f}",
                    f"{ratio:.3f}", timing.spread("ours", "bare"),
                    "yes" if ratio <= GOAL else "**no**",
                ]
            )  # fmt: skip
    section.text(
        "Seconds of `fs.training.fit` over those of a plain PyTorch loop that makes the same "
        "forward and backward passes and the same updates (AdamW) and nothing else: pictures are "
        "not even moved there. By the CPU's clock on one thread; batches of 128 digits, or of 16 "
        "pictures of 128×128. A pass *to learn* goes forward in training mode and back to the "
        "weights, one *to search* forward in evaluation mode and back to the pixels, one *to look* "
        f"forward alone. The goal is {GOAL}."
    )
    section.table(
        ["network", "recipe", "passes of a step", "bare, ms a step>", "ratio>", "quartiles",
         f"at most {GOAL}"],
        rows,
    )  # fmt: skip
    return section


def _beds() -> list[tuple[str, nn.Module, Tensor, int]]:
    """Networks with what they are given: a small one, and one of full size."""
    digits = next(fs.load_images("digits", channels=1).batches(512)).images
    small = deepcopy(fs.load_model("digits-cnn").module)
    beds: list[tuple[str, nn.Module, Tensor, int]] = [("digits-cnn", small, digits, 128)]
    invertible = InvertibleNetwork(Shape(1, 28, 28, 10, blocks=2, hidden=16))
    beds.append(("an invertible one", invertible, digits, 128))
    name = "mobilenet_v1_0.25_128"
    if (SHARED / "models" / name).is_dir():
        from fluoroscope.training.trainer.preprocessed import as_learner

        module = as_learner(fs.load_model(SHARED / "models" / name))
        rng = torch.Generator().manual_seed(0)
        pictures = torch.rand(96, 3, 128, 128, generator=rng)
        beds.append((name, deepcopy(module), pictures, 16))
    return [
        (name, module.requires_grad_(True), images, batch) for name, module, images, batch in beds
    ]


def _ours(
    module: nn.Module, images: Tensor, labels: Tensor, batch: int, taught: _Taught
) -> nn.Module:
    learner = deepcopy(module)
    recipe = Recipe(epochs=1, batch_size=batch, learning_rate=1e-4)
    fit(learner, images, labels, recipe, loss=taught.loss, beside=taught.beside)
    return learner


def _bare(
    module: nn.Module, images: Tensor, labels: Tensor, batch: int, taught: _Taught
) -> nn.Module:
    learner = deepcopy(module)
    weights = list(learner.parameters())
    optimizer = torch.optim.AdamW(weights, lr=1e-4)
    for number, chosen in enumerate(torch.randperm(len(images), device="cpu").split(batch), 1):
        pictures, classes = images[chosen], labels[chosen]
        learner.eval().requires_grad_(False)
        for _ in range(taught.looked):
            with torch.no_grad():
                learner(pictures)
        for _ in range(taught.searched):
            probe = pictures.detach().requires_grad_(True)
            torch.autograd.grad(F.cross_entropy(learner(probe), classes), probe)
        learner.train().requires_grad_(True)
        more = bool(taught.gated and number % taught.gated == 0)
        for _ in range(taught.again):
            torch.autograd.grad(_learnt(learner, pictures, classes, taught.learnt), weights)
        _learnt(learner, pictures, classes, taught.learnt + more).backward()
        optimizer.step()
        optimizer.zero_grad()
    return learner


def _learnt(module: nn.Module, pictures: Tensor, classes: Tensor, many: int) -> Tensor:
    losses = [F.cross_entropy(module(pictures), classes) for _ in range(many)]
    return torch.stack(losses).sum()


SECTIONS = {"training": training}
