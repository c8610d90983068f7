"""What a verdict is required to say: ``robust>=0.6 clean>=90% class.low>=0.8``.

A requirement is met, not met, or cannot be shown: a run that was cut short, or a robust accuracy
that a check speaks against, shows nothing, however good it looks.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from fluoroscope.errors import InvalidParameterError
from fluoroscope.evaluation.check import Outcome, few_pictures
from fluoroscope.words import count, interval, listed, percent

if TYPE_CHECKING:
    from fluoroscope.engine.intervals import Interval
    from fluoroscope.evaluation.slices import Slice
    from fluoroscope.evaluation.verdict import Verdict

MEASURES = {
    "clean": "clean accuracy",
    "robust": "robust accuracy",
    "class": "lowest clean accuracy of a class",
    "robust-class": "lowest robust accuracy of a class",
    "slice": "lowest clean accuracy of a slice",
    "robust-slice": "lowest robust accuracy of a slice",
    "pictures": "number of pictures",
    "trust": "checks whether the robust accuracy can be trusted",
}
"""What can be required, and what it is."""
_TOKEN = re.compile(
    r"(?P<name>[\w-]+)(?P<low>\.low)?(?:>=|≥)(?P<number>\d+(?:\.\d*)?|\.\d+)(?P<percent>%?)"
)
_BETWEEN = " ,;\t\r\n"
# Characters of a requirement that a message repeats.
_LONGEST = 60


@dataclass(frozen=True)
class Requirement:
    """One of them: this measure must be at least ``bound``."""

    text: str
    measure: str
    bound: float = 1.0
    low: bool = False
    """Whether the lower end of the 95 % interval must be, not the share itself."""


class Requirements:
    """What a verdict must say, as text: requirements with blanks or commas between.

    ``clean``, ``robust``, ``class``, ``robust-class``, ``slice`` and ``robust-slice`` (the lowest
    accuracy of any class, or of any slice, that has pictures) take a share or a percentage:
    ``robust>=0.6``, ``class>=80%``; with ``.low`` the lower end of the 95 % interval has to reach
    it: ``robust.low>=0.6``. ``pictures>=500`` asks for so many, and ``trust`` that the trust checks
    were made and none failed.

    Raises:
        InvalidParameterError: text that says something else.
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str) or not text.strip(_BETWEEN):
            raise InvalidParameterError(
                f"require= is {repr(text)[:_LONGEST]}; expected requirements such as {_EXAMPLE}"
            )
        # As people write it: with blanks around the sign, and commas.
        words = re.sub(r"\s*(>=|≥|=>|<=|==|[<>=≤])\s*", r"\1", text)
        words = re.sub(r"(?<=\d)\s+%", "%", words)
        self.items = tuple(map(_read, re.split(r"[\s,;]+", words.strip(_BETWEEN))))
        self.text = " ".join(one.text for one in self.items)

    def __repr__(self) -> str:
        return f"Requirements({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Requirements) and self.items == other.items

    def __hash__(self) -> int:
        return hash(self.items)

    @property
    def trust(self) -> bool:
        """Whether the trust checks are among them."""
        return any(one.measure == "trust" for one in self.items)

    @property
    def slices(self) -> bool:
        """Whether a slice is."""
        return any(one.measure.endswith("slice") for one in self.items)

    def of(self, verdict: "Verdict", clean: "Verdict | None" = None) -> tuple[Outcome, ...]:
        """How each came out.

        Args:
            verdict: what was measured.
            clean: what says more of the clean accuracies, where more pictures were looked at than
                attacked.
        """
        return tuple(
            _outcome(one, clean if clean and one.measure in ("clean", "class") else verdict)
            for one in self.items
        )


_EXAMPLE = "robust>=0.6 clean>=90%"


def as_requirements(given: "str | Requirements | None") -> Requirements | None:
    """What was given, as a value."""
    return given if given is None or isinstance(given, Requirements) else Requirements(given)


def _read(token: str) -> Requirement:
    if token == "trust":
        return Requirement(token, token)
    found, shown = _TOKEN.fullmatch(token), repr(token[:_LONGEST])
    if found is None:
        raise InvalidParameterError(
            f"require= holds {shown}; expected requirements such as {_EXAMPLE}, of "
            f"{listed(list(MEASURES), 'or')}"
        )
    name, low, share = found["name"], bool(found["low"]), Decimal(found["number"])
    if name not in MEASURES or name == "trust":
        raise InvalidParameterError(
            f"require= holds {shown}, and no number is called {name[:_LONGEST]!r}; expected "
            f"{listed([one for one in MEASURES if one != 'trust'], 'or')}, or trust alone"
        )
    if name == "pictures":
        if low or found["percent"] or share != int(share):
            raise InvalidParameterError(
                f"require= holds {shown}; expected a whole number of pictures, as pictures>=500"
            )
        return Requirement(f"pictures>={int(share)}", name, float(share))
    if found["percent"]:
        share /= 100
    if share > 1:
        raise InvalidParameterError(
            f"require= holds {shown}, which is more than all; expected a share from 0 to 1, or a "
            "percentage with its sign, as 60%"
        )
    return Requirement(token.replace("≥", ">="), name, float(share), low)


