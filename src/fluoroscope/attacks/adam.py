"""The step of Adam (Kingma and Ba 2015), on tensors whose samples are at different steps."""

from torch import Tensor

DECAY = (0.9, 0.999)
SMALL = 1e-8


def adam(
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    step: Tensor | int,
    decay: tuple[float, float] = DECAY,
) -> tuple[Tensor, Tensor, Tensor]:
    """The direction for a gradient ``(n, ...)``, and the new running means of it and its square.

    ``step`` counts from 1, this one included, in a shape that goes with the others, or is one for
    all; ``decay`` is that of the two means.
    """
    mean = mean.lerp(gradient, 1 - decay[0])
    square = square.lerp(gradient.square(), 1 - decay[1])
    at = step.to(gradient.dtype) if isinstance(step, Tensor) else step
    first, second = (1 - each**at for each in decay)
    size = (square / second).sqrt_().add_(SMALL)
    return (mean / first).div_(size), mean, square
