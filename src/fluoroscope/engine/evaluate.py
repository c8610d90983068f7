"""The one place that runs a network: logits, and the gradient of an objective at the pixels.

The objective's slope at the logits is taken in float64, each row is scaled to a largest entry of 1,
and only then sent back through the network; the scale is multiplied in at the end. So a probability
of 1e-30 or a loss of 1e-12 gives as good a direction as any other, whatever precision the network
computes in.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from fluoroscope.engine.first_look import first_look, not_finite, remark
from fluoroscope.engine.memory import out_of_memory
from fluoroscope.engine.objectives import Objective, Several, log_probabilities_given
from fluoroscope.engine.threads import suitable_threads
from fluoroscope.engine.vectors import wide
from fluoroscope.errors import ModelOutputError, NoGradientError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.layers import one_output, tapped
from fluoroscope.models.wording import first_line
from fluoroscope.words import count

# Below this slope a gradient keeps its direction but no longer shrinks: float32 ends near 1e-38,
# and a gradient that became zero would point nowhere.
_SMALLEST_SLOPE = 1e-34
# Where a gradient is not finite it is taken so far inside the box: a quarter of an 8-bit level.
_HAIR = 1e-3


@dataclass(frozen=True)
class Answer:
    """What a network said of ``N`` images; nothing in it is attached to a graph."""

    logits: Tensor
    """``(N, classes)``, in the type of the images."""
    objective: Tensor | None = None
    """``(N,)``, the number that was to be raised, in float64."""
    gradient: Tensor | None = None
    """``(N, C, H, W)``, its derivative with respect to the pixels."""
    several: Tensor | None = None
    """``(N, R)``, several numbers at once, in float64."""
    jacobian: Tensor | None = None
    """``(N, R, C, H, W)``, the derivatives of each of them with respect to the pixels."""
    activation: Tensor | None = None
    """``(N, ...)``, what the layer that was asked about gave out."""
    activation_gradient: Tensor | None = None
    """``(N, ...)``, the objective's derivative with respect to that."""
    mended: bool = False
    """Whether the network was asked twice, since a derivative was not finite."""
    not_finite: Tensor | None = None
    """``(N,)``, at how many pixel values the derivative is NaN or infinite; ``None`` at none."""
    lost: Tensor | None = None
    """``(N,)``, at how many of these it is no better a hair inside the box, and counts as 0."""


def evaluate(
    model: Classifier,
    images: Tensor,
    classes: Tensor | None = None,
    objective: Objective | None = None,
    *,
    gradient: bool = False,
    several: Several | None = None,
    layer: str | None = None,
    look: bool = True,
) -> Answer:
    """Run the network on images ``(N, C, H, W)``, and back to the pixels if ``gradient``.

    With ``several`` numbers for each image there is one pass back for each of them, all through the
    same graph. A derivative that is NaN or infinite is taken a hair inside the box instead, at the
    cost of another pass, and is 0 where it is not finite there either.

    With a ``layer``, by its name, the answer holds what it gave out and, if ``gradient``, the
    derivative with respect to that in place of the pixels'; of a layer that is used several times
    the last output counts.

    The first pictures that a network is used with are looked at by themselves, unless not
    ``look``; see :mod:`fluoroscope.engine.first_look`.

    Works the same inside ``torch.no_grad()`` and ``torch.inference_mode()``, computes no parameter
    gradients, and leaves nothing behind on the network or on ``images``.

    Raises:
        ModelOutputError: logits that are NaN or infinite.
        NoGradientError: the logits do not depend differentiably on the pixels.
        InvalidParameterError: no such layer, or one without an output of ``N`` rows.
    """
    if look:
        first_look(model, images)
    if layer is not None:
        return _at_layer(model, images, classes, objective, layer, gradient=gradient)
    ask = partial(
        _evaluate, model,
        classes=classes, objective=objective, gradient=gradient, several=several,
    )  # fmt: skip
    answer = ask(images)
    found = [each for each in (answer.gradient, answer.jacobian) if each is not None]
    return answer if all(map(_is_finite, found)) else _mended(model, images, answer, ask)


def _evaluate(
    model: Classifier,
    images: Tensor,
    *,
    classes: Tensor | None,
    objective: Objective | None,
    gradient: bool,
    several: Several | None,
) -> Answer:
    graph = gradient or several is not None
    with (
        suitable_threads(images),
        torch.inference_mode(False),
        torch.set_grad_enabled(graph),
        model.held(),
    ):
        pixels = images.detach()
        if pixels.is_inference():
            pixels = pixels.clone()
        if classes is not None and classes.is_inference():
            classes = classes.clone()
        logits = model(pixels.requires_grad_() if graph else pixels)
        _check_finite(model, logits)
        said = logits.detach()
        if model.logits_first is not None:  # what follows is for the objective alone
            said = said[:, : model.logits_first]
        if objective is None or classes is None:
            return Answer(said)
        double, found = logits.detach().to(wide(logits)), None
        with log_probabilities_given(model.log_probabilities):
            if gradient:
                values, slopes = objective.with_slopes(double, classes)
                found = _pixel_gradient(model, pixels, logits, slopes, several is not None)
            else:
                values = objective(double, classes)
        if several is None:
            return Answer(said, values, found)
        double.requires_grad_()
        columns = several(double, classes).unbind(1)
        jacobian = []
        for number, each in enumerate(columns, 1):
            more = number < len(columns)
            (slopes,) = torch.autograd.grad(each.sum(), double, retain_graph=more)
            jacobian.append(_pixel_gradient(model, pixels, logits, slopes, more))
        return Answer(
            said, values, found,
            torch.stack(columns, 1).detach(), torch.stack(jacobian, 1),
        )  # fmt: skip


