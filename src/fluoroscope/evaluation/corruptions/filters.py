"""What several corruptions are made of: blurs, zooms, padding, and a plasma fractal."""

from math import ceil, cos, radians, sin

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fluoroscope.pictures.gaussian import Edge, past_the_edge

# How far the corners of the plasma are moved at first.
_WIBBLE = 100.0


def padded(images: Tensor, by: int, edge: Edge) -> Tensor:
    """Images ``(…, H, W)`` continued by so many pixels on each side."""
    for dim in (-2, -1):
        places = torch.arange(-by, images.shape[dim] + by, device=images.device)
        images = images.index_select(dim, past_the_edge(places, images.shape[dim], edge))
    return images


def convolved(images: Tensor, kernel: Tensor) -> Tensor:
    """Images ``(N, C, H, W)`` and a symmetric kernel of odd side, mirrored at the border.

    By Fourier transforms: a disk has hundreds of pixels and is no product of two rows.
    """
    reach = kernel.shape[0] // 2
    wide = padded(images, reach, "mirror")
    size = wide.shape[-2:]
    product = torch.fft.rfft2(wide) * torch.fft.rfft2(kernel, s=size)
    found: Tensor = torch.fft.irfft2(product, s=size)
    return found[..., 2 * reach :, 2 * reach :]


def motion(images: Tensor, radius: float, sigma: float, angles: Tensor) -> Tensor:
    """Images ``(N, C, H, W)``, each smeared along its angle ``(N,)`` in degrees.

    ImageMagick's ``MotionBlurImage``: the pixels along a ray, each at the nearest whole place, with
    the weights of one half of a Gaussian; past the border the last pixel goes on.
    """
    width = 2 * ceil(radius) + 1
    weights = [float(w) for w in (-0.5 * (torch.arange(width, device="cpu") / sigma) ** 2).exp()]
    total = sum(weights)
    height, across = images.shape[-2:]
    smeared = torch.zeros_like(images)
    # Picture by picture, so that one stays in the processor's cache while it is added up.
    for image, whole, angle in zip(smeared, padded(images, width, "nearest"), angles.tolist(),
                                   strict=True):  # fmt: skip
        down, right = sin(radians(angle)), cos(radians(angle))
        for step, weight in enumerate(weights):
            top, left = (width + ceil(step * slope - 0.5) for slope in (down, right))
            image.add_(whole[:, top : top + height, left : left + across], alpha=weight / total)
    return smeared


def zoomed(images: Tensor, factor: float) -> Tensor:
    """The middle of images ``(N, C, H, W)``, enlarged by bilinear interpolation to their size."""
    sides = images.shape[-2:]
    crops = [ceil(side / factor) for side in sides]
    tops = [(side - crop) // 2 for side, crop in zip(sides, crops, strict=True)]
    middle = images[..., tops[0] : tops[0] + crops[0], tops[1] : tops[1] + crops[1]]
    sizes = [round(crop * factor) for crop in crops]
    large = interpolate(middle, size=sizes, mode="bilinear", align_corners=True)
    trims = [(size - side) // 2 for size, side in zip(sizes, sides, strict=True)]
    return large[..., trims[0] : trims[0] + sides[0], trims[1] : trims[1] + sides[1]]


def plasma_side(size: tuple[int, int]) -> int:
    """The side of the plasma that covers a picture: a power of two."""
    return int(2 ** max(1, (max(size) - 1).bit_length()))


def plasma(draws: Tensor, decay: float) -> Tensor:
    """A cloud ``(N, S, S)`` from 0 to 1 of draws in ``[-1, 1]``, by diamonds and squares.

    Each place is the mean of its four neighbours on a coarser grid, which goes on at its other
    side, and its own draw times an amplitude that shrinks by ``decay`` from grid to grid.
    """
    cloud = torch.zeros_like(draws)
    step, wibble = draws.shape[-1], _WIBBLE
    while step >= 2:
        half = step // 2
        on, between = slice(0, None, step), slice(half, None, step)
        amplitude = wibble * wibble

        def settle(rows: slice, columns: slice, near: Tensor, amplitude: float = amplitude) -> None:
            cloud[:, rows, columns] = near / 4 + amplitude * draws[:, rows, columns]

        corners = cloud[:, on, on]
        above = corners + corners.roll(-1, 1)
        settle(between, between, above + above.roll(-1, 2))
        middles = cloud[:, between, between]
        settle(on, between, middles + middles.roll(1, 1) + corners + corners.roll(-1, 2))
        settle(between, on, middles + middles.roll(1, 2) + corners + corners.roll(-1, 1))
        step, wibble = half, wibble / decay
    cloud = cloud - cloud.amin((1, 2), keepdim=True)
    return cloud / cloud.amax((1, 2), keepdim=True).clamp(min=1e-12)
