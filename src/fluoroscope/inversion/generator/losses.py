"""What a generator lowers, term by term (Suhail and Sethi 2024, 2407.18002 and 2411.17777).

``KL(v || f)``, the cross-entropy of the label, the cosine between features, the Gram matrix's
distance from the identity; and, toward the data (2410.16884), total variation and the first two
on pictures with noise. The divergence is taken of log-probabilities once: a second softmax, as in
two published programs, puts a floor of ``-ln(e / (e + N - 1))`` under it, 1.461 for ten classes.

The network's pass gives one column for each term, in a form to be raised: ``-weight * loss / N``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fluoroscope.engine.inside import Inside, Place, Seen
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.generator.conditioning import Codes
from fluoroscope.inversion.generator.features import as_rows
from fluoroscope.words import listed


@dataclass(frozen=True)
class Weights:
    """Of each term; 0 leaves it out."""

    kl: float = 1.0
    """``KL(code || softmax(logits))``."""
    cross_entropy: float = 1.0
    """Of the label."""
    cosine: float = 1.0
    """The mean cosine between the features of different pictures, or of those of a class."""
    orthogonality: float = 0.1
    """The mean squared distance of the features' Gram matrix from the identity."""
    gradient_penalty: float = 0.0
    """The length of the cross-entropy's gradient at the weights of the last linear layer."""
    total_variation: float = 0.0
    """The mean absolute difference of neighbouring pixels."""
    magnitude: float = 0.0
    """The mean absolute distance of pixels from those that the network's preprocessing makes 0."""
    noisy_kl: float = 0.0
    """The divergence on pictures with noise."""
    noisy_cross_entropy: float = 0.0
    """The cross-entropy on pictures with noise."""

    def __post_init__(self) -> None:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in values.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value < math.inf:
                raise InvalidParameterError(
                    f"{name} is {value!r}; expected a weight of 0 or more, 0 to leave it out"
                )
        asking = ("kl", "cross_entropy", "noisy_kl", "noisy_cross_entropy")
        if not any(values[name] for name in asking):
            raise InvalidParameterError(
                f"the weights {listed(asking)} are all 0; expected one above 0, or nothing asks "
                "for the classes"
            )

    def given(self, names: tuple[str, ...]) -> dict[str, float]:
        """The weights of these names that are not 0."""
        found = {name: float(getattr(self, name)) for name in names}
        return {name: weight for name, weight in found.items() if weight}


OF_NETWORK = ("kl", "cross_entropy", "cosine", "orthogonality", "gradient_penalty")
"""The terms that one pass through the network gives."""
OF_NOISE = ("noisy_kl", "noisy_cross_entropy")
"""Those of a pass on pictures with noise."""
OF_PICTURES = ("total_variation", "magnitude")
"""Those of the pictures alone."""
TERMS = (*OF_NETWORK, *OF_PICTURES, *OF_NOISE)


@dataclass(frozen=True)
class How:
    """Which form of a term is taken."""

    absolute: bool = False
    """The mean absolute cosine of all pairs, each with itself too, as in the lab's program and
    whatever ``within`` says; else the signed mean over ``N (N - 1)`` pairs."""
    within: bool = False
    """The cosine between pictures of the same class alone."""
    normalised: bool = True
    """The Gram matrix of features of length 1; else as they are, as in the lab's program."""
    smoothing: float = 0.0
    """Of the labels in the cross-entropy."""


class Given(NamedTuple):
    """What is known of a batch without the network."""

    codes: Codes
    log_probabilities: bool
    """Whether what a network answers are to be taken as log-probabilities."""


def divergence(asked: Tensor, logs: Tensor) -> Tensor:
    """``KL(asked || exp(logs))`` of each row ``(N, K)``, in nats, ``(N,)``; 0 log 0 is 0."""
    asked = asked.to(logs.dtype)
    products = torch.where(asked > 0, asked * logs, torch.zeros_like(logs))
    return torch.xlogy(asked, asked).sum(1) - products.sum(1)


def cross_entropy(classes: Tensor, logs: Tensor, smoothing: float = 0.0) -> Tensor:
    """Of labels ``(N,)`` and log-probabilities ``(N, K)``, ``(N,)``."""
    own = -logs.gather(1, classes[:, None])[:, 0]
    return own if not smoothing else (1 - smoothing) * own - smoothing * logs.mean(1)


def cosines(features: Tensor, classes: Tensor, how: How) -> Tensor:
    """For each picture ``(N,)`` its mean cosine with the others, of features ``(N, D)``."""
    units = F.normalize(features, dim=1)
    every = units @ units.T
    if how.absolute:
        return every.abs().mean(1)
    pairs = ~torch.eye(len(units), dtype=torch.bool, device=units.device)
    if how.within:
        pairs = pairs & (classes[:, None] == classes)
    pairs_of_each = pairs.to(every.dtype)
    if not how.within:
        return (every * pairs_of_each).sum(1) / max(1, len(units) - 1)
    # The mean over all such pairs, as the mean over all rows of these.
    return (every * pairs_of_each).sum(1) * len(units) / pairs_of_each.sum().clamp(min=1)


