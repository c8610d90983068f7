"""What a morph comes to: its steps, its plan, and the whole of it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from fluoroscope.attacks.gradient.ascent import Direction
from fluoroscope.pictures import html
from fluoroscope.pictures.curves import probability_curves
from fluoroscope.pictures.display import shown_channels
from fluoroscope.pictures.pairs import spread
from fluoroscope.pictures.plots import SERIES, page_style
from fluoroscope.words import (
    Ruler,
    as_percent,
    count,
    network_name,
    number,
    percent,
    shortened,
    threat_name,
)

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
            f"{as_percent(self.probabilities[self.winner].item())}, largest change {self.linf:.3g}"
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
        return bool(is_reached(self.plan, self.probabilities[-1:]).item())

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
            verb = f"became {named}" if towards else f"became {self.labels[self.winners[-1]]}"
            short = f", of which {percent(plan.stop_at or 0)} were wanted"
            if not towards:
                short = f", and {named} {shares[1]}: {percent(plan.stop_at or 0)} were wanted"
            begun = self.winners.index(self.winners[-1])
            when = f"at step {self.changed_at}"
            if begun != self.changed_at:  # another class won again in between
                when = f"for good {when}, first at step {begun}"
            return f"{first} {verb} {when}; {after}" + ("" if self.reached else short)
        verb = f"did not become {named}" if towards else f"stayed {named}"
        others = f"; {named} went from {shares[0]} to {shares[1]}" if towards else ""
        return f"{first} {verb}: {after}{others}"

    def _is(self, step: int) -> str:
        """``7 (98.8 %)``: what the network says at a step."""
        probability = float(self.probabilities[step].max())
        return f"{self.labels[self.winners[step]]} ({as_percent(probability)})"

    @property
    def captions(self) -> list[str]:
        """What stands below each of the frames."""
        shown = [(step, self.winners[step]) for step in self.frame_steps.tolist()]
        return [
            f"{self.labels[c]} · {as_percent(self.probabilities[step, c].item())}"
            for step, c in shown
        ]

    def slide(self) -> "Image":
        """The first picture, plus the change, equals the last one: a picture for a slide.

        See :func:`.pictures.slide.slide`. Probabilities are those of the exact values.
        """
        from fluoroscope.pictures.slide import Caption, slide

        ends = [
            Caption(self.labels[self.winners[step]], float(self.probabilities[step].max()))
            for step in (0, -1)
        ]
        wanted = self.labels[self.plan.target]
        failed = f"wanted: {wanted}" if self.plan.mode == "to" else f"still {wanted}"
        won = (self.winners[-1] == self.plan.target) == (self.plan.mode == "to")
        return slide(
            self.original,
            self.image,
            was=ends[0],
            became=ends[1],
            network=self.model,
            failed="" if won else failed,
        )

    def _line(self) -> str:
        names, (first, *_, last) = self.labels, [self.winners[0], *self.winners]
        plan, steps = self.plan, len(self.probabilities) - 1
        aim = "" if plan.mode == "to" else f" (away from {shortened(names[plan.target])})"
        if plan.mode == "to" and last != plan.target:
            aim = f" (wanted: {shortened(names[plan.target])})"
        return (
            f"{network_name(self.model)}: {shortened(names[first])} → {shortened(names[last])}{aim}"
            f" at {as_percent(self.probabilities[-1, last].item())} after {count(steps, 'step')}, "
            f"largest change {Ruler('linf', len(self.image)).short(self.linf[-1].item())}"
        )

    def _view(self) -> Iterator[html.Html]:
        difference, plan = self.image - self.original, self.plan
        scale = html.scale_of([difference])
        first, last, end = self.winners[0], self.winners[-1], html.end_of(scale, len(difference))
        yield html.cards(
            [
                [html.picture(self.original, self._said(0, first), side=_SIDE)],
                [html.change(difference, scale, f"change, colours to {end}", side=_SIDE)],
                [html.picture(self.image, self._said(-1, last), side=_SIDE)],
            ]
        )
        with page_style():
            figure = probability_curves(
                self.probabilities,
                self.labels,
                always=list(dict.fromkeys([first, plan.target])),
                stations=self.way_stations,
                colors=SERIES,
            )
        yield html.plot(
            figure,
            "probability of each class that mattered, step by step; dots: it begins to win",
        )
        yield html.paragraph(
            "Where another class takes over, and some steps between:"
            if len(self.way_stations) > 1
            else f"Some of the steps; it stays {shortened(self.labels[first])} throughout:"
        )
        yield html.cards(
            [html.picture(self.frames[row], f"step {at}\n{self._said(at, self.winners[at])}")]
            for row in self._strip()
            for at in [int(self.frame_steps[row])]
        )
        bound = "" if plan.eps is None else threat_name({"norm": plan.norm, "eps": plan.eps})
        yield html.facts(
            [
                ("reached", "yes" if self.reached else "no"),
                ("objective", plan.objective),
                ("bound", bound),
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
        probability = as_percent(self.probabilities[step, winner].item())
        return f"predicted as {shortened(self.labels[winner])}, {probability}"

    def save(self, directory: str | Path, *, gif: bool = True) -> list[Path]:
        """Write pictures, curve, JSON and exact floats; see :mod:`.morph_files`."""
        from fluoroscope.attacks.morph_files import TENSORS, save_morph

        return save_morph(
            directory,
            tensors={name: getattr(self, name) for name in TENSORS},
            record={**self.describe(), "labels": list(self.labels)},
            slide=self.slide(),
            figure=morph_figure(self),
            captions=self.captions if gif else None,
        )

    @staticmethod
    def load(directory: str | Path) -> "MorphResult":
        """Read back what :meth:`save` wrote."""
        from pydantic import TypeAdapter

        from fluoroscope.attacks.morph_files import load_morph

        def made(record: dict[str, Any], tensors: dict[str, Tensor]) -> MorphResult:
            return MorphResult(
                model=TypeAdapter(str).validate_python(record["model"]),
                labels=TypeAdapter(tuple[str, ...]).validate_python(record["labels"]),
                plan=TypeAdapter(MorphPlan).validate_python(record["plan"]),
                provenance=TypeAdapter(dict[str, Any]).validate_python(record["provenance"]),
                **tensors,
            )

        return load_morph(directory, made)

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


def is_reached(plan: MorphPlan, probabilities: Tensor) -> Tensor:
    """Whether probabilities ``(n, classes)`` are what the plan wants ``(n,)``."""
    wins = probabilities.argmax(1) == plan.target
    present = probabilities[:, plan.target]
    if plan.mode == "to":
        return wins if plan.stop_at is None else wins & (present >= plan.stop_at)
    return ~wins if plan.stop_at is None else ~wins & (present <= plan.stop_at)


def morph_figure(result: MorphResult) -> Any:
    """Probability against step for the classes that mattered, way stations marked."""
    names = result.labels
    title = f"{names[result.winners[0]]} → {names[result.plan.target]}"
    if result.plan.mode != "to":
        title = f"{names[result.winners[0]]}, away from {names[result.plan.target]}"
    return probability_curves(
        result.probabilities,
        names,
        always=list(dict.fromkeys([result.winners[0], result.plan.target])),
        stations=result.way_stations,
        title=title,
    )
