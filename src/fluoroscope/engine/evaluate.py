"""The one place that runs a network: logits, and the gradient of an objective at the pixels.

The objective's slope at the logits is taken in float64, each row is scaled to a largest entry of 1,
and only then sent back through the network; the scale is multiplied in at the end. So a probability
of 1e-30 or a loss of 1e-12 gives as good a direction as any other, whatever precision the network
computes in.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fluoroscope.engine.first_look import first_look, not_finite, remark
from fluoroscope.engine.inside import Inside, Seen
from fluoroscope.engine.memory import out_of_memory
from fluoroscope.engine.objectives import Objective, Several, log_probabilities_given
from fluoroscope.engine.threads import suitable_threads
from fluoroscope.engine.vectors import wide
from fluoroscope.errors import InvalidParameterError, ModelOutputError, NoGradientError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.layers import outputs_of, tapped
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
    terms: Tensor | None = None
    """``(N, T)``, what an :class:`~fluoroscope.engine.inside.Inside` adds up."""
    mended: bool = False
    """Whether the network was asked twice, since a derivative was not finite."""
    not_finite: Tensor | None = None
    """``(N,)``, at how many pixel values the derivative is NaN or infinite; ``None`` at none."""
    lost: Tensor | None = None
    """``(N,)``, at how many of these it is no better a hair inside the box, and counts as 0."""

    def check_leads(self) -> None:
        """Refuse a gradient that is finite at no pixel of any image: searches would stand still.

        Raises:
            NoGradientError: it is NaN or infinite everywhere.
        """
        if self.lost is None or self.gradient is None or not self.gradient.numel():
            return
        if bool((self.lost == self.gradient[0].numel()).all()):
            raise NoGradientError(
                "the network's gradient is NaN or infinite at every pixel, so nothing leads "
                "anywhere; expected a finite one: replace the layer that makes it so, such as a "
                "torch.where whose other side is NaN"
            )


def evaluate(
    model: Classifier,
    images: Tensor,
    classes: Tensor | None = None,
    objective: Objective | Inside | None = None,
    *,
    gradient: bool = False,
    several: Several | None = None,
    layer: str | None = None,
    call: int | None = None,
    look: bool = True,
) -> Answer:
    """Run the network on images ``(N, C, H, W)``, and back to the pixels if ``gradient``.

    With ``several`` numbers for each image there is one pass back for each of them, all through the
    same graph. A derivative that is NaN or infinite is taken a hair inside the box instead, at the
    cost of another pass, and is 0 where it is not finite there either.

    With a ``layer``, by its name, the answer holds what it gave out and, if ``gradient``, the
    derivative with respect to that in place of the pixels'. Of a layer that is used several times
    in a pass its last output counts, or that of the ``call``, from 0.

    An :class:`~fluoroscope.engine.inside.Inside` in place of the objective reads layers as well;
    it goes with neither ``several`` nor ``layer``.

    The first pictures that a network is used with are looked at by themselves, unless not
    ``look``; see :mod:`fluoroscope.engine.first_look`.

    Works the same inside ``torch.no_grad()`` and ``torch.inference_mode()``, computes no parameter
    gradients, and leaves nothing behind on the network or on ``images``.

    Raises:
        ModelOutputError: logits that are NaN or infinite.
        NoGradientError: the logits do not depend differentiably on the pixels, or on the layer.
        InvalidParameterError: no such layer or call, one without an output of ``N`` rows, or
            ``several`` numbers at a layer.
    """
    if look:
        first_look(model, images)
    if layer is not None and several is not None:
        raise InvalidParameterError("several numbers were asked for at a layer; expected objective")
    if isinstance(objective, Inside):
        assert several is None
        assert layer is None
        assert classes is not None
    ask = partial(
        _evaluate, model,
        classes=classes, objective=objective, gradient=gradient, several=several, layer=layer,
        call=call,
    )  # fmt: skip
    answer = ask(images)
    found = [answer.gradient, answer.jacobian, answer.activation_gradient]
    if all(_is_finite(each) for each in found if each is not None):
        return answer
    return _mended(model, images, answer, ask)


def _evaluate(
    model: Classifier,
    images: Tensor,
    *,
    classes: Tensor | None,
    objective: Objective | Inside | None,
    gradient: bool,
    several: Several | None,
    layer: str | None,
    call: int | None,
) -> Answer:
    graph = gradient or several is not None
    # Only of the last of several uses is it certain that no other begins the graph anew.
    cut = graph and call is None
    tap: AbstractContextManager[list[Tensor]] = (
        nullcontext([]) if layer is None else tapped(model, layer, cut=cut)
    )
    places = objective.places if isinstance(objective, Inside) else ()
    at_pixels = graph and (layer is None or call is not None)
    with (
        suitable_threads(images),
        torch.inference_mode(False),
        torch.set_grad_enabled(graph),
        model.held(),
        tap as kept,
        ExitStack() as taps,
    ):
        read = [taps.enter_context(tapped(model, at.layer, given=at.given)) for at in places]
        pixels = images.detach()
        if pixels.is_inference():
            pixels = pixels.clone()
        if classes is not None and classes.is_inference():
            classes = classes.clone()
        with objective.around() if isinstance(objective, Inside) else nullcontext():
            logits = model(pixels.requires_grad_() if at_pixels else pixels)
        said = logits.detach()
        _check_finite(model, said)
        at, activation, where = [pixels], None, "the pixels"
        if layer is not None:
            at = outputs_of(kept, layer, len(images), model, call)
            activation = _joined([part.detach() for part in at], len(images))
            where = f"what its layer {layer!r} gives out"
            kept.clear()
        if model.logits_first is not None:  # what follows is for the objective alone
            said = said[:, : model.logits_first]
        if objective is None or classes is None:
            return Answer(said, activation=activation)
        double, found = logits.detach().to(wide(logits)), None
        if isinstance(objective, Inside):
            parts = [
                outputs_of(each, at.layer, len(images), model, at.call)
                for each, at in zip(read, places, strict=True)
            ]
            with log_probabilities_given(model.log_probabilities):
                terms, found = _inside(
                    model, objective, pixels, logits, double, parts, classes, gradient=gradient
                )
            return Answer(said, terms.to(wide(logits)).sum(1), found, terms=terms)
        with log_probabilities_given(model.log_probabilities):
            if gradient:
                values, slopes = objective.with_slopes(double, classes)
                found = _gradient(model, at, where, logits, slopes, several is not None)
            else:
                values = objective(double, classes)
        if layer is not None:
            return Answer(said, values, activation=activation, activation_gradient=found)
        if several is None:
            return Answer(said, values, found)
        double.requires_grad_()
        columns = several(double, classes).unbind(1)
        jacobian = []
        for number, each in enumerate(columns, 1):
            more = number < len(columns)
            (slopes,) = torch.autograd.grad(each.sum(), double, retain_graph=more)
            jacobian.append(_gradient(model, at, where, logits, slopes, more))
        return Answer(
            said, values, found,
            torch.stack(columns, 1).detach(), torch.stack(jacobian, 1),
        )  # fmt: skip


def _gradient(
    model: Classifier, at: list[Tensor], where: str, logits: Tensor, slopes: Tensor, more: bool
) -> Tensor:
    """The gradient for slopes at the logits; the graph is kept if ``more`` are to follow.

    ``at`` holds the pixels, or a layer's outputs: all rows in order, and perhaps some beyond.
    """
    scale = torch.linalg.vector_norm(slopes, math.inf, dim=1, keepdim=True)
    slanted = scale > 0
    units = torch.where(slanted, slopes / scale, slopes)
    found: tuple[Tensor | None, ...] = (None,)
    if logits.requires_grad and all(part.requires_grad for part in at):
        # The same as handing the units over, for which PyTorch first imports SymPy.
        found = _back(model, (logits * units.to(logits.dtype)).sum(), at, more)
    parts = [part for part in found if part is not None]
    if len(parts) < len(at):
        mend = "choose another layer" if where != "the pixels" else "replace the layer that cuts it"
        raise NoGradientError(
            f"the logits of {model.name} do not depend differentiably on {where}; "
            f"use a method that needs no gradient, or {mend}"
        )
    result = _joined(parts, len(logits))
    if result.dtype in (torch.float16, torch.bfloat16):  # small slopes would be lost in these
        result = result.float()
    size = torch.where(slanted, scale.clamp(min=_SMALLEST_SLOPE), scale)
    return result.mul_(size.to(result.dtype).view(-1, *[1] * (result.dim() - 1)))


def _back(
    model: Classifier, total: Tensor, at: list[Tensor], more: bool
) -> tuple[Tensor | None, ...]:
    """The gradients of a number; whatever the user's own code raises is told in one sentence."""
    try:
        return torch.autograd.grad(total, at, retain_graph=more, allow_unused=True)
    except (Exception, SystemExit) as problem:
        if out_of_memory(problem):
            raise
        raise NoGradientError(
            f"going back through {model.name} raised {type(problem).__name__}: "
            f"{first_line(problem)}; use a method that needs no gradient, or mend the layer "
            "(a checkpoint needs use_reentrant=False)"
        ) from problem


