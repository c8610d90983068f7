"""Feature adversaries: one picture that looks to a layer like another.

Sabour, Cao, Faghri and Fleet 2016, "Adversarial Manipulation of Deep Representations", 1511.05122:
``min ||phi(x) - phi(guide)||^2`` subject to ``||x - source||_inf <= eps``, with ``phi`` what a
layer gives out; ``eps`` is 10/255 there. Here

* the search is a projected descent along the sign of a moving sum of gradients, each divided by its
  mean size, with steps that shrink along half a cosine; the paper uses L-BFGS-B;
* a picture takes the nearest of the guides that the network classifies as the wanted class, or,
  where it is to leave a class, of those that are not predicted as that one; with one guide for each
  class it is the paper's.

Success is in the network's reading, as for every attack. The objective is minus the squared
distance, so the relative distance ``||phi(x) - phi(guide)|| / ||phi(source) - phi(guide)||`` is the
square root of ``step.answer.objective`` over that of the first step. After a first success it comes
nearer with ``keep="best"``, which spends all steps and keeps the nearest success.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import pi
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.attack import Method
from fluoroscope.engine.bounds import as_number
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import Objective
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.threats import Threat, bounds_of
from fluoroscope.engine.vectors import column
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.wrappers.features import Features
from fluoroscope.pictures.checks import check_images

# A squared distance that no guide has; it stands where a class has none.
_NO_GUIDE = 1e30
# Guides looked at in one pass.
_GUIDES = 64


@dataclass(frozen=True)
class FeatureState:
    """Where ``n`` searches are."""

    samples: Samples
    images: Tensor
    """``(n, C, H, W)``"""
    momentum: Tensor
    """``(n, C, H, W)``, the moving sum of gradients."""
    updates: Tensor
    """``(n,)``, steps made."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class FeatureAdversary(Method):
    """Bring a layer's output on a picture near to that on a guide.

    ``layer`` is a name of ``model.module.named_modules()`` and ``guides`` are pictures
    ``(M, C, H, W)`` in ``[0, 1]``, of the size of the attacked ones. ``step_size`` is that of the
    first step, by default ``eps / 2``.
    """

    threat: Threat
    layer: str = ""
    guides: Tensor | None = None
    steps: int = 100
    step_size: float | str | None = None
    decay: float = 0.9

    paper: ClassVar[str] = "Sabour et al. 2016 (1511.05122)"
    norms: ClassVar[tuple[str, ...]] = ("linf",)

    def __post_init__(self) -> None:
        self._expect(1, "steps")
        self._expect(0, "decay", high=1)
        if self.guides is not None and not isinstance(self.guides, Tensor):
            raise InvalidParameterError(
                f"guides are a {type(self.guides).__name__}; expected a tensor of pictures "
                "(M, C, H, W) in [0, 1], or --others on the command line"
            )
        super().__post_init__()
        if bounds_of(self.threat) is None:
            self._size  # noqa: B018 - an impossible step is said at once

    def surrogate(self, model: Classifier, seed: int) -> Classifier:
        """The network with the squared distance to each class's nearest guide beside its logits.

        Raises:
            InvalidParameterError: no guides were given, or the network has no such layer.
        """
        if self.guides is None:
            raise InvalidParameterError(
                "feature-adversary was given no guides; expected the pictures (M, C, H, W) whose "
                "representation is to be reached: guides=... and layer=..., or on the command line "
                "--others and --param layer=..."
            )
        network = model.plain  # a prepared copy's layers are not the named ones
        guides = check_images(self.guides, network.channels).to(network.device, network.dtype)
        layer = str(self.layer)  # on the command line 4 is a number
        features = Features(network, layer)
        with torch.inference_mode(False), torch.no_grad():
            told = torch.cat([features(part) for part in guides.split(_GUIDES)])
        logits, goals = told.tensor_split([network.num_classes], 1)
        return Features(network, layer, _Nearest(goals, logits.argmax(1), logits.shape[1]))

    def start(self, samples: Samples) -> FeatureState:
        """At the image."""
        count, images = torch.zeros_like(samples.classes), samples.images
        return FeatureState(samples, images, torch.zeros_like(images), count, count > 0)

    def ask(self, state: FeatureState) -> Query:
        """The present images; after the last step nobody needs their gradient."""
        wanted = state.updates < self.steps
        return Query(state.images, wanted, _nearness(state.samples.towards), state.samples.classes)

    def tell(self, state: FeatureState, answer: Answer) -> FeatureState:
        """One step nearer; done once the network has seen the image after the last step."""
        done = state.updates >= self.steps
        if answer.gradient is None:
            return replace(state, done=done)
        gradient = answer.gradient.double()
        size = column(gradient.abs().flatten(1).mean(1))
        gradient = torch.where(size > 0, gradient / size, gradient).to(state.momentum.dtype)
        momentum = self.decay * state.momentum + gradient
        lengths = self._size * (1 + (state.updates * (pi / self.steps)).cos()) / 2
        moved = state.images + column(lengths.to(momentum.dtype)) * momentum.sign()
        return replace(
            state,
            images=self.threat.project(moved, state.samples.images),
            momentum=momentum,
            updates=state.updates + 1,
            done=done,
        )

    @cached_property
    def _size(self) -> float:
        if self.step_size is None:
            return as_number(self.threat.eps) / 2
        return as_number(self.step_size, "step_size")


class _Nearest:
    """From a layer's output to the squared distance to the nearest guide of each class."""

    def __init__(self, goals: Tensor, read: Tensor, classes: int) -> None:
        self._goals, self._read, self._classes = goals, read, classes

    def __call__(self, output: Tensor) -> Tensor:
        found = output.flatten(1)
        if found.shape[1] != self._goals.shape[1]:
            raise InvalidParameterError(
                f"the layer gives out {self._goals.shape[1]} numbers for a guide and "
                f"{found.shape[1]} for a picture; expected as many: give guides of the same size"
            )
        # Not by the product of matrices, which loses small differences of large features.
        apart = torch.cdist(found, self._goals, compute_mode="donot_use_mm_for_euclid_dist")
        none = found.new_full((len(found), self._classes), _NO_GUIDE)
        return none.scatter_reduce(1, self._read.expand(len(found), -1), apart.square(), "amin")


def _nearness(towards: Tensor) -> Objective:
    """Minus the squared distance to a guide of the class, or of another where it is to be left."""

    def nearness(columns: Tensor, classes: Tensor) -> Tensor:
        distances = columns[:, columns.shape[1] // 2 :]
        own = distances.gather(1, classes[:, None])
        others = distances.scatter(1, classes[:, None], torch.inf).amin(1)
        found = torch.where(towards > 0, own.squeeze(1), others)
        without = found >= _NO_GUIDE / 2
        if bool(without.any()):
            first = int(without.nonzero()[0])
            which = "as" if towards[first] > 0 else "as another class than"
            raise InvalidParameterError(
                f"the network classifies none of the guides {which} {int(classes[first])}; "
                "expected at least one such guide for every picture"
            )
        return -found

    return Objective("nearness of features", nearness)
