"""Which attacks are made, in which order, and on which samples.

``standard`` is the plan of AutoAttack (Croce and Hein 2020, 2003.01690), so that its verdict can
stand beside RobustBench's: Auto-PGD on the cross-entropy; targeted Auto-PGD on the difference of
logits ratio and targeted FAB, 9 targets each; 100 iterations in all three; Square with 5,000
queries; each on the samples that no earlier one fooled. ``fast`` comes to the same verdict with
far fewer passes (:mod:`.fast`). ``rand``, for networks that answer at random, is Auto-PGD on both
losses, each answer the mean of 20. ``curve`` looks for the closest misclassified image of every
sample, which is the accuracy at all bounds at once. ``black-box`` reads no gradient, for networks
that have
none: Square, longer on samples whose margin it brought down to a quarter, and HopSkipJump (GeoDA in
L1), which reads decisions and so also sees behind scores that say nothing.
"""

import math
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from fluoroscope.attacks.attack import Method, as_plain
from fluoroscope.attacks.registry import attack
from fluoroscope.engine.run import Keep
from fluoroscope.engine.threats import Threat, one_bound
from fluoroscope.errors import InvalidParameterError
from fluoroscope.evaluation.history import History, is_name


@dataclass(frozen=True)
class Stage:
    """One attack of a plan."""

    name: str
    """In file names and tables; the only one of its name in a plan."""
    attack: Method
    keep: Keep = "first"
    """See :meth:`.Method.__call__`."""
    restarts: int = 1
    seed: int = 0
    """Which of an attack's random draws these are, for one that a plan makes twice."""
    everyone: bool = False
    """Attack every sample, also those that were fooled within the bound."""
    hopeful: float = 1.0
    """Leave out samples whose smallest lead so far is above this share of their clean one."""
    judged_by: tuple[str, ...] = ()
    """The earlier stages whose searches count for that; by default all."""
    nearer: tuple[str, ...] = ()
    """Leave out samples at which these earlier stages found no smaller lead than the others did. Of
    searches that read no gradient, beside others that do, it is a sign of a gradient that misleads.
    """
    nearly: float = 1.0
    """How many times the others' smallest lead theirs may be for that."""
    flat: float = 0.0
    """Leave out samples whose gradient was exactly zero at a smaller share of the pixel values,
    where the earlier stages first asked for it.
    """
    steep: float = 0.0
    """Leave out samples whose first gradient, in the earlier stages, promised fewer times over to
    use up the margin within the bound, if the network were linear: one that promises much and keeps
    nothing is of a ripple, not of what lies below.
    """
    near: float = math.inf
    """Leave out samples whose closest misclassified image is farther than so many times the
    bound.
    """

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise InvalidParameterError(
                f"a stage is called {self.name!r}; expected lower-case letters, digits, . and -, "
                "as files are named after it"
            )
        one_bound(self.attack.threat)
        if self.keep not in get_args(Keep):
            raise self._wrong("keep", f"one of {', '.join(get_args(Keep))}")
        if type(self.restarts) is not int or self.restarts < 1:
            raise self._wrong("restarts", "a whole number from 1")
        if type(self.seed) is not int or not 0 <= self.seed < 2**31:
            raise self._wrong("seed", "a whole number from 0, below 2**31")
        if type(self.everyone) is not bool:
            raise self._wrong("everyone", "true or false")
        if type(self.hopeful) not in (int, float) or not 0 < self.hopeful <= 1:
            raise self._wrong("hopeful", "a number above 0, at most 1")
        for name in ("judged_by", "nearer"):
            names = getattr(self, name)
            if type(names) is not tuple or not all(map(is_name, names)):
                raise self._wrong(name, "the names of earlier stages")
        if self.judged_by and self.hopeful == 1:
            raise self._wrong("judged_by", "none, as hopeful is 1 and leaves nobody out")
        if type(self.nearly) not in (int, float) or not 1 <= self.nearly < math.inf:
            raise self._wrong("nearly", "a number of at least 1")
        if self.nearly != 1 and not self.nearer:
            raise self._wrong("nearly", "1, as nearer names no stage")
        if type(self.flat) not in (int, float) or not 0 <= self.flat <= 1:
            raise self._wrong("flat", "a number from 0 to 1")
        if type(self.steep) not in (int, float) or not 0 <= self.steep < math.inf:
            raise self._wrong("steep", "a number of at least 0")
        if type(self.near) not in (int, float) or not self.near >= 1:
            raise self._wrong("near", "a number of at least 1")

    def _wrong(self, name: str, wanted: str) -> InvalidParameterError:
        given = getattr(self, name)
        return InvalidParameterError(
            f"in the stage {self.name} {name} is {given!r}; expected {wanted}"
        )

    def chooses(self, history: History) -> NDArray[np.bool_]:
        """Which samples this stage attacks: the ones that still survive within its bound."""
        if self.everyone:
            return np.ones(len(history.distance), dtype=bool)
        chosen = history.surviving(self.attack.threat)
        if self.near < math.inf:
            chosen &= history.distance <= self.near * float(self.attack.threat.eps)
        if self.hopeful < 1:
            least = history.least(self.judged_by) if self.judged_by else history.margin
            chosen &= least <= self.hopeful * history.clean_margin
        for sign, found in ((self.flat, history.flat), (self.steep, history.steep)):
            if sign > 0:
                chosen &= (np.zeros_like(history.margin) if found is None else found) >= sign
        if self.nearer:
            others = history.margins.keys() - set(self.nearer)
            chosen &= history.least(self.nearer) < self.nearly * history.least(others)
        return chosen

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "name": self.name,
            "attack": as_plain(self.attack),
            "keep": self.keep,
            "restarts": self.restarts,
            **({"seed": self.seed} if self.seed else {}),
            "everyone": self.everyone,
            "hopeful": self.hopeful,
            "judged_by": list(self.judged_by),
            **({"nearer": list(self.nearer), "nearly": self.nearly} if self.nearer else {}),
            **({"flat": self.flat} if self.flat else {}),
            **({"steep": self.steep} if self.steep else {}),
            "near": as_plain(self.near),
        }