def _at_layer(
    model: Classifier,
    images: Tensor,
    classes: Tensor | None,
    objective: Objective | None,
    layer: str,
    *,
    gradient: bool,
) -> Answer:
    with (
        suitable_threads(images),
        torch.inference_mode(False),
        torch.set_grad_enabled(gradient),
        model.held(),
        tapped(model, layer) as kept,
    ):
        pixels = images.detach().clone()
        logits = model(pixels.requires_grad_() if gradient else pixels)
        _check_finite(model, logits)
        output = one_output(kept, layer, len(images), model)
        kept.clear()
        said = logits.detach()
        if objective is None or classes is None:
            return Answer(said, activation=output.detach())
        double, found = said.to(wide(said)), None
        with log_probabilities_given(model.log_probabilities):
            values, slopes = objective.with_slopes(double, classes)
        if gradient:
            found = _pixel_gradient(model, output, logits, slopes, more=False)
        return Answer(said, values, activation=output.detach(), activation_gradient=found)


def _pixel_gradient(
    model: Classifier, pixels: Tensor, logits: Tensor, slopes: Tensor, more: bool
) -> Tensor:
    """The gradient for slopes at the logits; the graph is kept if ``more`` are to follow."""
    scale = slopes.abs().amax(1, keepdim=True)
    units = torch.where(scale > 0, slopes / scale, slopes)
    found = None
    if logits.requires_grad:
        try:
            # The same as handing the units over, for which PyTorch first imports SymPy.
            (found,) = torch.autograd.grad(
                (logits * units.to(logits.dtype)).sum(),
                pixels,
                retain_graph=more,
                allow_unused=True,
            )
        # Whatever the backward pass of the user's own code raises.
        except Exception as problem:
            if out_of_memory(problem):
                raise
            raise NoGradientError(
                f"going back through {model.name} raised {type(problem).__name__}: "
                f"{first_line(problem)}; use a method that needs no gradient, or mend the layer "
                "(a checkpoint needs use_reentrant=False)"
            ) from problem
    if found is None:
        raise NoGradientError(
            f"the logits of {model.name} do not depend differentiably on the pixels; "
            "use a method that needs no gradient, or replace the layer that cuts it"
        )
    size = torch.where(scale > 0, scale.clamp(min=_SMALLEST_SLOPE), scale)
    result: Tensor = found.mul_(size.to(found.dtype).view(-1, *[1] * (found.dim() - 1)))
    return result


def _mended(
    model: Classifier, images: Tensor, answer: Answer, ask: Callable[[Tensor], Answer]
) -> Answer:
    """The answer with finite derivatives: a root has none at black, but a hair further."""
    remark(model, "finite", not_finite(model))
    try:
        inside = ask(images.detach().clamp(_HAIR, 1 - _HAIR))
    except ModelOutputError:  # the answers there are not finite
        inside = Answer(answer.logits)
    broken = torch.zeros(len(images), dtype=torch.long, device=images.device)
    lost = torch.zeros_like(broken)

    def mended(found: Tensor | None, other: Tensor | None) -> Tensor | None:
        nonlocal broken, lost
        if found is None:
            return None
        other = torch.full_like(found, math.nan) if other is None else other
        bad = ~found.isfinite()
        broken = broken + bad.flatten(1).sum(1)
        lost = lost + (bad & ~other.isfinite()).flatten(1).sum(1)
        return torch.where(bad, other.nan_to_num(0, 0, 0), found)

    made = replace(
        answer,
        gradient=mended(answer.gradient, inside.gradient),
        jacobian=mended(answer.jacobian, inside.jacobian),
        mended=True,
    )
    return replace(made, not_finite=broken, lost=lost)


def _is_finite(numbers: Tensor) -> bool:
    # One number tells of all, but for a sum that overflows.
    return math.isfinite(numbers.detach().sum()) or bool(torch.isfinite(numbers).all())


def _check_finite(model: Classifier, logits: Tensor) -> None:
    if _is_finite(logits):
        return
    bad = int((~torch.isfinite(logits).all(1)).sum())
    raise ModelOutputError(
        f"{model.name} returned NaN or infinite logits for {bad} of {count(len(logits), 'image')}; "
        "expected finite numbers: check its weights, precision and normalisation"
    )
