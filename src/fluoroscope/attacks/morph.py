"""Turn a picture into any class and watch it happen.

Evans, "How to trick a neural network into thinking a panda is a vulture" (2015): small steps along
the gradient of a class, taken at the picture itself. What is new here is the record: every step,
and every class that wins on the way.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from fluoroscope.attacks.gradient.ascent import DIRECTIONS, Direction, GradientAscent
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
from fluoroscope.pictures import html
from fluoroscope.pictures.checks import check_images
from fluoroscope.pictures.curves import probability_curves
from fluoroscope.pictures.display import shown_channels
from fluoroscope.pictures.pairs import spread
from fluoroscope.pictures.plots import SERIES, page_style
from fluoroscope.words import Ruler, as_percent, count, number, percent, shortened

if TYPE_CHECKING:
    from PIL.Image import Image

Mode = Literal["to", "less", "away"]
# In a notebook: the longer side of the pictures at both ends, and frames at the most.
_SIDE, _FRAMES = 160, 8


@dataclass(frozen=True, repr=False)
class MorphStep(html.Shown):
    """One picture of the trajectory and what the network says of it."""

    number: int
    """Updates that lie behind it; 0 is the start."""
    image: Tensor
    """``(C, H, W)`` in ``[0, 1]``."""
    probabilities: Tensor
    """``(classes,)``."""
    objective: float
    """The number that is raised."""
    l0: int
    """Positions at which any channel differs from the start."""
    l2: float
    linf: float
    winner: int
    """The most probable class."""

    def _line(self) -> str:
        return (
            f"{self.number}: class {self.winner} at "
            f"{percent(self.probabilities[self.winner].item())}, largest change {self.linf:.3g}"
        )

    def _view(self) -> Iterator[html.Html]:
        yield html.cards([[html.picture(self.image)]])


@dataclass(frozen=True)
class MorphPlan:
    """A morph with every default settled, as results record it."""

    mode: Mode
    target: int
    """The wanted class; for ``less`` and ``away`` the class to leave."""
    steps: int
    step_size: float
    direction: Direction
    norm: str
    eps: float | None
    objective: str
    on_grid: bool
    stop_at: float | None
    seed: int


@dataclass(frozen=True, repr=False)
class MorphResult(html.Shown):
    """A finished morph: the trajectory, its ends, and what is needed to repeat it."""

    model: str
    labels: tuple[str, ...]
    plan: MorphPlan
    original: Tensor
    """``(C, H, W)``; on the 8-bit grid if the plan says so."""
    image: Tensor
    """``(C, H, W)``, the last picture."""
    frames: Tensor
    """``(F, C, H, W)``, evenly spaced pictures of the trajectory, the first and last included."""
    frame_steps: Tensor
    """``(F,)``, the step of each frame."""
    probabilities: Tensor
    """``(T, classes)`` at every step, the start included."""
    objective: Tensor
    """``(T,)``, float64."""
    l0: Tensor
    """``(T,)``, int64."""
    l2: Tensor
    """``(T,)``."""
    linf: Tensor
    """``(T,)``."""
    provenance: dict[str, Any]
    """Versions, machine and the network's content hash."""

    @property
    def winners(self) -> list[int]:
        """The most probable class at every step."""
        return self.probabilities.argmax(1).tolist()

    @property
    def target_probability(self) -> list[float]:
        """Probability of the class the plan speaks of, at every step."""
        return self.probabilities[:, self.plan.target].tolist()

    @property
    def reached(self) -> bool:
        """Whether the last picture is what was wanted: its winner, and ``stop_at`` if given."""
        return bool(_is_reached(self.plan, self.probabilities[-1:]).item())

    @property
    def way_stations(self) -> list[tuple[int, int]]:
        """``(step, class)`` at the start and at each change of winner."""
        winners = self.winners
        return [
            (step, winner)
            for step, winner in enumerate(winners)
            if step == 0 or winner != winners[step - 1]
        ]

    @property
    def changed_at(self) -> int | None:
        """The step from which the end's class wins; ``None`` where it won from the start."""
        return self.way_stations[-1][0] or None

    @property
    def summary(self) -> str:
        """What became of the picture, and when, in a sentence."""
        plan, last = self.plan, len(self.winners) - 1
        first, end = (self._is(step) for step in (0, last))
        named = self.labels[plan.target]
        norm = "linf" if plan.norm == "linf" else "l2"
        far = Ruler(norm, len(self.original)).change(float(getattr(self, norm)[-1]))
        after = f"after {count(last, 'step')} and {far} it is {end}"
        shares = [as_percent(self.target_probability[step]) for step in (0, -1)]
        towards = plan.mode == "to"
        if towards == (self.winners[0] == plan.target):
            why = f"it was {first} to begin with" + ("" if towards else f", and not {named}")
            return f"{why}: nothing had to change" + (f"; {after}" if last else "")
        if towards == (self.winners[-1] == plan.target):
            verb = f"became {named}" if towards else f"was left for {self.labels[self.winners[-1]]}"
            short = f", of which {as_percent(plan.stop_at or 0)} were wanted"
            if not towards:
                short = f", and {named} {shares[1]}: {as_percent(plan.stop_at or 0)} were wanted"
            return f"{first} {verb} at step {self.changed_at}; {after}" + (
                "" if self.reached else short
            )
        verb = f"did not become {named}" if towards else "was not left"
        others = f"; {named} went from {shares[0]} to {shares[1]}" if towards else ""
        return f"{first} {verb}: {after}{others}"

    def _is(self, step: int) -> str:
        """``7 (98.8 %)``: what the network says at a step."""
        probability = float(self.probabilities[step].max())
        return f"{self.labels[self.winners[step]]} ({as_percent(probability)})"

    def slide(self) -> "Image":
        """The first picture, plus the change, equals the last one: a picture for a slide.

        See :func:`.pictures.slide.slide`. Probabilities are those of the exact values.
        """
        from fluoroscope.pictures.slide import Caption, slide

        ends = [
            Caption(self.labels[self.winners[step]], float(self.probabilities[step].max()))
            for step in (0, -1)
        ]
        return slide(self.original, self.image, was=ends[0], became=ends[1], network=self.model)

    def _line(self) -> str:
        names, (first, *_, last) = self.labels, [self.winners[0], *self.winners]
        plan, steps = self.plan, len(self.probabilities) - 1
        aim = "" if plan.mode == "to" else f" (away from {shortened(names[plan.target])})"
        if plan.mode == "to" and last != plan.target:
            aim = f" (wanted: {shortened(names[plan.target])})"
        return (
            f"{self.model}: {shortened(names[first])} → {shortened(names[last])}{aim} at "
            f"{percent(self.probabilities[-1, last].item())} after {count(steps, 'step')}, "
            f"largest change {number(self.linf[-1].item())}"
        )

    def _view(self) -> Iterator[html.Html]:
        difference = self.image - self.original
        scale = html.scale_of([difference])
        first, last = self.winners[0], self.winners[-1]
        yield html.cards(
            [
                [html.picture(self.original, self._said(0, first), side=_SIDE)],
                [html.change(difference, scale, f"change, colours to ±{scale:.2g}", side=_SIDE)],
                [html.picture(self.image, self._said(-1, last), side=_SIDE)],
            ]
        )
        with page_style():
            figure = probability_curves(
                self.probabilities,
                self.labels,
                always=list(dict.fromkeys([first, self.plan.target])),
                stations=self.way_stations,
                colors=SERIES,
            )
        yield html.plot(
            figure,
            "probability of each class that mattered, step by step; dots: it begins to win",
        )
        yield html.paragraph("Where another class takes over, and some steps between:")
        yield html.cards(
            [html.picture(self.frames[row], f"step {at}\n{self._said(at, self.winners[at])}")]
            for row in self._strip()
            for at in [int(self.frame_steps[row])]
        )
        yield html.facts(
            [
                ("reached", "yes" if self.reached else "no"),
                ("objective", self.plan.objective),
                ("bound", "" if self.plan.eps is None else f"{self.plan.norm} {self.plan.eps:.3g}"),
                ("L2 of the change", number(self.l2[-1].item())),
                ("pixels changed", f"{int(self.l0[-1]):,} of {self.image[0].numel():,}"),
            ]
        )

    def _strip(self) -> list[int]:
        """Frames to look at: the first of each way station, and others evenly spaced."""
        steps = self.frame_steps.tolist()
        starts = [step for step, _ in self.way_stations]
        ends = [*starts[1:], len(self.probabilities)]
        found = [
            next((row for row, step in enumerate(steps) if start <= step < end), None)
            for start, end in zip(starts, ends, strict=True)
        ]
        stations = [row for row in found if row is not None]
        stations = [stations[place] for place in spread(len(stations), _FRAMES).tolist()]
        between = spread(len(steps), _FRAMES - len(stations)).tolist()
        return sorted({*stations, *between})

    def _said(self, step: int, winner: int) -> str:
        probability = percent(self.probabilities[step, winner].item(), 0)
        return f"predicted as {shortened(self.labels[winner])}, {probability}"

    def save(self, directory: str | Path, *, gif: bool = True) -> list[Path]:
        """Write pictures, curve, JSON and exact floats; see :mod:`.morph_files`."""
        from fluoroscope.attacks.morph_files import save_morph

        return save_morph(self, directory, gif=gif)

    @staticmethod
    def load(directory: str | Path) -> "MorphResult":
        """Read back what :meth:`save` wrote."""
        from fluoroscope.attacks.morph_files import load_morph

        return load_morph(directory)

    def describe(self, top: int = 5) -> dict[str, Any]:
        """The trajectory as plain values, for JSON."""
        values, classes = self.probabilities.topk(min(top, self.probabilities.shape[1]), dim=1)
        rows = zip(
            self.target_probability,
            self.winners,
            self.objective.tolist(),
            self.l0.tolist(),
            self.l2.tolist(),
            self.linf.tolist(),
            classes.tolist(),
            values.tolist(),
            strict=True,
        )
        plan = self.plan
        return {
            "model": self.model,
            "from": self.labels[self.winners[0]],
            "to": self.labels[plan.target] if plan.mode == "to" else None,
            "leave": self.labels[plan.target] if plan.mode != "to" else None,
            "reached": self.reached,
            "changed_at": self.changed_at,
            "summary": self.summary,
            "steps": [
                {
                    "step": number,
                    "target_probability": probability,
                    "winner": self.labels[winner],
                    "objective": objective,
                    "top": [
                        {"label": self.labels[c], "probability": p}
                        for c, p in zip(step_classes, step_values, strict=True)
                    ],
                    "l0": l0,
                    "l2": l2,
                    "linf": linf,
                }
                for number, (
                    probability, winner, objective, l0, l2, linf, step_classes, step_values
                ) in enumerate(rows)
            ],
            "way_stations": [
                {
                    "step": step,
                    "label": self.labels[winner],
                    "probability": self.probabilities[step, winner].item(),
                }
                for step, winner in self.way_stations
            ],
            "plan": asdict(plan),
            "provenance": self.provenance,
            "shown_channels": shown_channels(len(self.image)),
        }  # fmt: skip


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
            return _is_reached(self.plan, answer.logits.softmax(1))

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
    if (to is not None) + (less is not None) + away != 1:
        raise InvalidParameterError(
            f"to is {to!r}, less is {less!r}, away is {away!r}; expected just one of them"
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


def _is_reached(plan: MorphPlan, probabilities: Tensor) -> Tensor:
    wins = probabilities.argmax(1) == plan.target
    present = probabilities[:, plan.target]
    if plan.mode == "to":
        return wins if plan.stop_at is None else wins & (present >= plan.stop_at)
    return ~wins if plan.stop_at is None else ~wins & (present <= plan.stop_at)
