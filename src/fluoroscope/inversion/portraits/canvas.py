"""What a portrait is painted on: its size, its channels, and what is known of such pictures."""

from dataclasses import dataclass

import torch

from fluoroscope.inversion.data_prior import DataPrior


@dataclass(frozen=True)
class Canvas:
    """Pictures ``(n, channels, height, width)`` that are yet to be made."""

    channels: int
    height: int
    width: int
    prior: DataPrior
    """What is known of real pictures; of ``channels`` channels."""
    dtype: torch.dtype
    device: torch.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)``"""
        return self.channels, self.height, self.width
