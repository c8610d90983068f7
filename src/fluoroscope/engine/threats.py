"""How far an image may move: norm balls, always inside the pixel box ``[0, 1]``."""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, prod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.engine.bounds import check_norm, radius, read_threat
from fluoroscope.engine.vectors import column, lengths
from fluoroscope.errors import InvalidParameterError

if TYPE_CHECKING:
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier

# The longest side of pictures that count as small.
_SMALL = 64


class Threat(Protocol):
    """A set of allowed images around an original one."""

    @property
    def name(self) -> str:
        """The field's name of the norm."""

    @property
    def eps(self) -> float | str:
        """The bound; infinite where there is none."""

    def distance(self, difference: Tensor) -> Tensor:
        """Norm of each difference ``(N, C, H, W)``, as ``(N,)``."""

    def project(self, images: Tensor, original: Tensor) -> Tensor:
        """The nearest allowed images, in the box."""

    def random(self, keys: Tensor, original: Tensor) -> Tensor:
        """A start drawn for each sample from its key ``(N,)``, allowed."""

    def allows(self, images: Tensor, original: Tensor) -> Tensor:
        """Which images ``(N, C, H, W)`` are allowed, up to float noise, as ``(N,)`` booleans."""


Bound = float | str | Tensor | Sequence[float | str]
"""How far an image may move: a number, a fraction such as ``"8/255"``, or one for each image."""


@dataclass(frozen=True)
class _Ball:
    """A norm ball; ``eps`` is its radius, ``inf`` for no bound.

    Radii for each image of a batch ``(N,)`` are kept as a tuple: an attack called on so many images
    moves each within its own.
    """

    eps: float | str
    name: ClassVar[str]

    if TYPE_CHECKING:

        def __init__(self, eps: Bound) -> None: ...

    def __post_init__(self) -> None:
        several = _several(self.eps)
        given = [self.eps] if several is None else several
        bounds = tuple(radius(self.name, eps) for eps in given)
        object.__setattr__(self, "eps", bounds[0] if several is None else bounds)

    @property
    def _radius(self) -> float:
        one_bound(cast(Threat, self))
        return float(self.eps)


class Linf(_Ball):
    """No pixel value moves by more than ``eps`` (a number or ``"8/255"``; ``inf`` is no bound)."""

    name = "linf"

    def distance(self, difference: Tensor) -> Tensor:
        """Largest absolute value of each difference ``(N, C, H, W)``."""
        return difference.abs().flatten(1).amax(1)

    def project(self, images: Tensor, original: Tensor) -> Tensor:
        """Clamp to ``original ± eps`` and to the box."""
        return torch.clamp(images, *_limits(original, self._radius))

    def random(self, keys: Tensor, original: Tensor) -> Tensor:
        """Uniform in the ball, then clamped to the box."""
        noise = randomness.uniform(keys, 0, tuple(original.shape[1:])).to(original.dtype)
        return self.project(original + self._radius * (2 * noise - 1), original)

    def allows(self, images: Tensor, original: Tensor) -> Tensor:
        """Whether the largest difference is at most ``eps``."""
        return self.distance(images - original) <= self._radius + 1e-6


class L2(_Ball):
    """The Euclidean length of the difference stays within ``eps`` (``inf`` is no bound)."""

    name = "l2"

    def distance(self, difference: Tensor) -> Tensor:
        """Euclidean length of each difference ``(N, C, H, W)``."""
        return lengths(difference)

    def project(self, images: Tensor, original: Tensor) -> Tensor:
        """Into the box, then shrink the difference to length ``eps``; points inside stay put.

        Shrinking towards an original inside the box cannot leave the box.
        """
        boxed = images.clamp(0, 1)
        difference = boxed - original
        length = column(self.distance(difference))
        eps = self._radius
        return torch.where(length > eps, original + difference * (eps / length), boxed)

    def random(self, keys: Tensor, original: Tensor) -> Tensor:
        """Uniform in the ball, then clamped to the box."""
        size = original[0].numel()
        noise = randomness.normal(keys, 0, tuple(original.shape[1:])).to(original.dtype)
        radius = randomness.uniform(keys, 1, (1, 1, 1)).to(original.dtype) ** (1 / size)
        length = column(self.distance(noise))
        return self.project(original + self._radius * radius * noise / length, original)

    def allows(self, images: Tensor, original: Tensor) -> Tensor:
        """Whether the length is at most ``eps``."""
        return self.distance(images - original) <= self._radius * (1 + 1e-5) + 1e-6


