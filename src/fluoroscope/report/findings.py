"""What a report has found: values that its sections write about."""

from dataclasses import dataclass
from math import inf
from typing import Any

from torch import Tensor

from fluoroscope.engine.intervals import wilson


@dataclass(frozen=True)
class Reading:
    """How the network reads ``N`` clean pictures."""

    labels: Tensor
    """``(N,)``, the true classes as the network numbers them."""
    winners: Tensor
    """``(N,)``, the classes that it names."""
    confidence: Tensor
    """``(N,)``, the probability of the winner."""
    rank: Tensor
    """``(N,)``, how many classes come before the true one; 0 where it is right."""
    digest: Tensor
    """``(32,)``, the SHA-256 of pictures and labels."""

    @property
    def sha256(self) -> str:
        """Of pictures and labels, in their order here."""
        return bytes(self.digest.tolist()).hex()

    @property
    def right(self) -> Tensor:
        """``(N,)`` booleans."""
        return self.winners == self.labels


@dataclass(frozen=True)
class EightBits:
    """The pictures that were fooled in floating point, attacked again in 8 bits."""

    fooled: int
    """In floating point."""
    searched: int
    """Of these, attacked again."""
    again: int
    """Of these, fooled in 8 bits too."""
    robust: int
    """Pictures that are robust in 8 bits, if all were attacked again."""
    count: int
    """Pictures of the verdict."""

    @property
    def whole(self) -> bool:
        """Whether all were attacked again."""
        return self.searched == self.fooled

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        share = self.robust / self.count if self.whole and self.count else None
        return {
            "fooled": self.fooled,
            "searched": self.searched,
            "fooled_in_8_bits": self.again,
            "robust_accuracy": share,
            "robust_interval": None if share is None else list(wilson(self.robust, self.count)),
        }


@dataclass(frozen=True)
class Closest:
    """The smallest change found of each of ``N`` pictures that are classified correctly."""

    indices: Tensor
    """``(N,)``, in the data set."""
    labels: Tensor
    """``(N,)``."""
    distances: Tensor
    """``(N,)``, infinite where none was found."""
    became: Tensor
    """``(N,)``, the class it was predicted as; the label where none was found."""
    stages: tuple[str, ...]
    """``(N,)``, the attack that found it."""

    def ranked(self) -> list[int]:
        """Rows of pictures that were led to another class, the nearest first."""
        order = self.distances.argsort(stable=True)
        return [row for row in order.tolist() if self.distances[row] < inf]

    def median(self) -> float:
        """The change that half of the pictures are fooled by; infinite if fewer ever are."""
        if not len(self.distances):
            return inf
        return float(self.distances.sort().values[(len(self.distances) - 1) // 2])


@dataclass(frozen=True)
class Flipped:
    """A picture that was led to another class."""

    index: int
    label: int
    became: int
    confidence: float
    """Probability of the new class."""
    distance: float
    before: Tensor
    """``(C, H, W)``."""
    after: Tensor
