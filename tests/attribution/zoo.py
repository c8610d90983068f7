"""The networks that the tests of attributions share: each toy has one thing that trips a method up.

``toy("reused-relu")`` is a tiny network with seeded weights, calibrated batch norms and pictures
for it; ``TOYS`` holds the names of all. Every toy's answer is a scalar function of its pixels that
automatic differentiation knows exactly, so completeness, conservation, batch against single and
"nothing is left behind" can be asked of each. ``RELU`` are those whose only non-linear operations
are ReLUs and max-pools; ``UNKNOWN`` have one that no table of rules can know, where the right
outcome is that its name is said.

Networks of full size are in :mod:`reproductions.networks`, and named here too: ``SMALL`` is what a
test has the time for, ``TORCHVISION + TIMM`` what a reproduction sweeps. ``specimen(NAME)`` makes
one, and ``either(NAME)`` a toy or one of those.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import nn

import fluoroscope as fs
from reproductions.networks import (
    NETWORKS,
    SMALL,
    TIMM,
    TORCHVISION,
    Specimen,
    specimen,
    take_statistics,
)
from tests.attribution import toys
from tests.attribution.toys import CLASSES

__all__ = [
    "CLASSES",
    "NETWORKS",
    "RELU",
    "SMALL",
    "TIMM",
    "TORCHVISION",
    "TOYS",
    "UNKNOWN",
    "Specimen",
    "either",
    "specimen",
    "toy",
]

_SHAPES = {"grey-input": (1, 8, 8), "one-pixel-input": (3, 1, 1)}
"""Pictures of other shapes than three colours of 8×8."""
_MAKERS: dict[str, Callable[[], nn.Module]] = toys.MAKERS
TOYS = tuple(_MAKERS)
UNKNOWN = ("custom-function", "recurrent")
RELU = (
    "relu-module",
    "relu-function",
    "relu-of-torch",
    "relu-method-in-place",
    "relu-function-in-place",
    "relu-modules-in-place",
    "reused-relu",
    "in-place-addition",
    "skip-addition",
    "max-pool-after-relu",
    "max-pool-before-relu",
    "overlapping-max-pool",
    "average-pool",
    "batch-norm",
    "batch-norm-no-affine",
    "batch-norm-out-of-order",
    "grouped-convolution",
    "depthwise-convolution",
    "one-pixel-input",
    "grey-input",
    "transposed-convolution",
    "upsampling",
    "interpolation",
    "odd-containers",
    "view-in-place",
    "concatenation",
    "chunks",
    "dropout",
    "clamp-at-zero",
    "where-positive",
    "mean-and-deviation",
)


@cache
def toy(name: str) -> Specimen:
    """One of :data:`TOYS` and three pictures for it; made once."""
    shape = _SHAPES.get(name, (3, 8, 8))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(TOYS.index(name))
        module = _MAKERS[name]()
        _enliven(module)
        take_statistics(module, torch.rand(16, *shape))
        images = torch.rand(3, *shape)
    stated = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)} if name == TOYS[-1] else {}
    model = fs.Classifier(module, channels=shape[0], input_size=shape[1], name=name, **stated)
    return Specimen(name, model, images)


def either(name: str) -> Specimen:
    """A toy, or a network of full size."""
    return specimen(name) if name in NETWORKS else toy(name)


def _enliven(module: nn.Module) -> None:
    """Make layers twice as strong as they are drawn; give norms weights and biases that matter."""
    with torch.no_grad():
        for part in module.modules():
            weight, bias = getattr(part, "weight", None), getattr(part, "bias", None)
            if not isinstance(weight, nn.Parameter):
                continue
            if bool((weight == 1).all()):
                weight.uniform_(0.5, 1.5)
                if isinstance(bias, nn.Parameter):
                    bias.uniform_(-0.5, 0.5)
            elif weight.dim() > 1:
                weight.mul_(2)
