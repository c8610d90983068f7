"""What a check found, and the rule by which a count of pictures passes, warns or fails.

**The rule of shares.** Most checks count pictures on which something is wrong. Of few pictures a
count says little, so a share counts for no more than the lower end of its 95 % Wilson interval:
above 2 % the check warns, above 10 % it fails, and one picture of several never counts. Of 64
pictures that is from 4 and from 12 on. The first is about what one attack may honestly leave to the
next (against an adversarially trained MNIST network Square still finds 1.2 points after
AutoAttack's three white-box attacks); a tenth is more than any two published evaluations of an
honest network differ by.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from fluoroscope.engine.intervals import Interval, wilson

Status = Literal["pass", "warn", "fail", "not applicable", "not made"]
"""Not applicable: it says neither good nor ill here; not made: nobody waited for it."""

WARN = 0.02
FAIL = 0.1
FEW = 20
"""On fewer pictures than these, that nothing was found says little."""


@dataclass(frozen=True)
class Check:
    """What one look for a reason not to trust a robust accuracy found."""

    name: str
    status: Status
    words: str
    """One or two sentences: what was seen, and where that is bad how to mend it."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """The numbers, as plain values; ``pictures`` is how many were looked at."""
    forwards: int = 0
    """Images that went through the network for it."""
    backwards: int = 0

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """How a requirement on a verdict came out."""

    text: str
    """The requirement, as ``robust>=0.6``."""
    status: Literal["met", "not met", "cannot be shown"]
    words: str
    """What was measured and what was required, or why nothing is shown."""
    measured: float | None = None
    interval: Interval | None = None
    """Of what was measured, 95 %."""
    bound: float | None = None

    @property
    def met(self) -> bool:
        """Whether it was shown."""
        return self.status == "met"

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def few_pictures(checks: Iterable[Check]) -> int:
    """How many pictures checks of a network looked at, where these are few; otherwise 0.

    One check may need but one, so the most that any of them looked at counts.
    """
    of_network = [one for one in checks if one.name != "black box in the run"]
    most = max((int(one.evidence.get("pictures", 0)) for one in of_network), default=0)
    return most if most < FEW else 0


def by_share(count: int, of: int) -> Status:
    """The rule of shares."""
    if count == 1 < of:
        return "pass"
    low = wilson(count, of)[0]
    return "fail" if low > FAIL else "warn" if low > WARN else "pass"


def worst(*statuses: Status) -> Status:
    return max(statuses, key=("pass", "warn", "fail").index)


def ending(status: Status, mend: str) -> str:
    """How a sentence goes on."""
    return "." if status == "pass" else f": {mend}."
