"""Pixels painted over: what attacks share that look for a few positions and colours."""

from torch import Tensor


def paint(images: Tensor, places: Tensor, colours: Tensor) -> Tensor:
    """Images ``(n, C, H, W)`` with colours ``(n, C, k)`` at places ``(n, k)``.

    Places count from 0 along the rows. What is named twice must be named with the same colour.
    """
    everywhere = places[:, None].expand_as(colours)
    return images.flatten(2).scatter(2, everywhere, colours.to(images.dtype)).view_as(images)