def _outcome(one: Requirement, verdict: "Verdict") -> Outcome:
    if one.measure == "trust":
        return _trusted(one, verdict)
    if one.measure == "pictures":
        enough = verdict.count >= one.bound
        words = f"{count(verdict.count, 'picture')} of {int(one.bound):,} required"
        return Outcome(one.text, _status(enough), words, float(verdict.count), None, one.bound)
    found = _measured(one, verdict)
    if found is None:
        words = f"{MEASURES[one.measure]}: there is none, as no pictures were sliced or looked at"
        return Outcome(one.text, "cannot be shown", words, None, None, one.bound)
    share, between, what, which = found
    measured = between[0] if one.low else share
    # So many digits that what differs looks different.
    digits = next(
        (some for some in (2, 4, 6) if percent(measured, some) != percent(one.bound, some)), 2
    )
    asked = f"{'its lower end has to reach ' if one.low else ''}{percent(one.bound, digits)}"
    sure = interval(between, digits if one.low else 2)
    said = f"{what} {percent(share, 2 if one.low else digits)} (95 % interval {sure}){which}"
    said += f"; {asked}"
    said += "" if one.low else " required"
    reasons = _doubts(one, verdict)
    if measured < one.bound:
        return Outcome(one.text, "not met", said, share, between, one.bound)
    if reasons:
        words = f"{said}; but {'; '.join(reasons)}"
        return Outcome(one.text, "cannot be shown", words, share, between, one.bound)
    if between[0] < one.bound:
        said += "; the interval reaches below it"
    if one.measure.startswith("robust") and not verdict.trust:
        said += "; the trust checks were not made"
    return Outcome(one.text, "met", said, share, between, one.bound)


def _status(met: bool) -> Literal["met", "not met"]:
    return "met" if met else "not met"


def _measured(one: Requirement, verdict: "Verdict") -> "tuple[float, Interval, str, str] | None":
    """The share, its interval, what it is, and of which pictures."""
    measure = one.measure
    if not verdict.count:
        return None
    if measure == "clean":
        return verdict.clean_accuracy, verdict.clean_interval, "clean accuracy", ""
    if measure == "robust":
        return verdict.robust_accuracy, verdict.robust_interval, "robust accuracy", ""
    robust = measure.startswith("robust")
    parts = [("class", each) for each in verdict.by_class]
    if measure.endswith("slice"):
        parts = [(of.column, each) for of in verdict.slices for each in of.slices]
    if not parts:
        return None

    def lowest(part: "tuple[str, Slice]") -> float:
        share, between = _of(part[1], robust)
        return between[0] if one.low else share

    name, part = min(parts, key=lowest)
    share, between = _of(part, robust)
    what = f"{name} {part.value}: {'robust' if robust else 'clean'} accuracy"
    several = ("slice", "slices") if measure.endswith("slice") else ("class", "classes")
    which = f", the lowest of {count(len(parts), *several)}, on {count(part.count, 'picture')}"
    return share, between, what, which


def _of(one: "Slice", robust: bool) -> "tuple[float, Interval]":
    if not robust:
        return one.clean_accuracy, one.clean_interval
    assert one.robust_accuracy is not None
    assert one.robust_interval is not None
    return one.robust_accuracy, one.robust_interval


def _doubts(one: Requirement, verdict: "Verdict") -> list[str]:
    """Why what was measured does not show it."""
    cut = [] if verdict.complete else ["the run was cut short"]
    return [*cut, *(_distrust(verdict) if one.measure.startswith("robust") else [])]


def _distrust(verdict: "Verdict") -> list[str]:
    """What speaks against a robust accuracy, or was to be looked into and was not."""
    failed = [check.name for check in verdict.trust if check.status == "fail"]
    open_ = [check.name for check in verdict.trust if check.status == "not made"]
    return [
        *([f"the trust {_checks(failed)} failed, so that it may be far lower"] if failed else []),
        *([f"{count(len(open_), 'trust check')} stopped before the end"] if open_ else []),
    ]


def _trusted(one: Requirement, verdict: "Verdict") -> Outcome:
    failed = [check.name for check in verdict.trust if check.status == "fail"]
    if failed:
        return Outcome(one.text, "not met", f"the trust {_checks(failed)} failed")
    made = [check for check in verdict.trust if check.status in ("pass", "warn")]
    doubts = [*([] if verdict.complete else ["the run was cut short"]), *_distrust(verdict)]
    if not made or doubts:
        words = "; ".join(doubts or ["the trust checks were not made"])
        return Outcome(one.text, "cannot be shown", words)
    warned = sum(check.status == "warn" for check in made)
    words = f"none of {count(len(made), 'trust check')} failed"
    words += f", {warned} warned" if warned else ""
    if few := few_pictures(made):
        words += f"; they looked at {count(few, 'picture')} alone, which shows little"
    return Outcome(one.text, "met", words)


def _checks(names: Sequence[str]) -> str:
    return f"{'check' if len(names) == 1 else 'checks'} {listed(names)}"
