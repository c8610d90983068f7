"""Eigen-CAM: what the places of a layer have most in common.

Muhammad and Yeasin 2020 (2008.00299): with the layer's maps as rows ``A (h·w, K)`` of places,
``A v`` with ``v`` the first right singular vector. No class has a say in it.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attribution.cam.method import OneProbe


@dataclass(frozen=True, kw_only=True)
class EigenCAM(OneProbe):
    """The first principal component, as in the paper without taking a mean away.

    A singular vector has no sign of its own: it is the one with which the map goes along with how
    active the places are, ``sum_ij map |A_ij| >= 0``.
    """

    name: ClassVar[str] = "eigen-cam"
    of_gradient: ClassVar[bool] = False

    def made(self, activation: Tensor, gradient: Tensor | None) -> Tensor:
        """The places along the direction in which they differ most from nothing."""
        places = activation.flatten(2).transpose(1, 2)
        scale = places.abs().amax((1, 2), keepdim=True)
        places = places / scale.where(scale > 0, torch.ones_like(scale))
        # Of the two products of A with itself, the smaller.
        if places.shape[1] <= places.shape[2]:
            values, vectors = torch.linalg.eigh(places @ places.transpose(1, 2))
            found = vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()
        else:
            vectors = torch.linalg.eigh(places.transpose(1, 2) @ places).eigenvectors
            found = (places @ vectors[:, :, -1:]).squeeze(2)
        along = (found * torch.linalg.vector_norm(places, dim=2)).sum(1, keepdim=True)
        found = torch.where(along < 0, -found, found) * scale[:, 0]
        return found.view_as(activation[:, 0])
