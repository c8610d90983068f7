"""How much of an audit lies behind, by what its looks cost in passes of the network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fluoroscope.attribution.audit.bench import Bench
from fluoroscope.attribution.audit.faithfulness import CONTROLS, LARGE, STEPS
from fluoroscope.attribution.audit.looks import DEAR, PICTURES
from fluoroscope.attribution.audit.randomise import STAGES, Stage
from fluoroscope.attribution.audit.subjects import Subject

# Passes for a picture, where nobody knows beforehand.
_UNKNOWN = 20.0
SCORED_PASSES = 200.0
"""Passes of one method for maps that are scored."""
_SCORED_LEAST = 4
# And for those of one random network, of which large pictures' maps are fewer.
_FORGET, COMPARED_LARGE = 40, 2


def is_dear(passes: float) -> bool:
    """Whether a method of so many passes is looked at on fewer pictures."""
    return passes > DEAR


def compared_at(passes: float, stage: Stage) -> bool:
    """Whether a method of so many passes is asked about this random network."""
    return not is_dear(passes) or stage.share == 1


_Look = tuple[str, Callable[[float], int], float]
"""A method, how many pictures a look takes by its passes, and passes beside the method's own."""


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
        scored_passes: of one method for maps that are scored.
    """

    def __init__(
        self,
        todo: list[Subject],
        bench: Bench,
        tell: Callable[[Progress], None] | None,
        scored_passes: float = SCORED_PASSES,
    ) -> None:
        self._tell, self._pictures, self._scored = tell, len(bench), scored_passes
        large = bench.images[0, 0].numel() > LARGE
        self._compared = COMPARED_LARGE if large else PICTURES
        self._passes = {one.name: _UNKNOWN for one in todo}
        self._waiting: dict[str, _Look] = {}
        self._behind = 0.0
        self._share = 0.0
        self._present = 0.0

    def plan(self, *, randomisation: bool, faithfulness: bool) -> None:
        """Which looks there are."""
        for name in self._passes:
            self._waiting[f"look {name}"] = (name, lambda passes: 4 if is_dear(passes) else 9, 0.0)
        flips = 2.0 * STEPS
        if faithfulness:
            for control in CONTROLS:
                self._waiting[f"score control {control}"] = ("", lambda _: self._pictures, flips)
            for name in self._passes:
                self._waiting[f"score {name}"] = (
                    name, self.scored, flips
                )  # fmt: skip
        for stage in STAGES if randomisation else ():
            pictures = partial(self._at, stage)
            for name in self._passes:
                self._waiting[f"{stage.name} {name}"] = (name, pictures, 0.0)

    def scored(self, passes: float) -> int:
        """How many pictures' maps are scored, of a method of so many passes for a picture."""
        return min(self._pictures, max(_SCORED_LEAST, int(self._scored / max(passes, 1.0))))

    def compared(self, passes: float) -> int:
        """How many pictures' maps are made of each random network."""
        return min(self._compared, self._pictures, max(1, int(_FORGET / max(passes, 1.0))))

    def learn(self, name: str, passes: float) -> None:
        """A method turned out to take so many passes for a picture."""
        self._passes[name] = max(passes, 1.0)

    def at(self, words: str, key: str) -> None:
        """A look begins."""
        self._behind += self._present
        look = self._waiting.pop(key, None)
        self._present = 0.0 if look is None else self._cost(look)
        left = self._present + sum(self._cost(one) for one in self._waiting.values())
        whole = self._behind + left
        self._share = max(self._share, self._behind / whole if whole else 1.0)
        if self._tell is not None:
            self._tell(Progress(self._share, words))

    def _cost(self, look: _Look) -> float:
        name, pictures, more = look
        passes = self._passes.get(name, 0.0)
        return pictures(passes) * (passes + more)

    def _at(self, stage: Stage, passes: float) -> int:
        return self.compared(passes) * compared_at(passes, stage)
