"""How much of a report lies behind: one share over all of its sections, not a bar for each."""

from collections.abc import Iterable

# What each kind of work takes of the whole, roughly, in the order in which it is begun: a hardened
# network is attacked for longer, a weak one has its classes mapped for longer.
_WEIGHTS = {
    "read": 0.04, "gradients": 0.05, "attack": 0.42, "8-bit": 0.04, "trust": 0.15, "draw": 0.04,
    "trace": 0.03, "corruptions": 0.09, "portraits": 0.12,
    "consistency": 0.06, "map": 0.17,
}  # fmt: skip
# What the sections want, in the order in which they are made.
_WANTED = {
    "gradients": ("gradients",),
    "verdict": ("attack", "8-bit", "trust"),
    "curve": ("attack",),
    "pictures": ("attack", "draw"),
    "trace": ("trace",),
    "corruptions": ("corruptions",),
    "portraits": ("portraits",),
    "consistency": ("consistency",),
    "map": ("map",),
}


class Phases:
    """The work of the sections of these names."""

    def __init__(self, sections: Iterable[str]) -> None:
        wanted = {"read", *(phase for name in sections for phase in _WANTED.get(name, ()))}
        weights = {phase: weight for phase, weight in _WEIGHTS.items() if phase in wanted}
        whole = sum(weights.values())
        self._weights = {phase: weight / whole for phase, weight in weights.items()}
        self._shares = dict.fromkeys(self._weights, 0.0)
        self.share = 0.0
        """Of all work, what lies behind; it never falls."""

    def at(self, phase: str, share: float) -> float:
        """Of all work, what lies behind when this share of a phase does.

        Those before it are done, or were found done, by then.
        """
        if phase in self._weights:
            for other in self._weights:
                if other == phase:
                    self._shares[phase] = max(self._shares[phase], min(share, 1.0))
                    break
                self._shares[other] = 1.0
            behind = sum(self._weights[one] * of for one, of in self._shares.items())
            self.share = max(self.share, min(behind, 1.0))
        return self.share
