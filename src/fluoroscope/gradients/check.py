"""Is the gradient that backpropagation gives the one the network has?

Both are computed at the same pixels and compared; where they part, the one-sided differences tell
why. A network whose gradients are wrong on purpose or by accident (a rounding layer with a
straight-through estimator, a detached branch) has no excuse left and is called so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fluoroscope.engine.classes import Classes, as_classes
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.objectives import Objective, as_objective
from fluoroscope.errors import InvalidParameterError
from fluoroscope.gradients.finite_difference import (
    Method,
    finite_difference_gradient,
    suitable_step,
)
from fluoroscope.gradients.input_gradient import input_gradient
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.pictures import html
from fluoroscope.pictures.checks import check_images
from fluoroscope.words import count

Precision = Literal["float64", "float32"]

REASONS = {
    "agrees": "backpropagation and differences agree",
    "kink": "the objective bends between the two nudges (a ReLU or a maximum switches): "
    "take a smaller step",
    "noise": "the difference is no larger than rounding makes it: compare in float64",
    "saturated": "the objective is flat to the last digit here: take logits or log-probabilities",
    "wrong": "nothing explains the difference: the network's backward pass is not the derivative "
    "of its forward pass",
}

_CODES = {name: code for code, name in enumerate(REASONS)}


@dataclass(frozen=True, repr=False)
class GradientCheck(html.Shown):
    """Backpropagation against central differences at ``P`` pixel values of ``N`` images."""

    pixels: Tensor
    """``(P,)`` positions in the flattened ``(C, H, W)`` image."""
    backpropagation: Tensor
    """``(N, P)``, float64."""
    differences: Tensor
    """``(N, P)``, central, float64."""
    codes: Tensor
    """``(N, P)``, positions in :data:`REASONS`: why they part, or that they do not."""
    step: float
    precision: Precision

    @property
    def errors(self) -> Tensor:
        """``(N, P)``: absolute differences, relative to the largest slope of the image."""
        size = torch.maximum(self.backpropagation.abs(), self.differences.abs()).amax(1, True)
        return (self.backpropagation - self.differences).abs() / size.clamp(min=1e-300)

    @property
    def relative_error(self) -> float:
        """The largest of :attr:`errors`."""
        return self.errors.max().item()

    @property
    def counts(self) -> dict[str, int]:
        """How many pixel values fall to each reason."""
        found = {name: int((self.codes == code).sum()) for name, code in _CODES.items()}
        return {name: count for name, count in found.items() if count}

    @property
    def passed(self) -> bool:
        """Whether no pixel value is left without an explanation."""
        return "wrong" not in self.counts

    def _line(self) -> str:
        return f"{'passed' if self.passed else 'failed'}: {self._largest()}"

    def _largest(self) -> str:
        if not self.codes.numel():
            return "nothing was compared"
        return (
            f"largest relative difference {self.relative_error:.2g} over "
            f"{count(self.codes.numel(), 'pixel value')}, {self.precision}, step {self.step:.2g}"
        )

    def _view(self) -> Iterator[html.Html]:
        yield html.table(
            ["pixel values", "", "what that means"],
            [[f"{many:,}", name, REASONS[name]] for name, many in self.counts.items()],
            right=(0,),
        )

    def __str__(self) -> str:
        lines = [self._largest()]
        lines += [f"{count:6d} {name}: {REASONS[name]}" for name, count in self.counts.items()]
        return "\n".join(lines)


def check_gradient(
    model: Classifier | nn.Module,
    images: Tensor,
    classes: Classes,
    objective: str | Objective = "logit",
    *,
    pixels: Tensor | int = 200,
    step: float | None = None,
    precision: Precision = "float64",
    tolerance: float | None = None,
    seed: int = 0,
    batch_size: int | None = None,
) -> GradientCheck:
    """Compare backpropagation with central differences and say why they part where they do.

    Args:
        model: the network under study.
        images: ``(N, C, H, W)`` or one ``(C, H, W)``, in ``[0, 1]``.
        classes: a class for each sample or one for all: label, unique prefix or index.
        objective: as for :func:`input_gradient`.
        pixels: positions in the flattened ``(C, H, W)`` image, or how many to draw at random.
        step: the nudge; by default what balances rounding against curvature.
        precision: ``float64`` compares a copy of the network in double precision.
        tolerance: relative difference up to which they agree; 1e-6 in float64, 1e-2 in float32.
        seed: for the drawn pixels.
        batch_size: images evaluated at once; by default what four million pixel values fill.

    Raises:
        InvalidImagesError, UnknownLabelError, InvalidParameterError: what was given is unusable.
        NoGradientError: the logits do not depend differentiably on the pixels.
    """
    model = as_classifier(model)
    if precision not in ("float64", "float32"):
        raise InvalidParameterError(f"precision is {precision!r}; expected float64 or float32")
    dtype = torch.float64 if precision == "float64" else torch.float32
    twin = model if model.precision == dtype else model.to(dtype=dtype)
    batch = check_images(images, model.channels).to(dtype)
    goal = as_objective(objective)
    chosen = _chosen(pixels, batch[0].numel(), seed)
    nudge = suitable_step(dtype, "central") if step is None else step
    limit = tolerance if tolerance is not None else 1e-6 if precision == "float64" else 1e-2

    wanted = as_classes(twin, classes, batch)
    backward = input_gradient(twin, batch, wanted, goal).flatten(1)[:, chosen].double()
    probes: list[tuple[Method, float]] = [
        ("central", nudge), ("forward", nudge), ("forward", -nudge)
    ]  # fmt: skip
    central, after, before = (
        finite_difference_gradient(
            twin, batch, wanted, goal, method=method, pixels=chosen, step=size,
            batch_size=batch_size,
        )
        for method, size in probes
    )  # fmt: skip
    noise = (_rounding(twin, batch, wanted, goal) / nudge)[:, None]
    gap = (backward - central).abs()
    agrees = gap <= limit * torch.maximum(backward.abs(), central.abs()).amax(1, keepdim=True)
    flat = (after == 0) & (before == 0) & (backward != 0) & (backward.abs() <= noise)
    codes = torch.full(gap.shape, _CODES["wrong"], device="cpu")
    codes[gap <= noise] = _CODES["noise"]
    codes[agrees] = _CODES["agrees"]
    codes[flat] = _CODES["saturated"]
    for row, column in (codes == _CODES["wrong"]).nonzero().tolist():
        place = (twin, batch[row], wanted[row], goal, int(chosen[column]))
        slack = max(noise[row].item(), limit * backward[row].abs().max().item())
        if _bends(*place, nudge, after[row, column].item(), slack) or _bends(
            *place, -nudge, before[row, column].item(), slack
        ):
            codes[row, column] = _CODES["kink"]
    return GradientCheck(chosen, backward, central, codes, nudge, precision)


def _bends(
    model: Classifier,
    image: Tensor,
    wanted: Tensor,
    objective: Objective,
    pixel: int,
    step: float,
    difference: float,
    slack: float,
) -> bool:
    """Whether the slope changes within the nudge in a way that explains the difference.

    By the mean value theorem a one-sided difference lies between the smallest and the largest slope
    on its way. A backward pass that is wrong reports slopes that do not enclose it.
    """
    points = image.flatten().repeat(17, 1)
    points[:, pixel] += step * torch.linspace(0, 1, 17, dtype=torch.float32, device="cpu").to(
        points
    )
    answer = evaluate(
        model,
        points.view(-1, *image.shape).to(model.device),
        wanted.expand(17),
        objective,
        gradient=True,
    )
    assert answer.gradient is not None
    slopes = answer.gradient.flatten(1)[:, pixel]
    low, high = slopes.min().item(), slopes.max().item()
    return high - low > slack and low - slack <= difference <= high + slack


def _rounding(model: Classifier, images: Tensor, classes: Tensor, objective: Objective) -> Tensor:
    """Error that rounding may leave in each objective's value, ``(N,)``.

    A few hundred units in the last place of the largest logit: rounding adds up over the layers.
    """
    answer = evaluate(model, images.to(model.device), classes, objective)
    assert answer.objective is not None
    size = torch.maximum(answer.logits.abs().amax(1).double(), answer.objective.abs())
    return (300 * torch.finfo(model.precision).eps * size.clamp(min=1e-30)).cpu()


def _chosen(pixels: Tensor | int, count: int, seed: int) -> Tensor:
    if isinstance(pixels, Tensor):
        return pixels
    if pixels < 1:
        raise InvalidParameterError(f"pixels is {pixels}; expected 1 or more, or their positions")
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(count, generator=generator, device="cpu")[:pixels].sort().values
