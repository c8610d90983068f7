"""Class activation maps made of a layer's maps A and the gradient G = dy / dA of what is explained.

* Grad-CAM (Selvaraju et al. 2017, 1610.02391): ``relu(sum_k mean_ij(G_k) A_k)``;
* Grad-CAM++ (Chattopadhay et al. 2018, 1710.11063): ``relu(sum_k sum_ij(a_k relu(G_k)) A_k)`` with
  ``a = 1 / (2 + G sum_ij A)``, which their weights are for a score ``exp(y)``; that factor, one for
  each picture, is left out. They speak of maps that a ReLU has made: of others the sum is that of
  ``relu(A)``, for else the weight has a pole;
* HiResCAM (Draelos and Carin 2020, 2011.08891): ``sum_k G_k A_k``. Where the network goes on with a
  mean over the places and a linear layer it adds up to the logit without its bias;
* LayerCAM (Jiang et al. 2021): ``relu(sum_k relu(G_k) A_k)``.

Without ``relu`` the last rectification is left out, and the map is signed.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fluoroscope.attribution.cam.method import OneProbe


@dataclass(frozen=True, kw_only=True)
class _Weighed(OneProbe):
    """A sum of the layer's maps with weights that come of the gradient.

    Args:
        objective, layer, call: as for every class activation map.
        relu: whether only what speaks for the class is kept.
    """

    relu: bool = True

    def weights(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """For each map ``(n, K, 1, 1)``, or for each of its places ``(n, K, h, w)``."""
        raise NotImplementedError

    def made(self, activation: Tensor, gradient: Tensor | None) -> Tensor:
        """The weighed sum."""
        assert gradient is not None
        found = (self.weights(activation, gradient) * activation).sum(1)
        return found.relu() if self.relu else found


@dataclass(frozen=True, kw_only=True)
class GradCAM(_Weighed):
    """By the mean gradient of each map."""

    name: ClassVar[str] = "grad-cam"

    def weights(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """The mean over places."""
        return gradient.mean((2, 3), keepdim=True)


@dataclass(frozen=True, kw_only=True)
class GradCAMPlusPlus(_Weighed):
    """By what of the gradient speaks for the class, the less of a place the more there are."""

    name: ClassVar[str] = "grad-cam++"

    def weights(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """The sum over places of ``a relu(G)``."""
        rising = gradient.relu()
        active = activation.relu().sum((2, 3), keepdim=True)
        return (rising / (2 + rising * active)).sum((2, 3), keepdim=True)


@dataclass(frozen=True, kw_only=True)
class HiResCAM(_Weighed):
    """By the gradient at each place."""

    name: ClassVar[str] = "hires-cam"
    relu: bool = False

    def weights(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """The gradient."""
        return gradient


@dataclass(frozen=True, kw_only=True)
class LayerCAM(_Weighed):
    """By what of the gradient at each place speaks for the class."""

    name: ClassVar[str] = "layer-cam"

    def weights(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """The gradient where it is positive."""
        return gradient.relu()
