"""Turn a picture into any class and watch it happen.

Evans, "How to trick a neural network into thinking a panda is a vulture" (2015): small steps along
the gradient of a class, taken at the picture itself. What is new here is the record: every step,
and every class that wins on the way.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.attacks.gradient.ascent import DIRECTIONS, Direction, GradientAscent
from fluoroscope.attacks.morph_result import (
    Mode,
    MorphPlan,
    MorphResult,
    MorphStep,
    is_reached,
)
from fluoroscope.data.reference import open_image
from fluoroscope.engine.bounds import as_number
from fluoroscope.engine.classes import as_classes
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.first_look import remind
from fluoroscope.engine.grid import round_to_grid
from fluoroscope.engine.objectives import Objective, as_objective
from fluoroscope.engine.predict import predict
from fluoroscope.engine.provenance import provenance
from fluoroscope.engine.stream import feed, stream
from fluoroscope.engine.threats import Threat, one_bound, pixel_distances, threat_for
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.pictures.checks import check_images


@dataclass(frozen=True)
class Morph:
    """A morph about to happen: iterate over it for its steps, or ask for its ``result()``.

    Only the plan and the start are held; each iteration begins anew.
    """

    model: Classifier
    plan: MorphPlan
    attack: GradientAscent
    start: Tensor
    """``(1, C, H, W)`` on the network's device."""

    def __iter__(self) -> Iterator[MorphStep]:
        """Yield every step, the start included; drop the iterator at any time to stop."""
        target = torch.tensor([self.plan.target], device=self.start.device)

        def until(answer: Answer, *_: object) -> Tensor:
            return is_reached(self.plan, answer.logits.softmax(1))

        original = round_to_grid(self.start) if self.plan.on_grid else self.start
        for step in stream(
            self.model,
            self.attack,
            feed(original, target, targeted=self.plan.mode == "to"),
            until=until if self.plan.stop_at is not None else None,
            grid=self.attack.threat if self.plan.on_grid else None,
        ):
            l0, l2, linf = pixel_distances(step.images, original)
            assert step.answer.objective is not None
            yield MorphStep(
                number=int(step.numbers.item()),
                image=step.images[0].cpu(),
                probabilities=step.answer.logits[0].softmax(0).cpu(),
                objective=step.answer.objective.item(),
                l0=int(l0.item()),
                l2=l2.item(),
                linf=linf.item(),
                winner=int(step.answer.logits[0].argmax().item()),
            )

    def result(self, steps: Iterable[MorphStep] | None = None, *, frames: int = 60) -> MorphResult:
        """Drain the steps into a result; memory holds at most twice ``frames`` pictures."""
        if frames < 2:
            raise InvalidParameterError(f"frames is {frames}; expected 2 or more")
        kept: list[tuple[int, Tensor]] = []
        stride = 1
        rows: list[tuple[float, int, float, float]] = []
        probabilities: list[Tensor] = []
        for step in self if steps is None else steps:
            if step.number % stride == 0:
                kept.append((step.number, step.image))
                if len(kept) == 2 * frames:
                    kept, stride = kept[::2], 2 * stride
            rows.append((step.objective, step.l0, step.l2, step.linf))
            probabilities.append(step.probabilities)
            last = (step.number, step.image)
        if last[0] % stride:
            kept.append(last)
        chosen = (
            torch.linspace(
                0, len(kept) - 1, min(frames, len(kept)), dtype=torch.float32, device="cpu"
            )
            .round()
            .long()
            .tolist()
        )
        objective, l0, l2, linf = (list(column) for column in zip(*rows, strict=True))
        return MorphResult(
            model=self.model.name,
            labels=self.model.labels,
            plan=self.plan,
            original=kept[0][1],
            image=last[1],
            frames=torch.stack([kept[index][1] for index in chosen]),
            frame_steps=torch.tensor([kept[index][0] for index in chosen], device="cpu"),
            probabilities=torch.stack(probabilities),
            objective=torch.tensor(objective, dtype=torch.double, device="cpu"),
            l0=torch.tensor(l0, dtype=torch.long, device="cpu"),
            l2=torch.tensor(l2, dtype=torch.float, device="cpu"),
            linf=torch.tensor(linf, dtype=torch.float, device="cpu"),
            provenance=provenance(self.model),
        )


def morph(
    model: Classifier | nn.Module, image: Tensor | str, *, frames: int = 60, **options: Any
) -> MorphResult:
    """Run :func:`morph_stream`, which takes the same options, to its end; keep the trajectory.

    ``frames`` is how many pictures of it are kept, evenly spaced; the numbers are kept for all.
    """
    return morph_stream(model, image, **options).result(frames=frames)