def orthogonality(features: Tensor, how: How) -> Tensor:
    """For each picture ``(N,)`` its row's mean of ``(F Fᵀ - I)²``, of features ``(N, D)``."""
    rows = F.normalize(features, dim=1) if how.normalised else features
    gram = rows @ rows.T
    apart: Tensor = gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return apart.square().mean(1)


def slope_of_last_layer(features: Tensor, classes: Tensor, logs: Tensor) -> Tensor:
    """The length of ``∂CE/∂(W, b)`` of each picture ``(N,)``, of a last layer ``W features + b``.

    ``∂CE/∂W = (p - y) φᵀ``, so it is ``|p - y| sqrt(|φ|² + 1)``: no pass of second order is needed.
    """
    off = logs.exp() - F.one_hot(classes, logs.shape[1])
    length: Tensor = torch.linalg.vector_norm(off, dim=1)
    return length * (features.square().sum(1) + 1).sqrt()


def magnitude(pictures: Tensor, mean: Sequence[float] | None) -> Tensor:
    """Mean absolute distance of each picture ``(N, C, H, W)`` from the network's 0, ``(N,)``.

    The 0 of a network that takes ``(x - mean) / std`` is the ``mean``, and black of one that takes
    pixels as they are. As the decay of weights: what says nothing to the network is to be nothing.
    """
    zero = torch.as_tensor(mean or (0.0,), dtype=pictures.dtype, device=pictures.device)
    return (pictures - zero.view(-1, 1, 1)).abs().flatten(1).mean(1)


def rows_of(
    logits: Tensor,
    features: list[Tensor],
    last: Tensor | None,
    given: Given,
    names: tuple[str, ...],
    how: How,
) -> dict[str, Tensor]:
    """The terms of a batch, ``(N,)`` each.

    Args:
        logits: ``(N, K)``, or more columns whose first are those.
        features: ``(N, ...)`` of each feature layer, whose terms are averaged.
        last: ``(N, D)``, what the last linear layer is given, where it is asked for.
        given: the codes.
        names: of the terms.
        how: their forms.
    """
    codes = given.codes
    said = logits[:, : codes.asked.shape[1]]
    logs = said if given.log_probabilities else said.log_softmax(1)
    rows = [as_rows(one) for one in features]

    def mean(values: list[Tensor]) -> Tensor:
        return torch.stack([one.to(logs.dtype) for one in values]).mean(0)

    made: dict[str, Tensor] = {}
    for name in names:
        match name:
            case "kl" | "noisy_kl":
                made[name] = divergence(codes.asked, logs)
            case "cross_entropy" | "noisy_cross_entropy":
                made[name] = cross_entropy(codes.classes, logs, how.smoothing)
            case "cosine":
                made[name] = mean([cosines(one, codes.classes, how) for one in rows])
            case "orthogonality":
                made[name] = mean([orthogonality(one, how) for one in rows])
            case "gradient_penalty":
                assert last is not None
                made[name] = slope_of_last_layer(last.to(logs.dtype), codes.classes, logs)
    return made


@dataclass(frozen=True)
class Batch:
    """What the network made of a whole batch, where it goes through in pieces."""

    logits: Tensor
    outputs: dict[Place, Tensor]


def inside(
    weights: dict[str, float],
    places: tuple[Place, ...],
    last: Place | None,
    given: Given,
    how: How,
    whole: Batch | None = None,
    start: int = 0,
) -> Inside:
    """The terms of a batch as what :func:`~fluoroscope.engine.evaluate.evaluate` raises.

    Each column is ``-weight * loss / N`` of each picture. Of a piece of a ``whole`` batch, which
    begins with picture ``start``, each is its share of the whole batch's sum: the gradient at the
    pictures of the piece is then that of the whole batch, for what the others make is known.
    """
    read = tuple(dict.fromkeys([*places, *([] if last is None else [last])]))
    names = tuple(weights)

    def columns(seen: Seen) -> Tensor:
        logits, outputs = seen.logits, dict(seen.outputs)
        many = len(logits)
        if whole is not None:
            logits = _put(whole.logits, start, logits)
            outputs = {at: _put(whole.outputs[at], start, outputs[at]) for at in read}
        features = [outputs[at] for at in places]
        inputs = None if last is None else as_rows(outputs[last])
        made = rows_of(logits, features, inputs, given, names, how)
        found = torch.stack([-weights[name] * made[name] for name in names], 1) / len(logits)
        return found if whole is None else found.sum(0).expand(many, -1) / many

    return Inside("inversion", read, columns)


def _put(whole: Tensor, start: int, piece: Tensor) -> Tensor:
    """The whole batch with a piece of it in the graph."""
    return torch.cat([whole[:start], piece, whole[start + len(piece) :]])