@dataclass(frozen=True)
class Plan:
    """Attacks one after the other; a sample's fate depends on its own history alone."""

    name: str
    stages: tuple[Stage, ...]
    samples: int = 1
    """Answers of a network that draws at random whose mean is taken."""

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        doubled = {name for name in names if names.count(name) > 1 or name == "clean"}
        if doubled or not names:
            raise InvalidParameterError(
                f"the plan {self.name} has "
                + (f"the stage {min(doubled)!r} twice" if doubled else "no stage")
                + "; expected stages with names of their own, none called clean"
            )
        for number, stage in enumerate(self.stages):
            for kind in ("judged_by", "nearer"):
                later = set(getattr(stage, kind)) - set(names[:number])
                if later:
                    raise InvalidParameterError(
                        f"in the plan {self.name} {kind} of the stage {stage.name} names "
                        f"{min(later)!r}; expected stages before it"
                    )
            self._could_attack(stage, self.stages[:number])

    def _could_attack(self, stage: Stage, before: tuple[Stage, ...]) -> None:
        """Refuse a stage that asks for what none before it can have found, or compares nothing."""
        if stage.everyone:
            return
        sloped = [one for one in before if one.attack.access == "gradient"]
        for kind, asked, there, what in (
            ("hopeful", stage.hopeful < 1, before, "a stage before it, whose searches count"),
            ("near", stage.near < math.inf, before, "a stage before it, whose searches count"),
            ("flat", stage.flat > 0, sloped, "a stage before it that asks for a gradient"),
            ("steep", stage.steep > 0, sloped, "a stage before it that asks for a gradient"),
        ):
            if asked and not there:
                raise InvalidParameterError(
                    f"in the plan {self.name} the stage {stage.name} has "
                    f"{kind} = {as_plain(getattr(stage, kind))!r}, and so attacks nobody as it "
                    f"stands there; expected {what}"
                )
        if stage.nearer and {one.name for one in before} == set(stage.nearer):
            raise InvalidParameterError(
                f"in the plan {self.name} the stage {stage.name} has nearer = "
                f"{as_plain(stage.nearer)!r}, which are all stages before it; expected "
                "other stages before it, too, to be nearer than"
            )

    @property
    def stage_names(self) -> tuple[str, ...]:
        """In their order."""
        return tuple(stage.name for stage in self.stages)

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        stages = [stage.describe() for stage in self.stages]
        return {
            "name": self.name,
            "stages": stages,
            "samples": self.samples,
            "finds_distances": self.finds_distances,
        }

    @property
    def finds_distances(self) -> bool:
        """Whether it looks for every sample's closest misclassified image, however far."""
        searches = (stage.attack for stage in self.stages if stage.everyone)
        return any(one.minimum_norm and math.isinf(float(one.threat.eps)) for one in searches)


