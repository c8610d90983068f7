"""Which method to take: by what networks agree that were not asked while portraits were made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

import torch
from torch import Tensor

from benchmarks.page import Section, percent
from fluoroscope.engine.intervals import wilson
from fluoroscope.words import number

ALIKE = 0.05
"""Methods whose agreement differs no more than by chance, at this level, are not told apart."""


@dataclass(frozen=True)
class Judged:
    """What another network says of portraits."""

    judge: str
    top1: tuple[bool, ...]
    top5: tuple[bool, ...]
    confidence: tuple[float, ...]

    @staticmethod
    def of(judge: str, logits: Tensor, classes: Tensor) -> "Judged":
        """Of its logits ``(N, K)`` for pictures of these classes ``(N,)``."""
        ranks = (logits > logits.gather(1, classes[:, None])).sum(1)
        sure = logits.softmax(1).gather(1, classes[:, None])[:, 0]
        return Judged(
            judge, tuple((ranks < 1).tolist()), tuple((ranks < 5).tolist()), tuple(sure.tolist())
        )

    def cells(self) -> list[str]:
        """Top-1, top-5 and mean probability of the class, for a table."""
        many = len(self.top1)
        return [
            percent(sum(self.top1) / many, 0),
            percent(sum(self.top5) / many, 0),
            number(float(torch.tensor(self.confidence, dtype=torch.float64).mean())),
        ]


@dataclass(frozen=True)
class Standing:
    """A method over all judges of one network, or of several."""

    name: str
    agree: tuple[bool, ...]
    confidence: float
    seconds: float

    @property
    def rank(self) -> tuple[int, float]:
        """The higher the better."""
        return sum(self.agree), self.confidence

    def words(self) -> str:
        """For a table."""
        many = len(self.agree)
        low, high = wilson(sum(self.agree), many)
        share = f"{percent(sum(self.agree) / many, 0)} ({100 * low:.0f} to {100 * high:.0f})"
        return f"{self.name}: {share}, confidence {number(self.confidence)}"


def choices(
    page: Section,
    judged: Mapping[tuple[str, str], Sequence[Judged]],
    seconds: Mapping[tuple[str, str], float],
    needs: Mapping[str, str],
) -> None:
    """Tell which method to take, of what was measured of ``(network, method)``."""
    networks = list(dict.fromkeys(network for network, _ in judged))
    rows = []
    for network in [*networks, *(["all of them"] if len(networks) > 1 else [])]:
        within = networks if network == "all of them" else [network]
        standings = _standings(judged, seconds, within)
        free = [one for one in standings if not needs[one.name]]
        given = [one for one in standings if needs[one.name]]
        cells = [network]
        for group in (free, given):
            best = max(group, key=lambda one: one.rank, default=None)
            cells.append("–" if best is None or not any(best.agree) else best.words())
        fast = quickest(free)
        cells.append("–" if fast is None else f"{fast.name}, {number(fast.seconds)} s")
        cells.append(_below(free))
        rows.append(cells)
    page.text(
        "**Which method to take.** By how many of the portraits both other networks predict as "
        "their class (judgements of the two together, in brackets the 95 % interval of Wilson; "
        "where as many agree, by their mean probability of the class). *Fastest*: of the methods "
        "without data that are not told apart from the best (exact sign test on the judgements in "
        f"which the two differ, p ≥ {ALIKE}). Over all networks stand only methods that all of "
        "them admit; where nobody agrees on any portrait, there is no best."
    )
    page.table(
        ["network", "best without data", "best with data", "fastest like the best", "told apart "
         "from the best"],
        rows,
    )  # fmt: skip


def _standings(
    judged: Mapping[tuple[str, str], Sequence[Judged]],
    seconds: Mapping[tuple[str, str], float],
    networks: Sequence[str],
) -> list[Standing]:
    found = []
    for name in dict.fromkeys(method for _, method in judged):
        if not all((network, name) in judged for network in networks):
            continue
        ones = [one for network in networks for one in judged[network, name]]
        sure = [each for one in ones for each in one.confidence]
        found.append(
            Standing(
                name,
                tuple(each for one in ones for each in one.top1),
                sum(sure) / len(sure),
                sum(seconds[network, name] for network in networks) / len(networks),
            )
        )
    return found


def quickest(standings: Sequence[Standing]) -> Standing | None:
    """The fastest of those that are not told apart from the best, if anyone agrees with that."""
    best = max(standings, key=lambda one: one.rank, default=None)
    if best is None or not any(best.agree):
        return None
    alike = [one for one in standings if not apart(best.agree, one.agree)]
    return min(alike, key=lambda one: one.seconds)


def apart(one: Sequence[bool], other: Sequence[bool]) -> bool:
    """Whether two methods' judgements differ by more than chance."""
    return sign_test(*differing(one, other)) < ALIKE


def differing(one: Sequence[bool], other: Sequence[bool]) -> tuple[int, int]:
    """How often the first alone agrees, and the second alone."""
    pairs = list(zip(one, other, strict=True))
    return sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)


def sign_test(first: int, second: int) -> float:
    """The exact two-sided p of so many against so many, were both as likely."""
    many, fewer = first + second, min(first, second)
    tail = sum(comb(many, each) for each in range(fewer + 1)) / 2.0**many
    return min(1.0, 2 * tail)


def _below(standings: Sequence[Standing]) -> str:
    if not standings:
        return "–"
    best = max(standings, key=lambda one: one.rank)
    return ", ".join(one.name for one in standings if apart(best.agree, one.agree)) or "none"
