"""How a portrait is shown to the network: moved, turned, cut and blurred a little, anew each step.

Each view's own parameters are hashed from the portrait's key, its step and the number of the copy,
so that a portrait is the same alone, in a batch, and after it was put down. Lengths are shares of
the picture's side, so that the same settings serve pictures of 28 pixels and of 512.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fluoroscope.errors import InvalidParameterError
from fluoroscope.hashing import mix
from fluoroscope.inversion.portraits import noise, resampling
from fluoroscope.inversion.portraits.distributions import Distribution, Uniform, draw_all
from fluoroscope.inversion.portraits.resampling import OUTSIDE, Outside

# What a view draws its numbers by; those that come several times count on from here.
_SCALE, _ROTATE, _SIDE, _CENTRE, _FLIP, _BLUR, _MEAN, _SPREAD = range(8)
_JITTER, _TINT, _NOISE = 100, 200, 300


@dataclass(frozen=True)
class Crop:
    """A part of the picture, which fills the view; its centre is moved so that it lies inside.

    Args:
        side: of the part, as a share of the picture's; cut off at 1.
        centre: in each direction, as a share of the side; by default anywhere.
    """

    side: Distribution
    centre: Distribution | None = None


@dataclass(frozen=True)
class Colour:
    """Another light: ``(view - mean) / exp(spread)``, in each channel by numbers of its own."""

    mean: Distribution
    spread: Distribution


@dataclass(frozen=True)
class Transformations:
    """What is done to each view, in this order; the default shows the portrait as it is.

    Args:
        copies: views of a portrait at each step, whose gradients are averaged.
        padding: how much more is seen on each side, as a share of it; negative for less.
        jitter: moves in each direction, as shares of the side, each to whole pixels and added.
        crop: a part fills the view.
        scale: factors of the size at which the picture is seen.
        rotate: degrees, against the clock.
        flip: how often left and right are exchanged.
        outside: what lies beyond the picture: a number, ``"edge"``, the last pixel on and on, or
            ``"wrap"``, where what leaves on one side comes in on the other.
        blur: standard deviations of a Gaussian, in pixels of the view.
        tint: numbers added to each channel.
        colour: another light.
        noise: numbers added to each pixel.
        clip: cut off what is not in ``[0, 1]`` then.

    Raises:
        InvalidParameterError: a number that is none of these.
    """

    copies: int = 1
    padding: float = 0.0
    jitter: tuple[Distribution, ...] = ()
    crop: Crop | None = None
    scale: Distribution | None = None
    rotate: Distribution | None = None
    flip: float = 0.0
    outside: Outside = 0.5
    blur: Distribution | None = None
    tint: tuple[Distribution, ...] = ()
    colour: Colour | None = None
    noise: tuple[Distribution, ...] = ()
    clip: bool = False

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise InvalidParameterError(f"copies is {self.copies}; expected 1 or more views")
        if self.padding <= -0.5:
            raise InvalidParameterError(
                f"padding is {self.padding}; expected more than -0.5, where nothing is seen"
            )
        if not 0 <= self.flip <= 1:
            raise InvalidParameterError(f"flip is {self.flip}; expected a share of the views")
        if isinstance(self.outside, str) and self.outside not in OUTSIDE:
            raise InvalidParameterError(
                f"outside is {self.outside!r}; expected a number or one of {', '.join(OUTSIDE)}"
            )

    def views(
        self,
        pictures: Tensor,
        keys: Tensor,
        numbers: Tensor,
        share: Tensor,
        size: tuple[int, int],
        *,
        first: Tensor | None = None,
        count: int | None = None,
    ) -> Tensor:
        """Views ``(n * copies, C, *size)`` of pictures ``(n, C, H, W)``, differentiable in these.

        The copies of a picture follow each other. ``keys`` ``(n,)`` are what its random numbers are
        hashed from, ``numbers`` ``(n,)`` its step, ``share`` ``(n,)`` how much of its steps lies
        behind, from 0 to 1. With a ``count`` there are only so many of its copies, from its
        ``first`` ``(n,)`` on.
        """
        copies = self.copies if count is None else count
        if self.none:
            views = pictures if copies == 1 else pictures.repeat_interleave(copies, 0)
            views = resampling.resized(views, size)
            return views.clamp(0, 1) if self.clip else views
        begin = torch.zeros_like(keys) if first is None else first
        copy = begin[:, None] + torch.arange(1, copies + 1, device=keys.device)
        own = mix(mix(keys ^ mix(numbers + 1))[:, None] ^ mix(copy)).flatten()
        share = share.repeat_interleave(copies)
        views = self._moved(pictures, copies, own, share, size)
        if self.blur is not None:
            views = resampling.blurred(views, self.blur.draw(own, _BLUR, share)[:, 0])
        channels = views.shape[1]
        for at, each in enumerate(self.tint):
            tint = each.draw(own, _TINT + at, share, channels)
            views = views + tint.to(views.dtype)[:, :, None, None]
        if self.colour is not None:
            mean = self.colour.mean.draw(own, _MEAN, share, channels)
            spread = self.colour.spread.draw(own, _SPREAD, share, channels).exp()
            mean, spread = (each.to(views.dtype)[:, :, None, None] for each in (mean, spread))
            views = (views - mean) / spread
        for at, each in enumerate(self.noise):
            base = noise.field(own, _NOISE + at, tuple(views.shape[1:]), each.normal)
            views = views + each.of(base.to(views.dtype), share)
        return views.clamp(0, 1) if self.clip else views

    @property
    def none(self) -> bool:
        """Whether every view is the portrait as it is, at the views' size."""
        same = Transformations(self.copies, outside=self.outside, clip=self.clip)
        return self == same

    @property
    def only_moves(self) -> bool:
        """Whether no view is resampled: at most moved by whole pixels, or mirrored."""
        return not self.padding and (self.crop, self.scale, self.rotate) == (None, None, None)

    def _asked(self) -> dict[int, tuple[Distribution, int]]:
        """What the geometry of a view draws, and how many numbers of each."""
        asked = {_JITTER + at: (each, 2) for at, each in enumerate(self.jitter)}
        if self.flip:
            asked[_FLIP] = Uniform(0.0, 1.0), 1
        if self.crop is not None:
            asked[_SIDE] = self.crop.side, 1
            asked[_CENTRE] = self.crop.centre or Uniform(0.0, 1.0), 2
        if self.scale is not None:
            asked[_SCALE] = self.scale, 1
        if self.rotate is not None:
            asked[_ROTATE] = self.rotate, 1
        return asked

    def _moved(
        self, pictures: Tensor, copies: int, own: Tensor, share: Tensor, size: tuple[int, int]
    ) -> Tensor:
        """The views' geometry, all of it at once."""
        height, width = pictures.shape[-2:]
        sides = torch.tensor([height, width], dtype=torch.float32, device=own.device)
        found = draw_all(self._asked(), own, share)
        shifts = torch.zeros(len(own), 2, dtype=torch.long, device=own.device)
        for at in range(len(self.jitter)):
            shifts += (found[_JITTER + at] * sides).round().long()
        window = torch.full((len(own),), 1 + 2 * self.padding, device=own.device, dtype=sides.dtype)
        flips = found[_FLIP][:, 0] < self.flip if self.flip else torch.zeros_like(own) > 0
        centre = torch.full_like(window, 0.5)[:, None].expand(-1, 2)
        angle = torch.zeros_like(window)
        if self.crop is not None:
            side, centre = found[_SIDE].clamp(max=1), found[_CENTRE]
            window = window * side[:, 0]
            if self.crop.centre is None:
                centre = 0.5 * side + centre * (1 - side)
            else:
                centre = torch.minimum(torch.maximum(centre, 0.5 * side), 1 - 0.5 * side)
        if self.scale is not None:
            window = window / found[_SCALE][:, 0]
        if self.rotate is not None:
            angle = found[_ROTATE][:, 0]
        if self.only_moves or bool(((window == 1) & (angle == 0) & (centre == 0.5).all(1)).all()):
            if self.jitter or self.flip:
                pictures = resampling.moved(pictures, copies, shifts, flips, self.outside)
            elif copies > 1:
                pictures = pictures.repeat_interleave(copies, 0)
            return resampling.resized(pictures, size)
        return resampling.sampled(
            pictures, copies, centre + shifts / sides, window, angle, flips, self.outside, size
        )
