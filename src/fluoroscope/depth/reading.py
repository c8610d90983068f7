"""Scenes through a network, a batch at a time: its features, its depth, and the truth."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fluoroscope.depth.bins import Bins
from fluoroscope.depth.network import Readable
from fluoroscope.depth.scenes import Scenes
from fluoroscope.errors import InvalidParameterError, ModelOutputError
from fluoroscope.models.frozen import frozen
from fluoroscope.training.trainer.classification import kind_of, pixels_for

# Numbers of features at full size that are held at once.
_AT_ONCE = 2**24


class Read(NamedTuple):
    """A batch of ``n`` scenes as a network reads it."""

    features: Tensor
    """``(n, K, h, w)``."""
    predicted: Tensor
    """``(n, H, W)``, metres."""
    depth: Tensor
    """``(n, H, W)``, the truth."""


def read(network: nn.Module, scenes: Scenes) -> Iterator[Read]:
    """Every scene in its order; the network is in evaluation mode meanwhile, and untouched after.

    Raises:
        InvalidParameterError: the network has no features to read.
        ModelOutputError: it does not answer with depth.
    """
    reading = readable(network)
    like = next(network.parameters())
    height, width = scenes.depth.shape[1:]
    many = max(1, _AT_ONCE // (reading.units * height * width))
    for start in range(0, len(scenes), many):
        images = pixels_for(scenes.images[start : start + many], like)
        depth = scenes.depth[start : start + many].to(like)
        # Held for a batch alone, as whoever reads may stop.
        with frozen(network), torch.inference_mode(False), torch.no_grad():
            features = reading.features(images)
            predicted = reading.depth_of(features, (height, width))
        check_answer(predicted, depth)
        if features.dim() != 4 or features.shape[1] != reading.units:
            raise ModelOutputError(
                f"the network's features are {kind_of(features)}; expected maps "
                f"(N, {reading.units}, h, w)"
            )
        yield Read(features, predicted, depth)


def readable(network: nn.Module) -> Readable:
    """The network, if it is one of those that are looked at here.

    Raises:
        InvalidParameterError: it is not.
    """
    if not isinstance(network, nn.Module) or not isinstance(network, Readable):
        raise InvalidParameterError(
            f"the network is a {type(network).__name__}; expected a module with units, features "
            "and depth_of, such as fs.depth.DepthNetwork"
        )
    return network


def check_answer(predicted: object, depth: Tensor) -> None:
    """Refuse what is no map of depth.

    Raises:
        ModelOutputError: another shape than that of the truth.
    """
    if not isinstance(predicted, Tensor) or predicted.shape != depth.shape:
        raise ModelOutputError(
            f"the network's answer is {kind_of(predicted)}; expected depth of shape "
            f"{tuple(depth.shape)}, a number for each pixel"
        )


def check_bins(scenes: Scenes, bins: Bins) -> Tensor:
    """How many pixels of the scenes lie in each bin ``(D,)``.

    Raises:
        InvalidParameterError: fewer than two of them have any.
    """
    found = torch.zeros(bins.count, dtype=torch.int64, device="cpu")
    for depth in scenes.depth.split(256):
        inside = bins.of(depth)
        found += torch.bincount(inside[inside >= 0], minlength=bins.count)
    if int((found > 0).sum()) < 2:
        raise InvalidParameterError(
            f"scenes have pixels in {int((found > 0).sum())} of {bins.count} bins; expected two or "
            "more, as a unit is held against the others: more scenes, or other bins"
        )
    return found
