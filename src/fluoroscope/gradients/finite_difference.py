"""The gradient with respect to the pixels without backpropagation: nudge a pixel, look again.

Forward differences ``(f(x + h e_i) - f(x)) / h`` or central ones ``(f(x + h e_i) - f(x - h e_i)) /
2h``, with many pixels in one batch. The images are not held in ``[0, 1]`` while they are nudged:
the derivative at a black or a white pixel is one of the network, not of the box.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from fluoroscope.engine.classes import Classes, as_classes
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.objectives import Objective, as_objective
from fluoroscope.engine.predict import check_batch_size
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.pictures.checks import check_images

Method = Literal["forward", "central"]

# Enough to hide the cost of a call, and little enough for the caches and a full-size network.
_PIXEL_VALUES = 2**22
_MOST_IMAGES = 1024


def finite_difference_gradient(
    model: Classifier | nn.Module,
    images: Tensor,
    classes: Classes,
    objective: str | Objective = "logit",
    *,
    method: Method = "central",
    pixels: Tensor | None = None,
    step: float | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """The derivative of an objective with respect to chosen pixel values, by differences.

    Args:
        model: the network under study; ``model.to(dtype=torch.float64)`` for a sharp answer.
        images: ``(N, C, H, W)`` or one ``(C, H, W)``, in ``[0, 1]``.
        classes: a class for each sample or one for all: label, unique prefix or index.
        objective: as for :func:`input_gradient`.
        method: ``central`` costs two evaluations a pixel value, ``forward`` one.
        pixels: ``(P,)`` positions in a flattened ``(C, H, W)`` image; all of them if ``None``.
        step: the nudge ``h``; by default :func:`suitable_step`. Below 0 it looks backwards.
        batch_size: images evaluated at once; memory grows with it, never with ``P``. By default as
            many as hold four million pixel values, 1,024 at the most.

    Returns:
        ``(N, P)`` derivatives in float64, or ``(N, C, H, W)`` where ``pixels`` is ``None``.

    Raises:
        InvalidImagesError, UnknownLabelError, InvalidParameterError: what was given is unusable.
    """
    model = as_classifier(model)
    batch = check_images(images, model.channels).to(model.device, model.dtype)
    wanted = as_classes(model, classes, batch)
    goal = as_objective(objective)
    chosen = _check_pixels(pixels, batch[0].numel()).to(model.device)
    if method not in ("forward", "central"):
        raise InvalidParameterError(f"method is {method!r}; expected forward or central")
    nudge = suitable_step(model.precision, method) if step is None else step
    if not 0 < abs(nudge) < float("inf"):
        raise InvalidParameterError(f"step is {nudge}; expected a finite number other than 0")
    size = (
        batch_size
        if batch_size is not None
        else max(2, min(_MOST_IMAGES, _PIXEL_VALUES // batch[0].numel()))
    )
    rows = [
        _differences(model, image, c, goal, chosen, nudge, method, check_batch_size(size))
        for image, c in zip(batch, wanted, strict=True)
    ]
    result = torch.stack(rows).cpu()
    return result.view(batch.shape) if pixels is None else result


def suitable_step(dtype: torch.dtype, method: Method) -> float:
    """The nudge that balances rounding against curvature for values of about 1.

    Truncation grows with ``h`` (forward) or ``h**2`` (central), rounding with ``precision / h``;
    their sum is least near the square or the cube root of the precision. Networks with ReLU are
    flat in pieces, so less risks only rounding and meets fewer kinks: in float64, where there is
    precision to spare, a tenth of it.
    """
    precision = torch.finfo(dtype).eps
    step: float = precision ** (1 / 2 if method == "forward" else 1 / 3)
    return step / 10 if dtype == torch.float64 and method == "central" else step


def _differences(
    model: Classifier,
    image: Tensor,
    wanted: Tensor,
    objective: Objective,
    pixels: Tensor,
    step: float,
    method: Method,
    batch_size: int,
) -> Tensor:
    def values(at: Tensor) -> Tensor:
        answer = evaluate(model, at.view(-1, *image.shape), wanted.expand(len(at)), objective)
        assert answer.objective is not None
        return answer.objective

    flat = image.flatten()
    slopes = []
    for part in pixels.split(batch_size if method == "forward" else max(1, batch_size // 2)):
        up = _nudged(flat, part, step)
        if method == "forward":
            # The unmoved image rides in the same batch: another batch rounds differently.
            value = values(torch.cat([flat[None], up]))
            above, below, start = value[1:], value[:1], flat[part]
        else:
            down = _nudged(flat, part, -step)
            above, below = values(torch.cat([up, down])).chunk(2)
            start = down[torch.arange(len(part), device="cpu"), part]
        # What floating point made of the nudge, not what was asked for, is the denominator.
        run = up[torch.arange(len(part), device="cpu"), part].double() - start.double()
        slopes.append((above - below).double() / run)
    return torch.cat(slopes)


def _nudged(flat: Tensor, pixels: Tensor, step: float) -> Tensor:
    copies = flat.repeat(len(pixels), 1)
    copies[torch.arange(len(pixels), device="cpu"), pixels] += step
    return copies


def _check_pixels(pixels: Tensor | None, count: int) -> Tensor:
    if pixels is None:
        return torch.arange(count, device="cpu")
    if pixels.dim() != 1 or pixels.is_floating_point() or pixels.dtype == torch.bool:
        raise InvalidParameterError(
            f"pixels are {pixels.dtype} of shape {tuple(pixels.shape)}; expected a list of integers"
        )
    if len(pixels) == 0 or int(pixels.min()) < 0 or int(pixels.max()) >= count:
        raise InvalidParameterError(
            f"pixels hold {pixels.tolist()[:5]}…; expected positions from 0 to {count - 1} in the "
            "flattened (C, H, W) image"
        )
    return pixels
