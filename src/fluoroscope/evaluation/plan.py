"""Which attacks are made, in which order, and on which samples.

``standard`` is the plan of AutoAttack (Croce and Hein 2020, 2003.01690), so that its verdict can
stand beside RobustBench's: Auto-PGD on the cross-entropy; targeted Auto-PGD on the difference of
logits ratio and targeted FAB, 9 targets each; 100 iterations in all three; Square with 5,000
queries; each on the samples that no earlier one fooled. ``fast`` comes to the same verdict with
far fewer passes (:mod:`.fast`). ``rand``, for networks that answer at
random, is Auto-PGD on both losses, each answer the mean of 20.
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluoroscope.attacks.attack import Method, as_plain
from fluoroscope.attacks.registry import attack
from fluoroscope.engine.run import Keep
from fluoroscope.engine.threats import Threat
from fluoroscope.errors import InvalidParameterError

# What float rounding adds to a distance.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class History:
    """What the stages so far made of ``N`` samples that the network reads as labelled."""

    clean_margin: NDArray[np.float64]
    """``(N,)``, by how much the label's logit leads over the strongest other; above 0."""
    margin: NDArray[np.float64]
    """``(N,)``, the smallest lead that any allowed image had; 0 or less where one was misread."""
    distance: NDArray[np.float64]
    """``(N,)``, of the closest misread image; infinite where there is none."""

    def holds(self, threat: Threat) -> NDArray[np.bool_]:
        """Which samples no misread image within the bound is known of."""
        return self.distance > float(threat.eps) + _ROUNDING


@dataclass(frozen=True)
class Stage:
    """One attack of a plan."""

    name: str
    """In file names and tables; the only one of its name in a plan."""
    attack: Method
    keep: Keep = "first"
    """See :meth:`.Method.__call__`."""
    restarts: int = 1
    everyone: bool = False
    """Attack every sample, also those that were fooled within the bound."""
    hopeful: float = 1.0
    """Leave out samples whose smallest lead so far is above this share of their clean one."""

    def chooses(self, history: History) -> NDArray[np.bool_]:
        """Which samples this stage attacks: the ones that still hold within its bound."""
        if self.everyone:
            return np.ones(len(history.distance), dtype=bool)
        holds = history.holds(self.attack.threat)
        if self.hopeful >= 1:
            return holds
        return holds & (history.margin <= self.hopeful * history.clean_margin)

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "name": self.name,
            "attack": as_plain(self.attack),
            "keep": self.keep,
            "restarts": self.restarts,
            "everyone": self.everyone,
            "hopeful": self.hopeful,
        }


@dataclass(frozen=True)
class Plan:
    """Attacks one after the other; a sample's fate hangs on its own history alone."""

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

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        stages = [stage.describe() for stage in self.stages]
        return {"name": self.name, "stages": stages, "samples": self.samples}


def standard(threat: Threat) -> Plan:
    """AutoAttack's standard plan."""
    return Plan(
        "standard",
        (
            Stage("apgd-ce", _made("apgd", threat, steps=100)),
            Stage("apgd-t", _made("apgd-t", threat, steps=100, targets=9)),
            Stage("fab-t", _made("fab-t", threat, steps=100, targets=9)),
            Stage("square", _made("square", threat, queries=5000)),
        ),
    )


def rand(threat: Threat) -> Plan:
    """AutoAttack's plan for networks that answer at random."""
    return Plan(
        "rand",
        (
            Stage("apgd-ce", _made("apgd", threat, steps=100)),
            Stage("apgd-dlr", _made("apgd", threat, steps=100, loss="dlr")),
        ),
        samples=20,
    )


def _fast(threat: Threat) -> Plan:
    from fluoroscope.evaluation.fast import fast  # it is made of what stands above

    return fast(threat)


PLANS: dict[str, Callable[[Threat], Plan]] = {"standard": standard, "fast": _fast, "rand": rand}


def find_plan(plan: str | Path | Plan, threat: Threat) -> Plan:
    """The plan of that name, of that file, or the value itself.

    A file is TOML: a table ``[[stages]]`` for each attack with its name, ``attack``, those of
    ``keep``, ``restarts``, ``everyone`` and ``hopeful`` that differ, and the attack's own
    parameters in ``[stages.parameters]``.

    Raises:
        InvalidParameterError: no such plan or file, or one that makes no sense.
    """
    if isinstance(plan, Plan):
        return plan
    if str(plan) in PLANS:
        return PLANS[str(plan)](threat)
    path = Path(plan)
    if not path.is_file():
        raise InvalidParameterError(
            f"there is no plan {str(plan)!r}; expected {', '.join(PLANS)} or a TOML file"
        )
    try:
        return _from_table(path.stem, tomllib.loads(path.read_text("utf-8")), threat)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise InvalidParameterError(
            f"{path} is no plan: {error}; expected TOML with a [[stages]] for each attack"
        ) from error


def _from_table(name: str, table: dict[str, Any], threat: Threat) -> Plan:
    unknown = set(table) - {"stages", "samples"}
    if unknown:
        raise InvalidParameterError(
            f"the plan {name} has {min(unknown)!r}; expected [[stages]] and samples"
        )
    stages = []
    for given in table.get("stages", []):
        parameters = given.pop("parameters", {})
        method = given.pop("attack", None)
        if not isinstance(method, str):
            raise InvalidParameterError(
                f"the plan {name} has a stage without an attack; expected attack = 'apgd', say"
            )
        made = _made(method, threat, **parameters)
        stages.append(Stage(given.pop("name", method), made, **given))
    return Plan(name, tuple(stages), samples=int(table.get("samples", 1)))


def _made(name: str, threat: Threat, **parameters: Any) -> Method:
    return attack(name, eps=threat.eps, norm=threat.name, **parameters)