def standard(threat: Threat) -> Plan:
    """AutoAttack's standard plan."""
    restarts, targets = autoattack(threat)
    return Plan(
        "standard",
        (
            Stage("apgd-ce", made("apgd", threat, steps=100), restarts=restarts),
            Stage("apgd-t", made("apgd-t", threat, steps=100, targets=targets)),
            Stage("fab-t", made("fab-t", threat, steps=100, targets=9)),
            Stage("square", made("square", threat, queries=5000)),
        ),
    )


def autoattack(threat: Threat) -> tuple[int, int]:
    """Its starts of Auto-PGD on the cross-entropy, and its targets of the targeted one.

    In L1 the searches are longer by their wide balls, and the starts matter more than the targets.
    """
    return (5, 5) if threat.name == "l1" else (1, 9)


def rand(threat: Threat) -> Plan:
    """AutoAttack's plan for networks that answer at random."""
    return Plan(
        "rand",
        (
            Stage("apgd-ce", made("apgd", threat, steps=100)),
            Stage("apgd-dlr", made("apgd", threat, steps=100, loss="dlr")),
        ),
        samples=20,
    )


def black_box(threat: Threat) -> Plan:
    """For networks without a gradient: Square, then a search that reads decisions alone."""
    last = "geoda" if threat.name == "l1" else "hopskipjump"
    return Plan(
        "black-box",
        (
            Stage("square", made("square", threat, queries=5000)),
            Stage("square-long", made("square", threat, queries=20_000), hopeful=1 / 4),
            Stage(last, made(last, threat, queries=5000), keep="first"),
        ),
    )


def curve(threat: Threat) -> Plan:
    """The closest misclassified image of every sample, however far; ``threat`` marks the verdict's
    point.

    One or two searches for the closest go over every sample, and a long one over those that the
    first found nothing for: its finding nothing is a sign of a network on which short searches in
    this norm do badly. Where the threat has a bound, Auto-PGD tries those again that were
    misclassified a little beyond.

    Raises:
        InvalidParameterError: the norm is not Linf, L2 or L1.
    """
    norm = threat.name
    stages = [
        Stage(name, attack(method, norm=norm, **parameters), "nearest", everyone=everyone)
        for name, method, everyone, parameters in _searches(norm)
    ]
    if math.isfinite(float(threat.eps)):
        again = attack("apgd", eps=threat.eps, norm=norm, steps=20, loss="dlr")
        stages.append(Stage("apgd-dlr", again, near=1.5))
    return Plan("curve", tuple(stages))


def nearest(threat: Threat) -> Method:
    """A short search for the closest success, within the bound of ``threat`` if it has one.

    Raises:
        InvalidParameterError: the norm is not Linf, L2 or L1.
    """
    _searches(threat.name)
    steps = {} if threat.name == "l1" else _STEEPEST[threat.name]
    return attack("fmn", eps=float(threat.eps), norm=threat.name, steps=25, **steps)


def _searches(norm: str) -> "tuple[_Search, ...]":
    if norm not in _CLOSEST:
        raise InvalidParameterError(
            f"the norm is {norm}, in which nothing here looks for the closest misclassified image; "
            f"expected {', '.join(_CLOSEST)}"
        )
    return _CLOSEST[norm]


_Search = tuple[str, str, bool, dict[str, Any]]
"""A stage's name, its attack, whether on every sample, and the attack's parameters."""
_STEEPEST: dict[str, dict[str, Any]] = {
    "linf": {"along": "steepest", "step_size": 0.5, "gamma": 0.1},
    "l2": {"along": "steepest", "step_size": 1.0, "gamma": 0.1},
}
"""FMN's parameters where few steps have to do."""
_CLOSEST: dict[str, tuple[_Search, ...]] = {
    "linf": (
        ("fmn", "fmn", True, {"steps": 45, "along": "steepest", "step_size": 0.5}),
        ("fab-t", "fab-t", False, {"steps": 20, "targets": 9}),
    ),
    "l2": (
        ("fmn", "fmn", True, {"steps": 20}),
        ("ddn", "ddn", False, {"steps": 300}),
        ("fmn-steepest", "fmn", True, {"steps": 25, **_STEEPEST["l2"]}),
    ),
    "l1": (
        ("fmn", "fmn", True, {"steps": 25}),
        ("fab-t", "fab-t", False, {"steps": 20, "targets": 9}),
        ("fmn-wide", "fmn", True, {"steps": 20, "step_size": 3.0}),
    ),
}


def made(name: str, threat: Threat, **parameters: Any) -> Method:
    """The attack of that name under the threat model."""
    eps = None if threat.name == "none" else threat.eps
    return attack(name, eps=eps, norm=threat.name, **parameters)
