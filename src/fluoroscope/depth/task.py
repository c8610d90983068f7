"""Learning depth: the task of the one trainer."""

from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.depth.measure import near
from fluoroscope.depth.reading import check_answer, readable
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.models.frozen import frozen
from fluoroscope.training.trainer.classification import batch_for, kind_of


class DepthTask:
    """Of each pixel its depth in metres; an answer is as right as its share of pixels within a
    factor of 1.25 of the truth.
    """

    def check(self, module: nn.Module, images: Tensor, targets: Any) -> tuple[Tensor, int]:
        """The depth ``(N, H, W)`` of images ``(N, C, H, W)``, and 1, for there are no classes.

        Raises:
            InvalidImagesError: images that are none.
            InvalidParameterError: depth that does not fit, or is not above 0; a network without
                features.
            ModelOutputError: the network does not answer with depth.
        """
        readable(module)
        if not isinstance(images, Tensor) or images.dim() != 4 or not len(images):
            raise InvalidImagesError(f"images are {kind_of(images)}; expected (N, C, H, W)")
        wanted = (len(images), *images.shape[2:])
        if not isinstance(targets, Tensor) or tuple(targets.shape) != wanted:
            raise InvalidParameterError(
                f"depth is {kind_of(targets)}; expected metres of shape {wanted}, for each pixel"
            )
        metres = targets.is_floating_point() and bool(((targets > 0) & targets.isfinite()).all())
        if not metres:
            raise InvalidParameterError(
                "depth has values that are not finite, or not above 0; expected metres"
            )
        like = next(module.parameters())
        with frozen(module), torch.no_grad():
            batch, depth = batch_for(images[:1], targets[:1], like)
            check_answer(module(batch), depth)
        return targets, 1

    def right(self, answer: Tensor, targets: Tensor) -> Tensor:
        """Of each answer ``(N,)`` its share of pixels within a factor of 1.25."""
        return near(answer, targets).float().flatten(1).mean(1)
