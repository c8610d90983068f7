"""The two-alternative test without people: do these pictures tell what excites a class?

Borowski et al. 2021 (2010.12606) show people pictures made for a unit and ask which of two real
pictures excites it more; Zimmermann et al. 2024 let a similarity of pictures decide. Here: of two
real pictures, one of those that excite the class most and one of those that do not, that one is
chosen which is more like the references, by the mean cosine of features of the second network
about the mean of real pictures. The same with real pictures as references says what is to be had.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fluoroscope.engine import randomness

# Real pictures that excite a class most, of which references and strong ones are drawn: a tenth.
_STRONG = 0.1
# Of the others the half that excites it least.
_WEAK = 0.5
REFERENCES = 9
"""References of a class: as many as people were shown."""
PAIRS = 20
"""Pairs of a class at most."""


@dataclass(frozen=True)
class Choices:
    """Whether each choice was right: pairs of all classes, with the class of each."""

    made: Tensor
    """``(P,)``, with made pictures as references; one half where both are equally like."""
    natural: Tensor
    noise: Tensor
    classes: Tensor


@dataclass(frozen=True)
class Shown:
    """References: their features ``(N, D)`` and the class of each ``(N,)``."""

    features: Tensor
    classes: Tensor


def two_alternatives(
    made: Shown, noise: Shown, real: Tensor, logits: Tensor, *, seed: int = 0
) -> Choices | None:
    """Choices between real pictures of features ``(M, D)`` and logits ``(M, K)``.

    Natural references are of the strongest pictures, and none of them is asked about. ``None``
    where there are too few real pictures.
    """
    middle = real.double().mean(0)
    pool = _unit(real.double() - middle)
    found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for each in made.classes.unique().tolist():
        order = logits[:, each].argsort(descending=True, stable=True)
        strong = order[: max(2, round(_STRONG * len(order)))]
        weak = order[len(order) - int(_WEAK * len(order)) :]
        shown = int(min(REFERENCES, (made.classes == each).sum(), len(strong) // 2))
        if shown < 1 or not len(weak):
            continue
        key = randomness.keys(seed, torch.tensor([each], device="cpu"), 78)
        mixed = strong[randomness.uniform(key, 0, (len(strong),))[0].argsort()]
        exemplars, asked = mixed[:shown], mixed[shown:][:PAIRS]
        against = weak[randomness.integers(key, 1, len(weak), len(asked))[0]]
        by = [
            _right(_mean(each, shown, middle, one), pool[asked], pool[against])
            for one in (made, noise)
        ]
        natural = _right(pool[exemplars].mean(0), pool[asked], pool[against])
        found.append((by[0], natural, by[1], torch.full_like(asked, each)))
    if not found:
        return None
    return Choices(*(torch.cat(column) for column in zip(*found, strict=True)))


def _mean(of_class: int, shown: int, middle: Tensor, references: Shown) -> Tensor:
    rows = references.features[references.classes == of_class][:shown]
    return _unit(rows.double() - middle).mean(0)


def _right(reference: Tensor, strong: Tensor, weak: Tensor) -> Tensor:
    difference = (strong - weak) @ reference
    return (difference.sign() + 1) / 2


def _unit(rows: Tensor) -> Tensor:
    lengths: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / lengths.clamp(min=1e-300)
