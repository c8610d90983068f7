"""A window that slides over the picture and hides what is under it.

Zeiler, Fergus 2014 (1311.2901), section 4.2: how much the class falls while a patch is hidden. A
pixel's number is the mean drop over all windows that cover it.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fluoroscope.attribution.masks.masked import Hidings, Masked
from fluoroscope.engine.numbers import whole_number
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier

Sides = int | tuple[int, int]
"""A side of a square, or height and width."""


@dataclass(frozen=True, kw_only=True)
class Occlusion(Masked):
    """The mean drop of the class over the windows that cover a pixel.

    Args:
        window: its side or (height, width) in pixels; by default an eighth of each side.
        stride: pixels from one to the next; by default half a window. The last windows end at the
            border, so that each is whole and every pixel is covered.
        baseline: what is seen in the window; see :mod:`fluoroscope.attribution.baselines`.
    """

    window: Sides | None = None
    stride: Sides | None = None

    name: ClassVar[str] = "occlusion"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("window", "stride"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _as_sides(name, value))

    def network(self, model: Classifier, images: Tensor, seed: int) -> Classifier:
        """The network itself; the window has to fit the images."""
        height, width = images.shape[2:]
        for side, over in zip(_both(self.window, (1, 1)), (height, width), strict=True):
            if side > over:
                raise InvalidParameterError(
                    f"window is {self.window}; expected no more than the images' {height} × "
                    f"{width} pixels"
                )
        for _, window, stride in self._axes(height, width):
            if stride > window:
                raise InvalidParameterError(
                    f"stride is {self.stride} and the window {window}: it would skip pixels; "
                    "expected a stride no longer than the window"
                )
        return super().network(model, images, seed)

    def _axes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Of both axes the side of the picture, of the window, and the stride."""
        sides = (height, width)
        windows = _both(self.window, tuple(max(1, round(side / 8)) for side in sides))
        strides = _both(self.stride, tuple(max(1, window // 2) for window in windows))
        return list(zip(sides, windows, strides, strict=True))

    def _places(self, like: Tensor) -> list[Tensor]:
        """Of both axes where windows begin."""
        return [
            torch.tensor(_begins(*axis), device=like.device) for axis in self._axes(*like.shape[2:])
        ]

    def count(self, state: Hidings) -> Tensor:
        """All places down times all across."""
        down, across = self._places(state.base)
        return torch.full_like(state.number, len(down) * len(across))

    def hidden(self, state: Hidings, owners: Tensor, numbers: Tensor) -> Tensor:
        """The pixels of each window."""
        down, across = self._places(state.base)
        begins = (down[numbers // len(across)], across[numbers % len(across)])
        height, width = (
            _within(begin, window, side)
            for begin, (side, window, _) in zip(
                begins, self._axes(*state.base.shape[2:]), strict=True
            )
        )
        return (height[:, None, :, None] & width[:, None, None, :]).to(state.base.dtype)


def _within(begins: Tensor, window: int, side: int) -> Tensor:
    """``(m, side)`` booleans: the pixels of a row from each begin ``(m,)`` on."""
    past = torch.arange(side, device=begins.device) - begins[:, None]
    return (past >= 0) & (past < window)


def _begins(side: int, window: int, stride: int) -> list[int]:
    last = side - window
    begins = list(range(0, last + 1, stride))
    return begins if begins[-1] == last else [*begins, last]


def _both(given: Sides | None, default: tuple[int, ...]) -> tuple[int, ...]:
    if given is None:
        return default
    return given if isinstance(given, tuple) else (given, given)


def _as_sides(name: str, value: Any) -> Sides:
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise InvalidParameterError(
                f"{name} is {value!r}; expected a whole number of pixels, or (height, width)"
            )
        return whole_number(name, value[0]), whole_number(name, value[1])
    return whole_number(name, value)
