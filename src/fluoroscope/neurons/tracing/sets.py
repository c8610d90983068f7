"""The smallest set of units whose removal changes the decision, found greedily, and its curve.

Each round removes, beside all that are gone, every unit that is left, one at a time and for real,
and keeps away those without which the margin of the predicted class is lowest: one in a round
(``exact``), or several (``by batches``: with each round a quarter more of those that are gone
already). In the end every unit is put back without which the decision still differs. What is found
is small, and no proof that there is nothing smaller. Beside it units are removed in random orders.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.errors import InvalidParameterError
from fluoroscope.neurons.tracing.ablation import Ablation, class_numbers

ROUNDS = ("exact", "batches")
ORDERS = 5
"""Random orders beside."""
# Units at the most where every round removes one.
_EXACT = 128
# A round by batches removes one unit, and one more for so many that are gone.
_SHARE = 4
# Copies at the most that each of the random orders takes.
_LOOKS = 24


@dataclass(frozen=True)
class SmallestSet:
    """What removing sets of units does to a decision."""

    decision: int
    """The predicted class, whose margin the curves show."""
    rounds: str
    """``exact`` or ``batches``."""
    order: Tensor
    """``(J,)`` int64, the units in the order of their removal."""
    curve: Tensor
    """``(J + 1,)`` float64, the margin without the first ``j`` of them."""
    becomes: int | None
    """What it is predicted as without them; ``None`` where the decision never changed."""
    random_counts: Tensor
    """``(L,)`` int64, how many units were removed at random."""
    random_curves: Tensor
    """``(orders, L)`` float64, the margin then."""
    passes: int
    """Copies that went through the rest of the network."""

    @property
    def size(self) -> int | None:
        """How many units do; ``None`` where all of them do not."""
        return None if self.becomes is None else len(self.order)

    @property
    def random_sizes(self) -> list[int | None]:
        """At how many units each random order changed the decision, the fewest first; ``None``
        for those that never did, which come last.
        """
        firsts = [(row <= 0).nonzero()[:1, 0].tolist() for row in self.random_curves]
        changed = sorted(int(self.random_counts[at]) for (at,) in filter(None, firsts))
        return [*changed, *[None] * (len(firsts) - len(changed))]

    @property
    def random_size(self) -> int | None:
        """The median of these; ``None`` if that order never did."""
        sizes = self.random_sizes
        return sizes[(len(sizes) - 1) // 2] if sizes else None


def smallest_set(
    ablation: Ablation, rounds: str | None = None, *, most: int | None = None, seed: int = 0,
    on_share: Callable[[float], None] | None = None,
) -> SmallestSet:  # fmt: skip
    """The units that carry the decision about a picture.

    Args:
        ablation: the picture.
        rounds: ``exact`` or ``batches``; by default the former for up to 128 units.
        most: units at the most; by default all of the layer.
        seed: of the random orders.
        on_share: told how much is done.

    Raises:
        InvalidParameterError: no such rounds.
    """
    if rounds not in (None, *ROUNDS):
        raise InvalidParameterError(f"rounds is {rounds!r}; expected one of {', '.join(ROUNDS)}")
    many = ablation.units.count
    found = _Removing(ablation, rounds or ("exact" if many <= _EXACT else "batches"))
    before = ablation.passes
    found.go(many if most is None else min(most, many), on_share)
    counts, curves = found.random(seed)
    return SmallestSet(
        found.decision, found.rounds, torch.tensor(found.order, dtype=torch.long, device="cpu"),
        found.curve(), found.becomes, counts, curves, ablation.passes - before,
    )  # fmt: skip


class _Removing:
    def __init__(self, ablation: Ablation, rounds: str) -> None:
        self.ablation, self.rounds = ablation, rounds
        self.decision = int(ablation.logits.argmax())
        self.order: list[int] = []
        self.becomes: int | None = None

    def go(self, most: int, on_share: Callable[[float], None] | None) -> None:
        many = self.ablation.units.count
        while len(self.order) < most and self.becomes is None:
            left = [unit for unit in range(many) if unit not in set(self.order)]
            margins = self.ablation.without_each(
                self._margin, also=self._gone(self.order),
                among=torch.tensor(left, dtype=torch.long, device="cpu"),
            )  # fmt: skip
            step = 1 if self.rounds == "exact" else 1 + len(self.order) // _SHARE
            best = margins.argsort(stable=True)[: min(step, most - len(self.order))]
            self._take([left[place] for place in best.tolist()])
            if on_share is not None:
                on_share(len(self.order) / most)
        if self.becomes is not None:
            self._put_back()

    def _take(self, units: list[int]) -> None:
        """Remove them one after the other, until the decision changes."""
        sets = [self._gone([*self.order, *units[: number + 1]]) for number in range(len(units))]
        winners = self.ablation.without(torch.stack(sets), lambda logits: logits.argmax(1)).tolist()
        for unit, winner in zip(units, winners, strict=True):
            self.order.append(unit)
            if winner != self.decision:
                self.becomes = int(winner)
                return

    def _put_back(self) -> None:
        """Keep only units without which the decision would stay."""
        for unit in list(self.order):
            fewer = [other for other in self.order if other != unit]
            if not fewer:
                return
            [winner] = self.ablation.without(
                self._gone(fewer)[None], lambda logits: logits.argmax(1)
            ).tolist()
            if winner != self.decision:
                self.order, self.becomes = fewer, int(winner)

    def curve(self) -> Tensor:
        """The margin without the first of them, from none on."""
        sets = torch.stack([self._gone(self.order[:many]) for many in range(len(self.order) + 1)])
        return self.ablation.without(sets, self._margin).double().cpu()

    def random(self, seed: int) -> tuple[Tensor, Tensor]:
        """Numbers of units, and the margin without so many in random orders."""
        many = self.ablation.units.count
        spread = torch.logspace(
            0, 1, min(_LOOKS, many), base=float(many), dtype=torch.float64, device="cpu"
        )
        wanted = {0, many, *spread.round().long().tolist(), min(len(self.order), many)}
        counts = torch.tensor(sorted(wanted), dtype=torch.long, device="cpu")
        keys = randomness.keys(seed, torch.arange(ORDERS, dtype=torch.long, device="cpu"))
        ranks = randomness.uniform(keys, 0, (many,)).argsort(1).argsort(1)
        gone = (ranks[:, None] < counts[None, :, None]).flatten(0, 1)
        margins = self.ablation.without(gone, self._margin)
        return counts, margins.double().cpu().reshape(ORDERS, len(counts))

    def _gone(self, units: list[int]) -> Tensor:
        gone = torch.zeros(
            self.ablation.units.count, dtype=torch.bool, device=self.ablation.activation.device
        )
        gone[units] = True
        return gone

    def _margin(self, logits: Tensor) -> Tensor:
        return class_numbers(self.ablation.model, self.decision)(logits)[:, 0]
