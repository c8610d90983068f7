"""Noise for views, cheap: windows into one long row of random numbers.

Hashing each pixel of each view anew would take a tenth of a pass through a network. So the numbers
are hashed once, and a view reads on from a place that is hashed from its key.
"""

from functools import lru_cache

import torch
from torch import Tensor

from fluoroscope.engine import randomness
from fluoroscope.hashing import bits

# Places to begin at.
_PLACES = 2**20


def field(keys: Tensor, draw: int, shape: tuple[int, ...], normal: bool) -> Tensor:
    """Numbers ``(m, *shape)`` for the keys ``(m,)``: normal ones, or evenly spread in ``[0, 1)``.

    Two views share numbers where their windows overlap, in other places of each.
    """
    length = 1
    for side in shape:
        length *= side
    row = _row(length, normal, keys.device)
    places = (bits(keys, draw, 1)[:, 0] & (_PLACES - 1)).tolist()
    return torch.stack([row[place : place + length] for place in places]).view(-1, *shape)


@lru_cache(maxsize=4)
def _row(length: int, normal: bool, device: torch.device) -> Tensor:
    source = randomness.normal if normal else randomness.uniform
    key = torch.zeros(1, dtype=torch.long, device=device)
    # A length of one side more, so that every place has a window to read.
    return source(key, int(normal), (_PLACES + length,))[0]
