"""Parts of a picture, hidden one after the other.

A pixel's number is how much the class falls while its part is hidden; the parts are superpixels, or
given. It is occlusion along the edges of what is seen.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from fluoroscope.attribution.masks.masked import Hidings, Masked
from fluoroscope.attribution.masks.segments import superpixels
from fluoroscope.attribution.method import spread
from fluoroscope.engine.numbers import whole_number
from fluoroscope.engine.stream import Samples
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier

Segments = Tensor | NDArray[Any]
"""The number of the part of each pixel, ``(H, W)`` for all pictures or ``(N, H, W)``."""


@dataclass(frozen=True)
class Parted(Hidings):
    """What is known of pictures in parts."""

    parts: Tensor
    """``(n, H, W)``, the part that each pixel belongs to, from 0."""


@dataclass(frozen=True, kw_only=True)
class FeatureAblation(Masked):
    """The drop of the class while a pixel's part is hidden.

    Args:
        segments: whole numbers ``(H, W)`` for all pictures or ``(N, H, W)``, one number for each
            part; by default superpixels.
        parts: about how many superpixels.
        baseline: what is seen in place of the part; see :mod:`fluoroscope.attribution.baselines`.
    """

    segments: Segments | None = None
    parts: int = 50

    name: ClassVar[str] = "feature-ablation"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "parts", whole_number("parts", self.parts))
        if self.segments is not None:
            object.__setattr__(self, "segments", _as_segments(self.segments))

    def network(self, model: Classifier, images: Tensor, seed: int) -> Classifier:
        """The network itself; the segments have to fit the images."""
        given, (count, _, height, width) = self.segments, images.shape
        if given is not None and tuple(given.shape) not in (
            (1, height, width),
            (count, height, width),
        ):
            raise InvalidParameterError(
                f"segments have shape {tuple(given.shape)}; expected ({height}, {width}), or "
                f"({count}, {height}, {width}): one number for each pixel"
            )
        return super().network(model, images, seed)

    def start(self, samples: Samples) -> Parted:
        """The pictures in parts."""
        hidings = super().start(samples)
        known = {field.name: getattr(hidings, field.name) for field in fields(hidings)}
        return Parted(**known, parts=self._parts(samples).to(samples.indices))

    def _parts(self, samples: Samples) -> Tensor:
        if self.segments is None:
            return superpixels(samples.images, self.parts)
        assert isinstance(self.segments, Tensor)
        rows = samples.indices.to(self.segments.device)
        chosen = self.segments[rows if len(self.segments) > 1 else torch.zeros_like(rows)]
        return torch.stack([each.unique(return_inverse=True)[1] for each in chosen])

    def count(self, state: Parted) -> Tensor:
        """As many as the picture has."""
        return state.parts.flatten(1).amax(1) + 1

    def hidden(self, state: Parted, owners: Tensor, numbers: Tensor) -> Tensor:
        """One part."""
        return (spread(state.parts, owners) == numbers.view(-1, 1, 1))[:, None].to(state.base.dtype)


def _as_segments(given: Any) -> Tensor:
    """``(1 or N, H, W)`` int64."""
    try:
        found = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidParameterError(
            f"segments are a {type(given).__name__}; expected whole numbers (H, W) or (N, H, W)"
        ) from error
    if found.dim() not in (2, 3) or found.numel() == 0:
        raise InvalidParameterError(
            f"segments have shape {tuple(found.shape)}; expected (H, W) or (N, H, W)"
        )
    if found.is_complex() or bool((found != found.long()).any()):
        raise InvalidParameterError("segments hold other than whole numbers; expected one a part")
    return found.detach().long().view(-1, *found.shape[-2:]).clone()
