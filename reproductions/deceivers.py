"""Networks built to fool evaluators: each a good network behind something that stops attacks."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fluoroscope as fs
from fluoroscope.models.builtin import digits_classifier


class Behind(nn.Module):
    """A network whose images, or logits, go through something else."""

    def __init__(
        self,
        module: nn.Module,
        before: Callable[[Tensor], Tensor] | None = None,
        after: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.module, self.before, self.after = module, before, after

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.module(images if self.before is None else self.before(images))
        return logits if self.after is None else self.after(logits)


def levels(images: Tensor, steps: int = 7) -> Tensor:
    """Eight levels of grey, or one more than ``steps``; the derivative of rounding is zero."""
    return (images * steps).round() / steps


class StraightThrough(torch.autograd.Function):
    """Eight levels of grey, and the gradient of the identity."""

    @staticmethod
    def forward(ctx: object, images: Tensor) -> Tensor:
        return levels(images)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient


class StraightThroughFiner(StraightThrough):
    """The same with sixteen levels."""

    @staticmethod
    def forward(ctx: object, images: Tensor) -> Tensor:
        return levels(images, 15)


class Backwards(torch.autograd.Function):
    """The identity, and a gradient that is turned upside down and inside out."""

    @staticmethod
    def forward(ctx: object, images: Tensor) -> Tensor:
        return images.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return -gradient.flip(2).roll(5, 3)


class Mirrored(Backwards):
    """The identity, and a gradient that is mirrored and moved."""

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient.flip(3).roll(3, 2)


def randomly_resized(images: Tensor) -> Tensor:
    """Xie et al. 2018: smaller at random, and padded at random."""
    side = int(torch.randint(22, 29, ()))
    small = F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
    left, top = (int(torch.randint(0, 29 - side, ())) for _ in range(2))
    return F.pad(small, (left, 28 - side - left, top, 28 - side - top))


def by_numpy(images: Tensor) -> Tensor:
    """A layer that leaves PyTorch: no gradient comes back."""
    return torch.from_numpy(images.detach().cpu().numpy().copy()).to(images)


def rippled(images: Tensor, height: float = 0.02, waves: float = 400) -> Tensor:
    """A ripple too fine for steps: the slope is of the ripple, not of what lies below."""
    return images + height * (waves * images).sin()


def bent(images: Tensor, waves: int = 1) -> Tensor:
    """Black or white, and ``waves`` on the way to a change of 0.1: one whole step misses them."""
    hard = (images > 0.5).to(images)
    return hard + 0.5 * (waves * torch.pi * (images - hard) / 0.1).sin()


def refined(images: Tensor) -> Tensor:
    """An input that is optimised before it is read."""
    with torch.enable_grad():
        pixels = images.detach().requires_grad_()
        (slope,) = torch.autograd.grad((pixels - 0.5).square().sum(), pixels)
    return (images + 0.001 * slope).clamp(0, 1)


def deceiver(
    name: str,
    before: Callable[[Tensor], Tensor] | None = None,
    after: Callable[[Tensor], Tensor] | None = None,
    network: str = "digits-linear",
) -> fs.Classifier:
    """The built-in network behind that."""
    module = Behind(fs.load_model(network).module, before, after)
    return digits_classifier(name, module.eval())


Parts = tuple[Callable[[Tensor], Tensor] | None, Callable[[Tensor], Tensor] | None]


def _each(parts: dict[str, Parts]) -> dict[str, Callable[..., fs.Classifier]]:
    return {name: partial(deceiver, name, *both) for name, both in parts.items()}


DECEIVERS = _each(
    {
        "quantised": (levels, None),
        "straight-through": (StraightThrough.apply, None),
        "wrong gradient": (Backwards.apply, None),
        "saturated": (None, lambda logits: 1000 * logits),
        "random resize": (randomly_resized, None),
        "not differentiable": (by_numpy, None),
        "switched off": (None, Tensor.detach),
        "ripple": (rippled, None),
        "bent": (bent, None),
        "finely bent": (lambda images: bent(images, 4), None),
        "softmax": (None, lambda logits: logits.softmax(1)),
        "optimised": (refined, None),
    }
)
"""What checks and plans are reported on."""
OTHER_DECEIVERS = _each(
    {
        "quantised finer": (lambda images: levels(images, 15), None),
        "straight-through finer": (StraightThroughFiner.apply, None),
        "mirrored gradient": (Mirrored.apply, None),
        "less saturated": (None, lambda logits: 300 * logits),
        "wider ripple": (lambda images: rippled(images, 0.03, 150), None),
        "bent twice": (lambda images: bent(images, 2), None),
        "sharp softmax": (None, lambda logits: (2 * logits).softmax(1)),
        "switched off": (None, Tensor.detach),
    }
)
"""The same tricks otherwise, for choosing a plan's settings."""
