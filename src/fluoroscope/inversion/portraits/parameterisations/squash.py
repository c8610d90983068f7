"""Into ``[0, 1]`` and back: every number becomes a pixel, or what is outside is cut off."""

import torch
from torch import Tensor

# As far as a pixel of 0 or 1 is moved inside, a quarter of an 8-bit level, so that a sigmoid
# reaches it and still has a slope there.
HAIR = 1e-3


def logits(pixels: Tensor) -> Tensor:
    """What a sigmoid makes these pixels of; those of 0 and 1 are moved inside by :data:`HAIR`."""
    return torch.logit(pixels.clamp(HAIR, 1 - HAIR))
