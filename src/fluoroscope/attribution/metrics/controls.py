"""Maps that know nothing of the network, beside every method: they keep a metric honest.

A metric by which the edges of the picture do as well as any method says nothing of the network
here, whatever it says elsewhere.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from fluoroscope.attribution.metrics.purposes import Purpose
from fluoroscope.engine import randomness


def controls(images: Tensor, *, seed: int = 0, numbers: Tensor | None = None) -> dict[str, Tensor]:
    """By name the maps ``(N, 1, H, W)``, of pictures ``(N, C, H, W)`` in ``[0, 1]``, on the CPU.

    - ``random``: uniform numbers; ``numbers`` ``(N,)`` says which pictures of their data set these
      are, so that each has its own wherever it stands.
    - ``edges``: how steep the grey picture is, by the filters of Sobel and Feldman (1968).
    - ``centre``: a Gaussian of a quarter of the side, in the middle.
    - ``picture``: how far each pixel is from the picture's mean, its channels added.
    """
    pictures = images.detach().float().cpu()
    count, _, height, width = pictures.shape
    which = torch.arange(count, device="cpu") if numbers is None else numbers.cpu()
    keys = randomness.keys(seed, which, Purpose.CONTROL)
    away = (pictures - pictures.mean((2, 3), keepdim=True)).abs()
    return {
        "random": randomness.uniform(keys, 0, (1, height, width)),
        "edges": _edges(pictures),
        "centre": _centre(height, width).expand(count, -1, -1, -1).contiguous(),
        "picture": away.sum(1, keepdim=True),
    }


def _edges(pictures: Tensor) -> Tensor:
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device="cpu") / 8
    kernels = torch.stack([across, across.T])[:, None]
    grey = pad(pictures.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    steep: Tensor = torch.linalg.vector_norm(conv2d(grey, kernels), dim=1, keepdim=True)
    return steep


def _centre(height: int, width: int) -> Tensor:
    rows, columns = (
        (-0.5 * ((torch.arange(side, device="cpu") - (side - 1) / 2) / (side / 4)) ** 2).exp()
        for side in (height, width)
    )
    blob: Tensor = (rows[:, None] * columns)[None, None]
    return blob
