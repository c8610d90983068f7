"""Which ways of inversion are sound on a network, asked before one of them is taken.

What is refused here is refused at the doors too, by the same checks; what is only doubtful is said.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.attribution.rules.mode import Coverage, Rules
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.inside import Inside, Place, Seen
from fluoroscope.errors import InvalidParameterError, NoGradientError
from fluoroscope.inversion.generator.conditioning import conditioning
from fluoroscope.inversion.portraits.objectives.units import as_maps
from fluoroscope.inversion.portraits.places import (
    checked_pictures,
    in_parts,
    stages,
    uses_of,
)
from fluoroscope.inversion.portraits.priors.statistics import batch_norm_trouble, neutral_norms
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.pictures import html
from fluoroscope.words import count, percent, some

_RELUS = (nn.ReLU, nn.ReLU6)
_RELU_CALLS = ("relu", "relu6")
# Units that give nothing on any picture are worth a word from this share on.
_DEAD = 0.01
_SIDE = 32
_LISTED = 6
_LETTERS = 600


@dataclass(frozen=True)
class Finding:
    """What was found of one way of inversion."""

    what: str
    """The method, prior or goal."""
    valid: bool
    """Whether it can be used."""
    why: str
    """The reason, or what is to be minded."""
    doubtful: bool = False
    """Whether it can be used, but something is to be minded."""

    @property
    def verdict(self) -> str:
        """In a word: ``yes``, ``with care`` or ``no``."""
        return "no" if not self.valid else "with care" if self.doubtful else "yes"


@dataclass(frozen=True, repr=False)
class Preflight(html.Shown):
    """What was found of every way of inversion on one network."""

    model: str
    findings: tuple[Finding, ...]

    @property
    def refused(self) -> tuple[Finding, ...]:
        """Those that cannot be used."""
        return tuple(each for each in self.findings if not each.valid)

    def __getitem__(self, what: str) -> Finding:
        return {each.what: each for each in self.findings}[what]

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "model": self.model,
            "findings": [
                {"what": each.what, "valid": each.verdict, "why": each.why}
                for each in self.findings
            ],
        }

    def _line(self) -> str:
        refused = ", ".join(each.what for each in self.refused)
        return f"of {self.model}: " + (f"not {refused}" if refused else "all can be used")

    def _view(self) -> Iterator[html.Html]:
        rows = [[each.what, each.verdict, each.why] for each in self.findings]
        yield html.table(["way", "can be used", "why"], rows, letters=_LETTERS)


def preflight(model: Classifier | nn.Module, images: Tensor | None = None) -> Preflight:
    """Which methods, priors and goals of inversion are sound on a network, and why others are not.

    Args:
        model: the network under study.
        images: real pictures ``(N, C, H, W)`` in ``[0, 1]`` of its size, by which dead units are
            found; without them that is not measured.

    Raises:
        InvalidImagesError: pictures that the network does not take.
    """
    model = as_classifier(model)
    real = None if images is None else checked_pictures(model, images)
    size = model.input_size or ((_SIDE, _SIDE) if real is None else tuple(real.shape[2:]))
    key = randomness.keys(0, torch.zeros(1, dtype=torch.long, device=model.device))
    noise = randomness.uniform(key, 0, (model.channels, *size)).to(model.device, model.dtype)
    gradient, calls = _gradient(model, noise)
    found = [
        gradient,
        _relus(model, noise, calls),
        _batch_norm(model),
        _layers(model, noise),
        _colour(model),
        *_codes(model.num_classes),
    ]
    if real is not None:
        found.insert(2, _dead_units(model, real))
    return Preflight(model.name, tuple(found))


def _gradient(model: Classifier, noise: Tensor) -> tuple[Finding, Counter[str]]:
    """Whether portraits can be led at all, and the operations of a pass, by name."""
    coverage = Coverage()
    asked = Inside("all logits", (), lambda seen: seen.logits.cos(), lambda: Rules({}, coverage))
    nobody = torch.zeros(1, dtype=torch.long, device=model.device)
    try:
        slope = evaluate(model, noise, nobody, asked, gradient=True).gradient
    except NoGradientError as problem:
        return Finding("portraits and generators", False, str(problem)), coverage.missed
    assert slope is not None
    if not bool(slope.any()):
        why = (
            f"the gradient of the logits of {model.name} is exactly zero at noise: nothing leads "
            "away from such a start; give a picture to start from"
        )
        return Finding("portraits and generators", True, why, True), coverage.missed
    return Finding("portraits and generators", True, "its gradient leads"), coverage.missed


def _relus(model: Classifier, noise: Tensor, calls: Counter[str]) -> Finding:
    what = "ReLUs as layers, and opened in the first steps"
    parts = list(model.module.modules())
    hidden = any(isinstance(p, torch.jit.ScriptModule) or hasattr(p, "_orig_mod") for p in parts)
    if hidden:
        why = (
            "parts of it are scripted or compiled, where dead ReLUs are not seen and cannot be "
            "opened; load it from Python code"
        )
        return Finding(what, False, why)
    named = sum(isinstance(use.layer, _RELUS) for use in uses_of(model, noise))
    bare = sum(calls[name] for name in _RELU_CALLS) - named
    if bare > 0:
        why = (
            f"{count(bare, 'ReLU')} of it {'is' if bare == 1 else 'are'} called as a function: "
            "opened like any other, but no layer that a goal could name; name the layer before or "
            "after it"
        )
        return Finding(what, True, why, True)
    return Finding(what, True, f"{count(named, 'ReLU')}" if named else "it has none")


def _dead_units(model: Classifier, images: Tensor) -> Finding:
    """Channels of ReLUs that no picture excites at any place: no portrait of them is to be had."""
    names = [use.name for use in uses_of(model, images) if isinstance(use.layer, _RELUS)]
    places = tuple(Place(name) for name in dict.fromkeys(names))
    alive: dict[Place, Tensor] = {}

    def watch(seen: Seen) -> Tensor:
        for place in places:
            maps = as_maps(seen.outputs[place])
            some_of = (maps > 0).transpose(0, 1).flatten(1).any(1)
            alive[place] = alive[place] | some_of if place in alive else some_of
        return seen.logits[:, :1]

    in_parts(model, images, Inside("live units", places, watch), None)
    dead = {place: (~each).nonzero()[:, 0].tolist() for place, each in alive.items()}
    many, all_of = sum(map(len, dead.values())), sum(map(len, alive.values()))
    if not many:
        return Finding("units as goals", True, f"all {all_of:,} channels of ReLUs are excited")
    where = [f"{place.layer}:{each}" for place, numbers in dead.items() for each in numbers]
    why = (
        f"{many:,} of {all_of:,} channels of ReLUs ({percent(many / all_of)}) are excited by none "
        f"of {count(len(images), 'picture')}: {some(where, _LISTED)}; a portrait of one may have "
        "no gradient to begin with"
    )
    return Finding("units as goals", True, why, many / all_of >= _DEAD)


def _batch_norm(model: Classifier) -> Finding:
    what = "the prior of batch norm's statistics"
    trouble = batch_norm_trouble(model)
    if trouble is not None:
        return Finding(what, False, trouble)
    neutral, norms = neutral_norms(model)
    if neutral:
        why = f"{neutral} of {count(norms, 'batch norm')} are neutral, and tell nothing"
        return Finding(what, True, why, True)
    return Finding(what, True, f"{count(norms, 'batch norm')} with statistics of their own")


def _layers(model: Classifier, noise: Tensor) -> Finding:
    what = "channels as goals, layer statistics and sorted values"
    try:
        ends = stages(model, noise)
    except InvalidParameterError as problem:
        return Finding(what, False, str(problem))
    return Finding(what, True, f"by default read at {some([e.layer for e in ends], _LISTED)}")


def _colour(model: Classifier) -> Finding:
    what, channels = "decorrelated natural colour", model.channels
    if channels == 3:
        return Finding(what, True, "colour pictures; of special ones, fit a prior to yours")
    kind = "grey" if channels == 1 else f"of {count(channels, 'channel')}"
    why = (
        f"its pictures are {kind}, and a prior of natural colour is of 3 channels; expected one "
        "of your pictures: prior=DataPrior(...)"
    )
    return Finding(what, False, why)


def _codes(classes: int) -> Iterator[Finding]:
    """What a generator can be told its class by, as its own door says it."""
    for name, what in (
        ("matrix", "a hot matrix as the code of a generator"),
        ("vector", "a soft vector as the code of a generator"),
    ):
        try:
            _, told = conditioning(name, classes)
        except InvalidParameterError as problem:
            yield Finding(what, False, str(problem))
        else:
            why = "; ".join(told) or f"{count(classes, 'class', 'classes')}"
            yield Finding(what, True, why, bool(told))