class L1(_Ball):
    """The absolute differences add up to at most ``eps`` (``inf`` is no bound)."""

    name = "l1"

    def distance(self, difference: Tensor) -> Tensor:
        """Sum of the absolute values of each difference ``(N, C, H, W)``."""
        return difference.abs().flatten(1).sum(1)

    def project(self, images: Tensor, original: Tensor) -> Tensor:
        """The nearest images within both the ball and the box; points inside stay put.

        All absolute differences shrink by the same amount, down to 0, and are then cut at the box
        (Croce and Hein 2021): into the box first, then into the ball, would end further away.
        """
        return onto_l1_balls(images, original, self._radius)

    def random(self, keys: Tensor, original: Tensor) -> Tensor:
        """Uniform in the ball, then clamped to the box."""
        shape = original.shape[1:]
        # Exponential numbers over the sum of all and one more are uniform below the sum of 1.
        waits = -torch.log1p(-randomness.uniform(keys, 0, (shape.numel() + 1,)))
        size = (waits / waits.sum(1, keepdim=True))[:, 1:].view_as(original)
        sign = torch.where(randomness.uniform(keys, 1, tuple(shape)) < 0.5, -1, 1)
        return self.project(original + (self._radius * sign * size).to(original), original)

    def allows(self, images: Tensor, original: Tensor) -> Tensor:
        """Whether the absolute differences add up to at most ``eps``."""
        return self.distance(images - original) <= self._radius * (1 + 1e-5) + 1e-6


class L0(_Ball):
    """At most ``eps`` pixels change, each in any channel and as far as the box goes."""

    name = "l0"

    def distance(self, difference: Tensor) -> Tensor:
        """Pixels at which any channel of each difference ``(N, C, H, W)`` is not 0."""
        return (difference != 0).any(1).flatten(1).sum(1).to(difference.dtype)

    def project(self, images: Tensor, original: Tensor) -> Tensor:
        """Into the box; then the ``eps`` pixels that moved furthest stay, the others go back."""
        boxed = images.clamp(0, 1)
        difference = boxed - original
        if not bool((self.distance(difference) > self._radius).any()):
            return boxed
        size = difference.square().sum(1).flatten(1)
        kept = torch.zeros_like(size, dtype=torch.bool)
        kept.scatter_(1, size.topk(int(self._radius), dim=1).indices, True)
        return torch.where(kept.view_as(difference[:, :1]), boxed, original)

    def random(self, keys: Tensor, original: Tensor) -> Tensor:
        """``eps`` pixels drawn without repetition, each of a colour uniform in the box."""
        _, _, height, width = original.shape
        ranks = randomness.uniform(keys, 0, (height * width,))
        count = int(min(self._radius, height * width))
        drawn = torch.zeros_like(ranks, dtype=torch.bool)
        drawn.scatter_(1, ranks.topk(count, dim=1).indices, True)
        colours = randomness.uniform(keys, 1, tuple(original.shape[1:])).to(original.dtype)
        return torch.where(drawn.view(-1, 1, height, width), colours, original)

    def allows(self, images: Tensor, original: Tensor) -> Tensor:
        """Whether at most ``eps`` pixels differ."""
        return self.distance(images - original) <= self._radius


