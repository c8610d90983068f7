"""Whether a generator gives training pictures back: matched by structure, beside what chance gives.

As in code of the lineage of "TLDR" (2410.16884): of each class the made pictures and the training
pictures are matched one to one so that the structural similarities add up to the most (Hungarian
matching), and a training picture counts as reconstructed from a similarity of .4 on. By itself that
says nothing: pictures of one class are similar. So the same is done with as many test pictures in
place of the training ones, which nobody can have leaked: a generator that only knows the class
matches both alike. And the nearest training picture stands as a ratio to the test set's own: how
far a made picture's nearest training picture is, over how far a test picture's is.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from fluoroscope.engine.intervals import wilson
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.inversion.measures.distances import nearest
from fluoroscope.pictures import html
from fluoroscope.pictures.ssim import ssim_matrix
from fluoroscope.words import percent

RECONSTRUCTED = 0.4
"""A structural similarity from which a picture counts as reconstructed."""


@dataclass(frozen=True)
class Matched:
    """One class: made pictures matched to training pictures, and to as many test pictures."""

    number: int
    """The class."""
    made: int
    real: int
    """Training pictures, and test pictures, that were matched."""
    train_mean: float
    """The mean similarity of matched pairs."""
    test_mean: float
    train_share: float
    """The share of training pictures that a made one reconstructs."""
    test_share: float
    ratio: float | None
    """The median distance from a made picture to the nearest training picture, over the median
    from a test picture to it."""


@dataclass(frozen=True, repr=False)
class Leakage(html.Shown):
    """Of each class, and in all."""

    classes: tuple[Matched, ...]
    labels: tuple[str, ...]
    pairs: int
    """Matched pairs in all, with training pictures and as many with test pictures."""
    train_reconstructed: int
    test_reconstructed: int
    notes: tuple[str, ...] = ()

    @property
    def leaks(self) -> bool:
        """Whether more training pictures are reconstructed than test pictures, beyond chance: the
        95 % intervals do not touch."""
        (train, _), (_, test) = self.intervals
        return train > test

    @property
    def intervals(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """95 % intervals of the shares of training and of test pictures (Wilson 1927)."""
        return (
            wilson(self.train_reconstructed, self.pairs),
            wilson(self.test_reconstructed, self.pairs),
        )

    @property
    def summary(self) -> str:
        """What it comes to."""
        shares = [
            percent(one / self.pairs) for one in (self.train_reconstructed, self.test_reconstructed)
        ]
        verdict = (
            "it gives training pictures back"
            if self.leaks
            else "no more of what it has learnt from than of what it has not"
        )
        return (
            f"{shares[0]} of training pictures are reconstructed (similarity {RECONSTRUCTED} or "
            f"more), {shares[1]} of as many test pictures: {verdict}"
        )

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "summary": self.summary,
            "leaks": self.leaks,
            "pairs": self.pairs,
            "train_reconstructed": self.train_reconstructed,
            "test_reconstructed": self.test_reconstructed,
            "intervals": [list(one) for one in self.intervals],
            "classes": [{"name": self.labels[one.number], **asdict(one)} for one in self.classes],
            "notes": list(self.notes),
        }

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and a row for each class, in words."""
        columns = ["class", "pairs>", "training>", "test>", "similarity>", "to test>", "distance>"]
        rows = [
            [
                self.labels[one.number],
                f"{min(one.made, one.real)}",
                percent(one.train_share),
                percent(one.test_share),
                f"{one.train_mean:.2f}",
                f"{one.test_mean:.2f}",
                "–" if one.ratio is None else f"{one.ratio:.2f}",
            ]
            for one in self.classes
        ]
        return columns, rows

    def _line(self) -> str:
        return self.summary

    def _view(self) -> Iterator[html.Html]:
        columns, rows = self.table()
        yield html.table([one.removesuffix(">") for one in columns], rows)
        yield html.notes(self.notes)


def leakage(
    images: Tensor,
    classes: Tensor,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    labels: tuple[str, ...],
) -> Leakage:
    """Match made pictures ``(N, C, H, W)`` of the classes ``(N,)`` to training and test pictures.

    Both are pairs of pictures ``(M, C, H, W)`` and classes ``(M,)``, in ``[0, 1]``. Of each class
    as many training as test pictures are matched, the first ones. Classes of which one of the three
    holds none are left out, and noted.

    Raises:
        InvalidImagesError: pictures of different sizes.
        InvalidParameterError: no class is in all three.
    """
    for name, (pictures, _) in (("train", train), ("test", test)):
        if pictures.shape[1:] != images.shape[1:]:
            raise InvalidImagesError(
                f"{name} holds pictures {tuple(pictures.shape[1:])} and those made are "
                f"{tuple(images.shape[1:])}; expected one size"
            )
    found: list[Matched] = []
    left: list[str] = []
    pairs = train_hits = test_hits = 0
    for each in classes.unique().tolist():
        made = images[classes == each].double()
        learnt, unseen = (pictures[own == each].double() for pictures, own in (train, test))
        size = min(len(learnt), len(unseen))
        if not size:
            left.append(labels[each])
            continue
        away = nearest(made.flatten(1), learnt.flatten(1))[0][:, 0]
        own = nearest(unseen.flatten(1), learnt.flatten(1))[0][:, 0]
        usual = float(own.quantile(0.5))
        best = [_matched(made, real[:size]) for real in (learnt, unseen)]
        hits = [int((one >= RECONSTRUCTED).sum()) for one in best]
        pairs, train_hits, test_hits = (
            pairs + len(best[0]),
            train_hits + hits[0],
            test_hits + hits[1],
        )
        found.append(
            Matched(
                each, len(made), size,
                float(best[0].mean()), float(best[1].mean()),
                hits[0] / len(best[0]), hits[1] / len(best[1]),
                float(away.quantile(0.5)) / usual if usual > 0 else None,
            )
        )  # fmt: skip
    if not found:
        raise InvalidParameterError(
            "no class has made, training and test pictures; expected the same classes in all three"
        )
    notes = (f"left out, without training or test pictures: {', '.join(left)}",) if left else ()
    return Leakage(tuple(found), tuple(labels), pairs, train_hits, test_hits, notes)


def _matched(made: Tensor, real: Tensor) -> Tensor:
    """The similarities of the pairs of a matching whose sum is the largest."""
    from scipy.optimize import linear_sum_assignment

    alike = ssim_matrix(made, real)
    rows, columns = linear_sum_assignment(alike.numpy(), maximize=True)
    return alike[torch.from_numpy(rows), torch.from_numpy(columns)]