def morph_stream(
    model: Classifier | nn.Module,
    image: Tensor | str,
    *,
    to: int | str | None = None,
    less: int | str | None = None,
    away: bool = False,
    steps: int = 40,
    step_size: float | str | None = None,
    direction: str | None = None,
    eps: float | str | None = None,
    norm: str | None = None,
    objective: str = "log-probability",
    on_grid: bool = False,
    stop_at: float | None = None,
    seed: int = 0,
) -> Morph:
    """Gradient ascent on one picture towards a class, away from one, or out of the present one.

    Args:
        model: the network under study.
        image: ``(C, H, W)`` or ``(1, C, H, W)`` in ``[0, 1]``, or where to start: ``"black"``,
            ``"white"``, ``"grey"``, seeded ``"noise"``, a file, or a data set's picture such as
            ``"digits:7"``. Pictures of another size are resized as the network's source says.
        to: the wanted class; or
        less: the class to become less of; or
        away: leave whatever class wins at the start. Just one of the three.
        steps: how many.
        step_size: of a step, in units of its direction; an eighth of ``eps`` by default.
        direction: ``sign`` (every pixel value by ``step_size``; the default for Linf),
            ``normalized`` (a step of Euclidean length ``step_size``; the default otherwise) or
            ``raw`` (``step_size`` times the gradient).
        eps: how far the picture may go, such as ``"8/255"``; unbounded by default.
        norm: ``linf`` (the default where ``eps`` is given), ``l2`` or ``none``.
        objective: the class score that is raised or lowered: ``log-probability``, ``logit``,
            ``margin`` or ``probability``.
        on_grid: round to the 256 levels of a PNG at every step.
        stop_at: end when the wanted class wins with this probability, or the class to leave has
            lost and has at most this probability.
        seed: for noise.

    Returns:
        An iterable of :class:`MorphStep`, the start first; ``result()`` drains it.

    Raises:
        InvalidImagesError, InvalidParameterError, UnknownLabelError: what was given is unusable.
        NoGradientError: the logits do not depend differentiably on the pixels.
    """
    model = as_classifier(model)
    start = _start(model, image, seed).to(model.device, model.dtype)
    remind(model)
    mode, target = _goal(model, start, to, less, away)
    threat = one_bound(threat_for(norm or ("none" if eps is None else "linf"), eps))
    along = _direction(direction, threat)
    if step_size is None:
        step_size = _default_step_size(start, along, threat)
    score = _class_score(objective)
    if steps < 1:
        raise InvalidParameterError(f"steps is {steps}; expected 1 or more")
    if stop_at is not None and not 0 <= stop_at <= 1:
        raise InvalidParameterError(f"stop_at is {stop_at}; expected a probability from 0 to 1")
    attack = GradientAscent(
        steps=steps,
        step_size=as_number(step_size, "step_size"),
        direction=along,
        objective=score,
        threat=threat,
    )
    plan = MorphPlan(
        mode=mode,
        target=target,
        steps=steps,
        step_size=attack.step_size,
        direction=along,
        norm=threat.name,
        eps=None if threat.eps == math.inf else as_number(threat.eps),
        objective=objective,
        on_grid=on_grid,
        stop_at=stop_at,
        seed=seed,
    )
    return Morph(model, plan, attack, start)


def _start(model: Classifier, image: Tensor | str, seed: int) -> Tensor:
    if isinstance(image, str):
        size = model.input_size or (224, 224)
        image = open_image(image, channels=model.channels, size=size, seed=seed).image
    batch = check_images(image, model.channels)
    if len(batch) != 1:
        raise InvalidImagesError(
            f"images have shape {tuple(batch.shape)}; a morph takes one picture: "
            f"(1, {model.channels}, H, W)"
        )
    return model.fit(batch)


def _goal(
    model: Classifier, start: Tensor, to: int | str | None, less: int | str | None, away: bool
) -> tuple[Mode, int]:
    asked = {"to": to is not None, "less": less is not None, "away": away}
    given = [name for name, is_given in asked.items() if is_given]
    if len(given) != 1:
        raise InvalidParameterError(
            f"{' and '.join(given) or 'neither to, less nor away'} "
            f"{'are' if given else 'is'} given; expected just one of them"
        )
    wanted = to if to is not None else less
    if wanted is None:
        return "away", int(predict(model, start).winners.item())
    target = as_classes(model, wanted, start)
    return "less" if to is None else "to", int(target.item())


def _direction(name: str | None, threat: Threat) -> Direction:
    wanted = name or ("sign" if threat.name == "linf" else "normalized")
    for direction in DIRECTIONS:
        if direction == wanted:
            return direction
    raise InvalidParameterError(f"direction is {wanted!r}; expected one of {', '.join(DIRECTIONS)}")


def _class_score(name: str) -> Objective:
    if name == "cross-entropy":
        raise InvalidParameterError(
            "objective is cross-entropy, a loss; expected a class score: log-probability is its "
            "negative"
        )
    return as_objective(name)


def _default_step_size(start: Tensor, direction: Direction, threat: Threat) -> float:
    """An eighth of the way to the bound; without one, a hundredth of the pixel range."""
    bound = as_number(threat.eps) if threat.name != "none" else None
    pixels = math.sqrt(start[0].numel())  # Euclidean length of moving every pixel value by 1
    if direction == "raw":
        return 1.0
    in_units = {"sign": {"l2": 1 / pixels}, "normalized": {"linf": pixels}}
    if bound is None:
        return 0.01 * (pixels if direction == "normalized" else 1.0)
    return float(bound) / 8 * in_units[direction].get(threat.name, 1.0)