def _inside(
    model: Classifier,
    objective: Inside,
    pixels: Tensor,
    logits: Tensor,
    double: Tensor,
    parts: list[list[Tensor]],
    classes: Tensor,
    *,
    gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    """The terms ``(N, T)``, and the gradient of their sum at the pixels.

    ``parts`` is what was read at each place; slopes are taken there and at the logits, and go back
    from all of these at once.
    """
    leaves = [double, *(_leaf(each, len(logits)) for each in parts)]
    for leaf in leaves:
        leaf.requires_grad_(gradient)
    terms = objective(Seen(double, classes, dict(zip(objective.places, leaves[1:], strict=True))))
    if not gradient:
        return terms.detach(), None
    slopes: tuple[Tensor | None, ...] = (None,) * len(leaves)
    if terms.requires_grad:
        slopes = torch.autograd.grad(terms.sum(), leaves, allow_unused=True)
    total = logits.new_zeros(())
    for at, slope in zip([[logits], *parts], slopes, strict=True):
        if slope is None:
            continue
        start = 0
        for part in at:
            along = slope[start : start + len(part)]
            start += len(part)
            if part.requires_grad:
                total = total + _Towards.apply(part[: len(along)], along.to(part.dtype))
    if not total.requires_grad:
        if not logits.requires_grad:
            raise NoGradientError(
                f"the logits of {model.name} do not depend differentiably on the pixels; "
                "use a method that needs no gradient, or replace the layer that cuts it"
            )
        return terms.detach(), torch.zeros_like(pixels)
    (found,) = _back(model, total, [pixels], False)
    return terms.detach(), torch.zeros_like(pixels) if found is None else found


def _leaf(parts: list[Tensor], rows: int) -> Tensor:
    """What a place gave out, as the beginning of a graph, in float32 at least."""
    found = _joined([part.detach() for part in parts], rows)
    return found.to(torch.promote_types(found.dtype, torch.float32))


class _Towards(torch.autograd.Function):
    """Nothing, going back through which gives the slope: so no product has to be made."""

    @staticmethod
    def forward(context: Any, at: Tensor, slope: Tensor) -> Tensor:
        context.save_for_backward(slope)
        return at.new_zeros(())

    @staticmethod
    def backward(context: Any, *scale: Tensor) -> tuple[Tensor, None]:
        (slope,) = context.saved_tensors
        return slope, None


def _joined(parts: list[Tensor], rows: int) -> Tensor:
    """The first rows of several tensors, one after the other."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)[:rows]


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
        activation_gradient=mended(answer.activation_gradient, inside.activation_gradient),
        mended=True,
    )
    return replace(made, not_finite=broken, lost=lost)


def _is_finite(numbers: Tensor) -> bool:
    # One number tells of all, but for a sum that overflows.
    return math.isfinite(numbers.sum()) or bool(torch.isfinite(numbers).all())


def _check_finite(model: Classifier, logits: Tensor) -> None:
    if _is_finite(logits):
        return
    bad = int((~torch.isfinite(logits).all(1)).sum())
    raise ModelOutputError(
        f"{model.name} returned NaN or infinite logits for {bad} of {count(len(logits), 'image')}; "
        "expected finite numbers: check its weights, precision and normalisation"
    )
