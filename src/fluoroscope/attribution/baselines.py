"""What a picture is compared with: black, a number, its mean, its blur, noise, or other pictures.

A baseline is where, for a method that compares, nothing is to be seen. There is no right one
(Sturmfels, Lundberg, Lee 2020, "Visualizing the impact of feature attribution baselines"): what is
equal to it gets no attribution, a black object on a black baseline for one.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Real
from typing import Any, Union

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.engine.stream import Samples
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import tensor_bytes
from fluoroscope.pictures.gaussian import gaussian
from fluoroscope.words import count as counted

Given = Union[str, float, Tensor, "Baseline"]
"""One of :data:`NAMED`, a number in ``[0, 1]``, a picture ``(C, H, W)``, or a set of pictures
``(M, C, H, W)``; :func:`one_each` makes one that differs for each picture."""

# The blur, in widths of the longer side: ten pixels on a hundred leave colours, and no shapes.
_BLUR = 0.1


def _mean(samples: Samples, numbers: Tensor) -> Tensor:
    images = samples.images
    return images.mean((2, 3), keepdim=True).expand_as(images)


def _blur(samples: Samples, numbers: Tensor) -> Tensor:
    images = samples.images
    wide = images.to(torch.promote_types(images.dtype, torch.float32))
    return gaussian(wide, _BLUR * max(images.shape[2:])).to(images.dtype)


def _noise(samples: Samples, numbers: Tensor) -> Tensor:
    shape = tuple(samples.images.shape[1:])
    return randomness.uniform(samples.keys, numbers, shape).to(samples.images.dtype)


_MADE: dict[str, Callable[[Samples, Tensor], Tensor]] = {
    "black": lambda samples, _: torch.zeros_like(samples.images),
    "white": lambda samples, _: torch.ones_like(samples.images),
    "mean": _mean,
    "blur": _blur,
    "noise": _noise,
}

NAMED = {
    "black": "0 everywhere",
    "white": "1 everywhere",
    "mean": "the picture's own mean in each channel",
    "blur": "the picture under a Gaussian of a tenth of its longer side",
    "noise": "random values, each from 0 to 1, others for each picture",
}
"""The baselines that have a name, and what they are."""


@dataclass(frozen=True, eq=False)
class Baseline:
    """What pictures are compared with; :func:`as_baseline` makes one of what a user gives."""

    kind: str
    """One of :data:`NAMED`, or ``number``, ``picture``, ``set`` or ``one for each picture``."""
    pictures: Tensor | None = None
    """``(M, C, H, W)`` in ``[0, 1]``; of a number ``(1, 1, 1, 1)``."""

    @property
    def count(self) -> int:
        """How many each picture is compared with: of a set, its pictures; of all others 1."""
        return len(self.pictures) if self.is_set and self.pictures is not None else 1

    @property
    def is_set(self) -> bool:
        """Whether it is a set of pictures, each of which every picture is compared with."""
        return self.kind == "set"

    def check(self, images: Tensor) -> None:
        """Refuse to be compared with images ``(N, C, H, W)`` of another shape or number.

        Raises:
            InvalidParameterError: they do not fit.
        """
        given, wanted = self.pictures, tuple(images.shape[1:])
        if given is None or self.kind == "number":
            return
        if given.shape[1:] != wanted:
            raise InvalidParameterError(
                f"baseline holds pictures of shape {tuple(given.shape[1:])}; expected {wanted}, as "
                "the images that are explained"
            )
        if self.kind == "one for each picture" and len(given) != len(images):
            raise InvalidParameterError(
                f"baseline holds {counted(len(given), 'picture')}, one for each; expected "
                f"{len(images)}, as many as images"
            )

    def of(self, samples: Samples, numbers: Tensor | int = 0) -> Tensor:
        """What each sample is compared with, ``(n, C, H, W)``, in the type of its image.

        ``numbers`` ``(n,)``, or one for all, say which: of a set, the picture at that place; of
        noise, the draw. All other kinds have but one.
        """
        images, given = samples.images, self.pictures
        rows = torch.zeros_like(samples.indices) + numbers
        if given is None:
            return _MADE[self.kind](samples, rows)
        if self.kind == "one for each picture":
            rows = samples.indices
        elif not self.is_set:
            rows = torch.zeros_like(rows)
        given = given.to(images.device) if given.device != images.device else given
        return given[rows].to(images.dtype).expand_as(images)

    def describe(self) -> str | float | dict[str, Any]:
        """As plain values: its name, its number, or the shape and content hash of its pictures."""
        if self.pictures is None:
            return self.kind
        if self.kind == "number":
            return float(self.pictures)
        digest = hashlib.sha256(tensor_bytes(self.pictures)).hexdigest()
        return {"kind": self.kind, "shape": list(self.pictures.shape), "sha256": digest}


def as_baseline(given: Given, name: str = "baseline") -> Baseline:
    """The baseline that is meant; a picture and a set are tensors of three and four dimensions.

    Raises:
        InvalidParameterError: none of them, another shape, or values outside ``[0, 1]``.
    """
    if isinstance(given, Baseline):
        return given
    if isinstance(given, str):
        if given in NAMED:
            return Baseline(given)
        near = get_close_matches(given, NAMED, n=1)
        raise InvalidParameterError(
            f"{name} is {given!r}; "
            + (f"did you mean {near[0]}? " if near else "")
            + f"expected {', '.join(NAMED)}, a number in [0, 1], a picture (C, H, W), or a set of "
            "pictures (M, C, H, W)"
        )
    if isinstance(given, Real) and not isinstance(given, bool):
        value = float(given)
        if not 0 <= value <= 1:
            raise InvalidParameterError(f"{name} is {given}; expected a number in [0, 1]")
        return Baseline("number", torch.full((1, 1, 1, 1), value, dtype=torch.double, device="cpu"))
    pictures = _as_pictures(given, name)
    return Baseline("picture" if pictures.shape[0] == 1 else "set", pictures)


def one_each(pictures: Tensor) -> Baseline:
    """A baseline that differs for each picture: ``(N, C, H, W)``, in their order.

    Raises:
        InvalidParameterError: another shape, or values outside ``[0, 1]``.
    """
    found = _as_pictures(pictures, "baseline")
    if pictures.dim() != 4:
        raise InvalidParameterError(
            f"baseline has shape {tuple(pictures.shape)}; expected (N, C, H, W), one each"
        )
    return Baseline("one for each picture", found)


def _as_pictures(given: Any, name: str) -> Tensor:
    """``(M, C, H, W)`` floats in ``[0, 1]``."""
    if not isinstance(given, Tensor):
        raise InvalidParameterError(
            f"{name} is a {type(given).__name__}; expected {', '.join(NAMED)}, a number in [0, 1], "
            "or a tensor: a picture (C, H, W), or a set of pictures (M, C, H, W)"
        )
    shape = tuple(given.shape)
    if given.dim() not in (3, 4) or given.numel() == 0:
        raise InvalidParameterError(
            f"{name} has shape {shape}; expected a picture (C, H, W), or a set of pictures "
            "(M, C, H, W)"
        )
    if not given.is_floating_point():
        raise InvalidParameterError(
            f"{name} holds {str(given.dtype).removeprefix('torch.')}; expected floats in [0, 1]"
        )
    found = given.detach().clone()
    low, high = (bound.item() for bound in torch.aminmax(found))
    if not (low >= 0 and high <= 1):  # NaN fails both comparisons
        said = "NaN" if low != low or high != high else f"values from {low:.6g} to {high:.6g}"
        raise InvalidParameterError(f"{name} holds {said}; expected [0, 1]")
    return found if found.dim() == 4 else found[None]
