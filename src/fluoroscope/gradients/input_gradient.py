"""Which way each pixel moves a decision: the gradient with respect to the input.

Simonyan, Vedaldi, Zisserman, "Deep Inside Convolutional Networks" (2013), section 3: the derivative
of a class score with respect to the image, by one backward pass.
"""

import torch
from torch import Tensor, nn

from fluoroscope.engine.classes import Classes, as_classes
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.objectives import Objective, as_objective
from fluoroscope.engine.predict import check_batch_size
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.pictures.checks import check_images


def input_gradient(
    model: Classifier | nn.Module,
    images: Tensor,
    classes: Classes,
    objective: str | Objective = "logit",
    *,
    batch_size: int = 64,
) -> Tensor:
    """The derivative of an objective with respect to the pixels, for each sample by itself.

    Args:
        model: the network under study.
        images: ``(N, C, H, W)`` or one ``(C, H, W)``, in ``[0, 1]``.
        classes: a class for each sample or one for all: label, unique prefix or index.
        objective: ``logit``, ``log-probability``, ``probability``, ``cross-entropy``, ``margin``
            or an :class:`Objective`. A probability too small for float32 still gives the right
            direction; its size stops shrinking at 1e-34.
        batch_size: images evaluated at once.

    Returns:
        ``(N, C, H, W)`` in units of the objective per unit of pixel value (black to white is 1),
        in the network's precision, on the CPU.

    Raises:
        InvalidImagesError, UnknownLabelError, InvalidParameterError: what was given is unusable.
        NoGradientError: the logits do not depend differentiably on the pixels.
    """
    model = as_classifier(model)
    batch = check_images(images, model.channels)
    wanted = as_classes(model, classes, batch)
    goal = as_objective(objective)
    size = check_batch_size(batch_size)
    gradients = []
    for part, part_classes in zip(batch.split(size), wanted.split(size), strict=True):
        pixels = part.to(model.device, model.dtype)
        answer = evaluate(model, pixels, part_classes, goal, gradient=True)
        assert answer.gradient is not None
        gradients.append(answer.gradient.cpu())
    return torch.cat(gradients)
