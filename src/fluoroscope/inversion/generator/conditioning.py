"""What a generator is told: which class to make, as a label, a soft vector, a map, or two of these.

The soft vector is ``v = softmax(n / T)``, ``n ~ N(0, I)``, and its label the largest entry (Suhail
and Sethi 2024, 2407.18002, whose ``T`` is 1). That carries a label among few classes only: the
largest of 10 entries is .32 on average, of 1,000 it is .017, and leads by less than .005. The hot
matrix is a map of ``N × N`` zeros with row and column of the class at 1.

All randomness is hashed from the seed, the class and the sample's number: a sample is the same
alone and among others.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.engine.numbers import above_zero
from fluoroscope.errors import InvalidParameterError

CONDITIONINGS = ("label", "vector", "one-hot", "matrix", "vector-matrix", "embedding")
"""By name; what they are in words is in :mod:`fluoroscope.inversion.names`."""
MOST_OF_A_MATRIX = 32
"""Classes that a hot matrix is made for: it needs a layer of ``N × N`` pixels."""
USUAL_LARGEST = 0.321
"""The mean of the largest entry of ``softmax(N(0, I))`` of ten classes, those of the papers."""
_FEW = 10  # classes up to which a temperature of 1 carries a label
# A mean lead of the largest entry that is hardly one; that of ten classes at 1 is .137.
_FAINT = 0.03
# What is drawn of a key, by number.
DRAW_CODE, DRAW_NOISE, DRAW_DROPOUT = 0, 1, 2


@dataclass(frozen=True)
class Codes:
    """What ``N`` pictures are asked to be."""

    classes: Tensor
    """``(N,)`` int64, the class that each is to be predicted as."""
    asked: Tensor
    """``(N, K)``, the distribution that the network is to give out; rows add up to 1."""

    def __getitem__(self, rows: slice) -> "Codes":
        return Codes(self.classes[rows], self.asked[rows])


@dataclass(frozen=True)
class Conditioning:
    """A way to tell a generator its class, for a network of ``count`` classes."""

    name: str
    count: int
    temperature: float = 1.0
    """Of the soft vector; the others do not depend on it."""

    @property
    def soft(self) -> bool:
        """Whether a code is a soft vector."""
        return self.name.startswith("vector")

    @property
    def map_side(self) -> int | None:
        """The side of the map that goes into the generator, where there is one."""
        return self.count if self.name.endswith("matrix") else None

    def codes(self, classes: Tensor, keys: Tensor, temperature: float | None = None) -> Codes:
        """Codes for the classes ``(N,)`` of the samples with these keys ``(N,)``.

        Of a soft vector the largest entry and that of the class change places: that is how the
        vectors are distributed whose label the class is.
        """
        if not self.soft:
            if temperature is not None:
                raise InvalidParameterError(
                    f"temperature is {temperature}, but the conditioning is {self.name}, which has "
                    "none; expected vector or vector-matrix"
                )
            asked = torch.nn.functional.one_hot(classes, self.count)
            return Codes(classes, asked.float())
        heat = self.temperature if temperature is None else above_zero("temperature", temperature)
        drawn = _vectors(keys, self.count, heat)
        largest = drawn.argmax(1, keepdim=True)
        own = classes[:, None]
        values = drawn.gather(1, largest), drawn.gather(1, own)
        asked = drawn.scatter(1, largest, values[1]).scatter(1, own, values[0])
        return Codes(classes, asked)

    def map(self, classes: Tensor) -> Tensor:
        """``(N, 1, K, K)``: row and column of each class at 1, all else 0."""
        hot = torch.nn.functional.one_hot(classes, self.count).float()
        return torch.maximum(hot[:, :, None], hot[:, None, :])[:, None]


def conditioning(
    name: str, count: int, temperature: float | None = None, confidence: float | None = None
) -> tuple[Conditioning, tuple[str, ...]]:
    """The conditioning of that name for a network of ``count`` classes, and what to say of it.

    Args:
        name: one of `CONDITIONINGS`.
        count: of the network's classes.
        temperature: of the soft vector; by default 1 up to ten classes, and beyond these one at
            which the largest entry is as large as of ten.
        confidence: in its place what the largest entry is to be, on average.

    Raises:
        InvalidParameterError: no such conditioning, a matrix of too many classes, or a temperature
            or confidence out of range, both, or for a conditioning that has none.
    """
    if name not in CONDITIONINGS:
        raise InvalidParameterError(
            f"conditioning is {name!r}; expected one of {', '.join(CONDITIONINGS)}"
        )
    if count < 2:
        raise InvalidParameterError(
            f"the network has {count} class; expected 2 or more to tell apart"
        )
    if name.endswith("matrix") and count > MOST_OF_A_MATRIX:
        raise InvalidParameterError(
            f"conditioning is {name!r}, and the network has {count:,} classes; expected at most "
            f"{MOST_OF_A_MATRIX}, for it needs a layer of {count} × {count} pixels: give "
            "conditioning='embedding'"
        )
    asked = {"temperature": temperature, "confidence": confidence}
    given = [(one, value) for one, value in asked.items() if value is not None]
    if not name.startswith("vector"):
        if given:
            raise InvalidParameterError(
                f"{given[0][0]} is {given[0][1]}, but conditioning {name!r} has none; expected "
                "conditioning='vector' or 'vector-matrix' beside it"
            )
        return Conditioning(name, count), ()
    if len(given) > 1:
        raise InvalidParameterError(
            f"temperature is {temperature} and confidence {confidence}; expected one of the two"
        )
    if confidence is not None:
        if not 1 / count < confidence < 1:
            raise InvalidParameterError(
                f"confidence is {confidence}; expected a share between {1 / count:.3g}, that of a "
                f"guess among {count} classes, and 1"
            )
        return Conditioning(name, count, heat_for(count, float(confidence))), ()
    if temperature is not None:
        made = Conditioning(name, count, above_zero("temperature", temperature))
        lead = mean_lead(count, made.temperature)
        faint = (
            f"codes at temperature {made.temperature:g} hardly carry a label: the largest of "
            f"{count:,} entries leads by {lead:.2g} on average"
        )
        return made, (faint,) if lead < _FAINT else ()
    if count <= _FEW:
        return Conditioning(name, count), ()
    made = Conditioning(name, count, heat_for(count, USUAL_LARGEST))
    said = (
        f"the temperature of the codes was set to {made.temperature:.3g}, at which the largest of "
        f"{count:,} entries is {USUAL_LARGEST:.2f} on average, as of ten classes at 1: at 1 it "
        f"would be {mean_largest(count, 1.0):.2g} here, which hardly carries a label"
    )
    return made, (said,)


def sample_keys(seed: int, classes: Tensor, numbers: Tensor) -> Tensor:
    """``(N,)``: what is hashed for the samples of these classes and numbers, each ``(N,)``."""
    return randomness.keys(seed, numbers, classes)


@lru_cache(maxsize=64)
def mean_largest(count: int, temperature: float) -> float:
    """The mean of the largest entry of codes of so many classes, over a thousand of them."""
    return _largest(_normals(count), temperature)


def mean_lead(count: int, temperature: float) -> float:
    """By how much the largest entry is above the second, on average over a thousand codes."""
    two = (_normals(count) / temperature).softmax(1).topk(2, dim=1).values
    return float((two[:, 0] - two[:, 1]).mean())


@lru_cache(maxsize=64)
def heat_for(count: int, confidence: float) -> float:
    """The temperature at which the largest entry is ``confidence`` on average."""
    drawn = _normals(count)
    low, high = -12.0, 12.0  # of its logarithm; the hotter, the smaller is the largest entry
    for _ in range(50):
        middle = (low + high) / 2
        if _largest(drawn, math.exp(middle)) > confidence:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def _normals(count: int) -> Tensor:
    keys = randomness.keys(0, torch.arange(1000, device="cpu"))
    return randomness.normal(keys, DRAW_CODE, (count,)).double()


def _largest(drawn: Tensor, temperature: float) -> float:
    return float((drawn / temperature).softmax(1).amax(1).mean())


def _vectors(keys: Tensor, count: int, temperature: float) -> Tensor:
    drawn = randomness.normal(keys, DRAW_CODE, (count,))
    return (drawn / temperature).softmax(1)
