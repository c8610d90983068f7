"""Rotations and translations: the worst of a grid of them, or of a few drawn at random.

Engstrom, Tran, Tsipras, Schmidt, Madry (2019): a picture is turned by up to 30 degrees about its
centre and moved by up to a tenth of its sides, ``x'(p) = x(R^-1 (p - c - t) + c)``, with bilinear
sampling and black beyond the picture. A grid of 31 angles and 5 x 5 moves finds far more than
steps along the gradient do; the worst of 10 random ones is nearly as strong.

Where this differs: a move of up to 3/28 of a side, in whole pixels, is at once the paper's 3 pixels
at 28 and at 32 and its 24 at 224. The grid is gone through from its largest changes to the smallest
(relative to the bounds), since the search ends at the first success; ``keep="best"`` asks for all
of the grid and keeps what the network is most wrong about, as the paper does. Only that ranking
reads more of the network than the winning class.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.attack import Access, Method
from fluoroscope.attacks.spatial.warping import places, sample, turned
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import LOG_PROBABILITY
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.threats import Threat, Unbounded
from fluoroscope.errors import InvalidParameterError


@dataclass(frozen=True)
class RotationTranslationState:
    """Where ``n`` searches are."""

    original: Tensor
    """``(n, C, H, W)``"""
    number: Tensor
    """``(n,)``, which of the changes comes next."""
    classes: Tensor
    """``(n,)``"""
    towards: Tensor
    """``(n,)``, 1 where the class is wanted, -1 where it is to be left."""
    keys: Tensor
    """``(n,)``, what random changes are drawn from."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class RotationTranslation(Method):
    """Turn by up to ``rotation`` degrees and move by up to a share ``translation`` of each side.

    ``angles`` (31) and ``moves`` (5 along each axis) make the grid; with ``random``, so many draws
    take its place.
    """

    threat: Threat = field(default_factory=Unbounded)
    rotation: float = 30.0
    translation: float = 3 / 28
    angles: int | None = None
    moves: int | None = None
    random: int | None = None

    paper: ClassVar[str] = "Engstrom, Tran, Tsipras, Schmidt, Madry 2019 (1712.02779)"
    access: ClassVar[Access] = "score"
    norms: ClassVar[tuple[str, ...]] = ("none",)
    cost: ClassVar[str] = "1 forward"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(0, "rotation", high=180)
        self._expect(0, "translation", high=1)
        given = [name for name in ("angles", "moves", "random") if getattr(self, name) is not None]
        self._expect(1, *given)
        if self.random is not None and len(given) > 1:
            raise InvalidParameterError(
                f"{given[0]} is {getattr(self, given[0])} and random is {self.random}; expected a "
                "grid (angles, moves) or random draws, not both"
            )

    def start(self, samples: Samples) -> RotationTranslationState:
        """Before the first change."""
        count = torch.zeros_like(samples.classes)
        return RotationTranslationState(
            samples.images, count, samples.classes, samples.towards, samples.keys, count > 0
        )

    def ask(self, state: RotationTranslationState) -> Query:
        """The next change of each."""
        shares = self._shares(state).to(state.original.dtype)
        sides = torch.tensor(state.original.shape[2:], device=shares.device)
        reach = torch.round(self.translation * sides)
        moved = rotate_and_move(
            state.original, shares[:, 0] * self.rotation, shares[:, 1:] * reach.to(shares.dtype)
        )
        images = self.threat.project(moved, state.original)
        return Query(images, False, LOG_PROBABILITY.towards(state.towards), state.classes)

    def tell(self, state: RotationTranslationState, answer: Answer) -> RotationTranslationState:
        """On to the next."""
        number = state.number + 1
        return replace(state, number=number, done=number >= self._count)

    @property
    def _count(self) -> int:
        return self.random if self.random is not None else len(_grid(self.angles, self.moves))

    def _shares(self, state: RotationTranslationState) -> Tensor:
        """Angle, rows and columns of the next change as shares of their bounds, ``(n, 3)``."""
        if self.random is not None:
            return 2 * randomness.uniform(state.keys, state.number, (3,)) - 1
        return _grid(self.angles, self.moves).to(state.number.device)[state.number]


def rotate_and_move(images: Tensor, degrees: Tensor, pixels: Tensor) -> Tensor:
    """Images ``(n, C, H, W)``, turned counter-clockwise about the centre and then moved.

    ``degrees`` is ``(n,)``, ``pixels`` (down, right) ``(n, 2)``; black comes in from outside.
    """
    at = places(images)
    centre = (at.amax((1, 2)) / 2).view(1, 2, 1, 1)
    return sample(images, centre + turned(at - centre - pixels[:, :, None, None], degrees), "zeros")


@lru_cache(maxsize=16)
def _grid(angles: int | None, moves: int | None) -> Tensor:
    """Shares of the bounds ``(G, 3)``, the largest changes first."""
    turns, shifts = _even(31 if angles is None else angles), _even(5 if moves is None else moves)
    grid = torch.stack(torch.meshgrid(turns, shifts, shifts, indexing="ij"), -1).view(-1, 3)
    return grid[grid.square().sum(1).sort(descending=True, stable=True).indices]


def _even(count: int) -> Tensor:
    """So many shares from -1 to 1; one alone is 0."""
    return (2 * torch.arange(count, dtype=torch.float32, device="cpu") - (count - 1)) / max(
        count - 1, 1
    )
