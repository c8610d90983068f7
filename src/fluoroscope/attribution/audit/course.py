"""How much of an audit lies behind, by what its looks cost in passes of the network."""

from collections.abc import Callable
from dataclasses import dataclass

from fluoroscope.attribution.audit.bench import Bench
from fluoroscope.attribution.audit.faithfulness import STEPS
from fluoroscope.attribution.audit.looks import PICTURES
from fluoroscope.attribution.audit.randomise import STAGES
from fluoroscope.attribution.audit.subjects import Subject

# Passes for a picture, where nobody knows beforehand.
_UNKNOWN = 20.0


@dataclass(frozen=True)
class Progress:
    """Where an audit is."""

    share: float
    """Of the work, what lies behind."""
    words: str
    """What it is at."""


class Course:
    """Knows which looks there are and what they cost; tells where the audit is.

    Args:
        todo: the methods.
        bench: network and pictures.
        tell: who wants to know.
    """

    def __init__(
        self, todo: list[Subject], bench: Bench, tell: Callable[[Progress], None] | None
    ) -> None:
        self._tell, self._pictures = tell, len(bench)
        self._passes = {one.name: _UNKNOWN for one in todo}
        self._waiting: dict[str, tuple[str, float, float]] = {}
        self._behind = 0.0
        self._share = 0.0
        self._present = 0.0

    def plan(self, *, randomisation: bool, faithfulness: bool) -> None:
        """Which looks there are; of each, of what method, passes by that method's and by itself."""
        for name in self._passes:
            self._waiting[f"look {name}"] = (name, 2.0 * PICTURES, 0.0)
        flips = 2.0 * STEPS * self._pictures
        if faithfulness:
            for control in ("random", "edges", "centre", "picture"):
                self._waiting[f"score control {control}"] = ("", 0.0, flips)
            for name in self._passes:
                self._waiting[f"score {name}"] = (name, float(self._pictures), flips)
        if randomisation:
            for stage in STAGES:
                for name in self._passes:
                    self._waiting[f"{stage.name} {name}"] = (name, float(PICTURES), 0.0)

    def learn(self, name: str, passes: float) -> None:
        """A method turned out to take so many passes for a picture."""
        self._passes[name] = max(passes, 1.0)

    def at(self, words: str, key: str) -> None:
        """A look begins."""
        self._behind += self._present
        self._present = self._cost(*self._waiting.pop(key, ("", 0.0, 0.0)))
        left = self._present + sum(self._cost(*one) for one in self._waiting.values())
        whole = self._behind + left
        self._share = max(self._share, self._behind / whole if whole else 1.0)
        if self._tell is not None:
            self._tell(Progress(self._share, words))

    def _cost(self, name: str, times: float, own: float) -> float:
        return times * self._passes.get(name, _UNKNOWN) + own