@dataclass(frozen=True)
class Unbounded:
    """Any image in the box."""

    name = "none"
    eps = inf

    def distance(self, difference: Tensor) -> Tensor:
        """Euclidean length of each difference ``(N, C, H, W)``."""
        return lengths(difference)

    def project(self, images: Tensor, original: Tensor) -> Tensor:
        """Clamp to the box."""
        return images.clamp(0, 1)

    def random(self, keys: Tensor, original: Tensor) -> Tensor:
        """Uniform in the box."""
        return randomness.uniform(keys, 0, tuple(original.shape[1:])).to(original.dtype)

    def allows(self, images: Tensor, original: Tensor) -> Tensor:
        """Every image."""
        return torch.ones(len(images), dtype=torch.bool, device=images.device)


# Where pixels may go, of the originals last asked about: searches ask at every step, of the same.
_last_limits: tuple[weakref.ref[Tensor], int, float, Tensor, Tensor] | None = None


def _limits(original: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The lowest and the highest that every pixel value may have, in the box."""
    global _last_limits
    last, plain = _last_limits, type(original) is Tensor and not original.requires_grad
    if last is not None and last[0]() is original and plain:
        _, version, bound, low, high = last
        if (version, bound) == (original._version, eps):
            return low, high
    low, high = (original - eps).clamp_(min=0), (original + eps).clamp_(max=1)
    if plain and not (low.is_inference() or original.is_inference()):
        _last_limits = weakref.ref(original, _forget), original._version, eps, low, high
    return low, high


def _forget(original: "weakref.ref[Tensor]") -> None:
    global _last_limits
    if _last_limits is not None and _last_limits[0] is original:
        _last_limits = None


def _several(eps: Any) -> list[float | str] | None:
    """The bounds of several images; ``None`` where there is one for all."""
    if isinstance(eps, str) or not hasattr(eps, "__len__") or getattr(eps, "shape", None) == ():
        return None
    found = list(eps.tolist() if hasattr(eps, "tolist") else eps)
    for bound in found or [None]:
        if not isinstance(bound, int | float | str) or bound in (inf, "inf"):
            shape = f" of shape {tuple(eps.shape)}" if isinstance(eps, Tensor) else ""
            raise InvalidParameterError(
                f"eps is a {type(eps).__name__}{shape}; expected one number, or finite ones (N,), "
                "one for each image"
            )
    return found


def bounds_of(threat: Threat) -> tuple[float, ...] | None:
    """The bounds of several images; ``None`` where there is one for all."""
    return threat.eps if isinstance(threat.eps, tuple) else None


def one_bound(threat: Threat) -> Threat:
    """The threat model, if it has one bound for all images.

    Raises:
        InvalidParameterError: it has one for each.
    """
    bounds = bounds_of(threat)
    if bounds is not None:
        raise InvalidParameterError(
            f"eps has {len(bounds)} bounds, one for each image; expected one for all here: an "
            "attack that is called on so many images takes several"
        )
    return threat


def beyond_the_box(threat: Threat, shape: tuple[int, ...]) -> str | None:
    """What a reader should know where no image of this shape ``(C, H, W)`` is out of reach."""
    values = prod(shape)
    reach = {"linf": 1.0, "l2": values**0.5, "l1": values, "l0": prod(shape[1:])}
    farthest = reach.get(threat.name, inf)
    if not farthest <= float(threat.eps) < inf:
        return None
    return (
        f"no two pictures of this size are farther apart than {farthest:g} in the norm "
        f"{threat.name}: eps {threat.eps:g} bounds nothing"
    )


def onto_l1_balls(images: Tensor, original: Tensor, eps: float | Tensor) -> Tensor:
    """What :meth:`L1.project` does, with one bound for all or one for each image ``(N,)``."""
    boxed = images.clamp(0, 1)
    size = (boxed - original).abs().flatten(1).sum(1)
    outside = column(size > eps)
    if not bool(outside.any()):
        return boxed
    difference = images - original
    room = torch.where(difference > 0, 1 - original, original)
    bound = torch.zeros_like(size).add(eps)[:, None]
    shrunk = _shrink(difference.abs().flatten(1), room.flatten(1), bound)
    # What float rounding leaves above the bound; never above 1, so it stays in the box.
    excess = (bound / shrunk.sum(1, keepdim=True)).clamp(max=1).nan_to_num()
    inside = original + (excess * shrunk).view_as(room) * difference.sign()
    return torch.where(outside, inside.clamp(0, 1), boxed)


def _shrink(size: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """``clamp(size - cut, 0, room)`` with the cut that makes each row ``(n, d)`` sum to its bound.

    As the cut grows from 0 the sum falls in straight pieces: a value takes part from where it is
    no longer above its room until it is 0.
    """
    ends = torch.cat([(size - room).clamp(min=0), size], 1)
    joins = torch.cat([torch.ones_like(size), -torch.ones_like(size)], 1)
    ends, order = ends.sort(1)
    active = joins.gather(1, order).cumsum(1)
    fallen = (active[:, :-1] * ends.diff(dim=1)).cumsum(1)
    total = torch.minimum(size, room).sum(1, keepdim=True)
    sums = torch.cat([total, total - fallen], 1)
    last = ((sums >= eps).sum(1, keepdim=True) - 1).clamp(min=0)
    above = sums.gather(1, last) - eps
    cut = ends.gather(1, last) + above / active.gather(1, last).clamp(min=1)
    return torch.minimum((size - cut).clamp(min=0), room)


def threat_for(norm: str, eps: Bound | None) -> Threat:
    """The threat model of a norm's name (``linf``, ``l2``, ``l1``, ``l0`` or ``none``) and a bound.

    Raises:
        InvalidParameterError: an unknown norm, or one that lacks or cannot take an ``eps``.
    """
    check_norm(norm, eps)
    return Unbounded() if norm == "none" else _BALLS[norm](cast(Bound, eps))


def as_threat(given: "Threat | str") -> Threat:
    """The threat model that a text such as ``"linf:8/255"``, ``"l2:0.5"`` or ``"none"`` names.

    A norm alone, such as ``"linf"``, has no bound. What is one already stays as it is.

    Raises:
        InvalidParameterError: it names none.
    """
    if not isinstance(given, str):
        if all(hasattr(given, part) for part in ("name", "eps", "project")):
            return one_bound(given)
        raise InvalidParameterError(
            f"threat is {given!r}; expected a norm and a bound, such as 'linf:8/255' or Linf(0.3)"
        )
    return threat_for(*read_threat(given))


def as_text(threat: Threat) -> str:
    """What :func:`as_threat` takes for a threat model with one bound: ``"linf:8/255"``."""
    eps = float(threat.eps)
    if threat.name == "none" or eps == inf:
        return threat.name
    if eps == int(eps):
        return f"{threat.name}:{int(eps)}"
    levels = round(eps * 255)
    return f"{threat.name}:{f'{levels}/255' if levels / 255 == eps else repr(eps)}"


def usual_threat(model: "Classifier", images: "ImageSet | None" = None) -> Threat:
    """The bound in Linf that the field uses for such pictures: all commands' default.

    0.3 for small grey ones, as on MNIST; 8/255 for small ones in colour, as on CIFAR; 4/255 for
    those with a side above 64, as on ImageNet. The size is the network's, or that of the first of
    the ``images`` where it takes any.
    """
    if model.input_size is not None:
        side = max(model.input_size)
    else:
        side = 0 if images is None else max(images[0].image.shape[-2:])
    if side > _SMALL:
        return Linf("4/255")
    return Linf(0.3) if model.channels == 1 else Linf("8/255")


_BALLS: dict[str, Callable[[Bound], Threat]] = {"linf": Linf, "l2": L2, "l1": L1, "l0": L0}


def pixel_distances(images: Tensor, original: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """L0, L2 and Linf distances, each ``(N,)``; L0 counts positions where any channel changed.

    Squares of many small changes are added in float64: in float32 few digits of the sum hold.
    """
    difference = images - original
    changed = (difference != 0).any(1).flatten(1).sum(1)
    return changed, L2(0).distance(difference.double()), Linf(0).distance(difference)
