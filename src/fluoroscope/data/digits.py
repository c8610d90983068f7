"""The built-in pictures: scikit-learn's handwritten digits brought into MNIST's 28×28 frame.

The source holds 1,797 digits of 8×8 pixels, each the ink of a 4×4 block of a bitmap. As in MNIST, a
digit is scaled into a 20×20 box with its aspect kept, and its centre of mass comes to rest on pixel
(14, 14) of a black 28×28 frame. Lanczos interpolation restores the smooth ink, and a steep ramp
gives it back the edges of a pen stroke, at a level chosen so that the ink and its share of full
white are MNIST's (means 0.130 and 0.131, shares 0.083 and 0.089).

The source lies beside this file, for importing scikit-learn takes long;
``make digits`` writes it, and ``digits-licence.txt`` says whose the digits are.
"""

from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

LABELS = tuple("0123456789")

FRAME = 28
BOX = 20
CENTRE = FRAME / 2
# Each pixel of the frame is the mean of OVERSAMPLING² points, which keeps the edges smooth.
OVERSAMPLING = 3
# The ramp from paper to ink: its middle as a share of the digit's typical ink, and its slope. A
# level of the digit's own keeps thin strokes whole and the holes of bold ones open.
INK_LEVEL = 0.8
INK_SLOPE = 3.0

_FILE = "digits.npz"


@cache
def digits() -> tuple[Tensor, Tensor]:
    """All digits in scikit-learn's order: images ``(1797, 1, 28, 28)`` in ``[0, 1]``, ink white on
    black, and labels ``(1797,)`` int64. Converted once; treat the tensors as read-only.
    """
    with (files("fluoroscope.data") / _FILE).open("rb") as file, np.load(file) as source:
        ink, labels = (torch.from_numpy(source[name]) for name in ("ink", "labels"))
    # A few at a time: what is computed on the way to them stays in the processor's cache.
    drawn = [_mnist_frame(few) for few in (ink.float() / 16).split(64)]
    return torch.cat(drawn).unsqueeze(1), labels.long()


def _mnist_frame(ink: Tensor) -> Tensor:
    """Digits ``(N, H, W)`` drawn into frames ``(N, 28, 28)``."""
    longer_side = torch.maximum(_extent(ink.amax(2)), _extent(ink.amax(1)))
    scale = BOX / longer_side
    typical_ink = (ink**2).sum((1, 2)) / ink.sum((1, 2))
    level = INK_LEVEL * typical_ink
    middle = _centre_of_mass(ink)
    # The ramp moves the centre of mass a little: draw, measure, and draw again where it belongs.
    drawn = _draw(ink, middle, scale, level)
    middle = middle + (_centre_of_mass(drawn) - CENTRE) / scale.unsqueeze(1)
    return _draw(ink, middle, scale, level)


def _extent(profile: Tensor) -> Tensor:
    """How many pixels lie from the first to the last with ink, for each ``(N, length)`` row."""
    inked = (profile > 0).int()
    first = inked.argmax(1)
    last = profile.shape[1] - 1 - inked.flip(1).argmax(1)
    return last - first + 1


def _centre_of_mass(ink: Tensor) -> Tensor:
    """``(row, column)`` of each picture's ink, ``(N, 2)``."""
    height, width = ink.shape[1:]
    rows = ink.sum(2) @ torch.arange(height, device="cpu").float()
    columns = ink.sum(1) @ torch.arange(width, device="cpu").float()
    return torch.stack((rows, columns), 1) / ink.sum((1, 2)).unsqueeze(1)


def _draw(ink: Tensor, middle: Tensor, scale: Tensor, level: Tensor) -> Tensor:
    """Enlarge by ``scale`` so that the point ``middle`` lands on the frame's centre."""
    points = (
        (torch.arange(FRAME * OVERSAMPLING, dtype=torch.float32, device="cpu") + 0.5) / OVERSAMPLING
        - 0.5
        - CENTRE
    )
    seen_at = middle.unsqueeze(2) + points / scale.view(-1, 1, 1)
    down = _lanczos(seen_at[:, 0, :, None] - torch.arange(ink.shape[1], device="cpu"))
    across = _lanczos(seen_at[:, 1, :, None] - torch.arange(ink.shape[2], device="cpu"))
    fine = down @ ink @ across.transpose(1, 2)
    stroke = fine.sub_(level.view(-1, 1, 1)).mul_(INK_SLOPE).add_(0.5).clamp_(0, 1)
    return torch.nn.functional.avg_pool2d(stroke, OVERSAMPLING)


def _lanczos(distance: Tensor, lobes: int = 3) -> Tensor:
    window = torch.sinc(distance / lobes) * (distance.abs() < lobes)
    return torch.sinc(distance) * window


def write_source(path: Path) -> None:
    """Scikit-learn's digits as a file: their ``ink`` from 0 to 16, and their ``labels``."""
    from sklearn.datasets import load_digits

    source = load_digits()
    np.savez_compressed(
        path, ink=source.images.astype(np.uint8), labels=source.target.astype(np.uint8)
    )


if __name__ == "__main__":
    write_source(Path(__file__).parent / _FILE)
