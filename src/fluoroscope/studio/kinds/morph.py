"""A picture turned into a class, step by step."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from torch import Tensor

from fluoroscope.attacks.gradient.ascent import DIRECTIONS
from fluoroscope.attacks.morph import Morph, morph_stream
from fluoroscope.attacks.morph_result import MorphResult, MorphStep
from fluoroscope.engine.bounds import as_number
from fluoroscope.pictures.write import write_gif, write_png
from fluoroscope.studio.command import command
from fluoroscope.studio.frames import frame
from fluoroscope.studio.jobs.job import Cancelled
from fluoroscope.studio.kinds.kind import Kind, Name, Request
from fluoroscope.studio.kinds.reading import check_gradient, usual_bounds
from fluoroscope.studio.kinds.trajectory import Again, Trajectory, curve_csv

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.studio.jobs.job import Job
    from fluoroscope.studio.studio import Studio

OBJECTIVES = ("log-probability", "logit", "margin", "probability")


class MorphRequest(Request):
    """A morph, in the words of `fluoroscope morph`."""

    kind: Literal["morph"]
    picture: Name
    to: Name | None = Field(None, description="The wanted class; or")
    less: Name | None = Field(None, description="a class to become less of; or")
    away: bool = Field(False, description="leave the present class. Just one of the three.")
    direction: Literal["sign", "normalized", "raw"] | None = None
    norm: Literal["linf", "l2", "none"] | None = None
    eps: str | None = Field(
        None, max_length=40, description="Such as `8/255`; by default no bound."
    )
    steps: int = Field(40, ge=1, le=2000)
    step_size: str | None = Field(
        None, max_length=40, description="How far a step goes, such as `1/255`; by default `eps` "
        "in as many parts as there are `steps`, so that the picture is on its way all the time.",
    )  # fmt: skip
    objective: Literal["log-probability", "logit", "margin", "probability"] = "log-probability"
    on_grid: bool = False
    stop_at: float | None = Field(None, ge=0, le=1)

    @property
    def options(self) -> dict[str, Any]:
        """What ``morph_stream`` takes."""
        return self.model_dump(exclude={"kind", "network", "picture", "unattended"})


def work(studio: "Studio", job: "Job", asked: MorphRequest) -> None:
    """Tell ``begin``, a ``step`` for each, a ``winner`` at every change of it."""
    model = studio.networks.get(asked.network)
    picture = studio.picture(asked.picture, model)
    asked = asked.model_copy(update={"step_size": _step_size(asked, picture[0])})
    moving = morph_stream(model, picture, **asked.options)
    original = moving.start[0].cpu()
    job.picture_at = partial(_picture_at, moving)
    job.hold(original.nbytes)
    job.tell(
        "begin",
        {
            "target": moving.plan.target,
            "mode": moving.plan.mode,
            "steps": moving.plan.steps,
            "command": morph_command(studio, asked, original),
            "picture": asked.picture,
        },
        frames={"original": frame(original)},
        matters=True,
    )
    trajectory = Trajectory(studio, job, original, moving.plan.target)
    made = 0

    def told() -> Iterator[MorphStep]:
        nonlocal made
        for step in moving:
            if job.cancelled():
                return
            distances = step.l0, step.l2, step.linf
            trajectory.tell(step.number, step.image, step.probabilities, step.objective, distances)
            made += 1
            yield step

    if job.cancelled():
        raise Cancelled
    result = moving.result(told())
    job.conclude(summary=result.summary, reached=result.reached, changed_at=result.changed_at)
    _leave_files(studio, job, moving, made, result)


def _step_size(asked: MorphRequest, image: Tensor) -> str | None:
    """That of the request, else the bound in as many parts as there are steps, as exact as it was
    said; nothing where there is no bound to divide.
    """
    norm = asked.norm or "linf"
    usual = "sign" if norm == "linf" else "normalized"
    by = asked.direction or usual
    if asked.step_size is not None or asked.eps is None or norm == "none" or by == "raw":
        return asked.step_size
    bound = as_number(asked.eps)
    above, slash, below = asked.eps.partition("/")
    if by == usual and not slash:
        return f"{above}/{asked.steps}"
    if by == usual and below.isdecimal():
        return f"{above}/{int(below) * asked.steps}"
    # Between a step of every pixel value and one of a length lies the length of them all.
    length = math.sqrt(image.numel())
    unit = 1.0 if by == usual else 1 / length if by == "sign" else length
    return repr(bound / asked.steps * unit)


def _leave_files(
    studio: "Studio", job: "Job", moving: Morph, made: int, result: MorphResult
) -> None:
    """Files of the result, which is kept while there is room, and made anew where it is gone."""
    keep = partial(studio.results.put, job.id, bytes=result.frames.nbytes)
    keep(value=result)

    def found() -> MorphResult:
        again = studio.results.get(job.id)
        if again is None:
            again = moving.result(islice(moving, made))
            keep(value=again)
        return again

    def file(write: Callable[[MorphResult, Path], object], name: str) -> bytes:
        with TemporaryDirectory() as directory:
            write(found(), Path(directory))
            return (Path(directory) / name).read_bytes()

    job.leave("morph.png", "image/png", partial(file, _write_slide, "slide.png"))
    job.leave("morph.gif", "image/gif", partial(file, _write_gif, "morph.gif"))
    job.leave("morph.json", "application/json", partial(file, _write_json, "morph.json"))
    job.leave("curve.csv", "text/csv", lambda: curve_csv(job, moving.model.labels))


def _write_slide(result: MorphResult, directory: Path) -> None:
    write_png(directory / "slide.png", result.slide())


def _write_gif(result: MorphResult, directory: Path) -> None:
    write_gif(directory / "morph.gif", list(result.frames), result.captions)


def _write_json(result: MorphResult, directory: Path) -> None:
    result.save(directory, gif=False)


def _picture_at(moving: Morph, number: int) -> Tensor:
    """The picture of a step, searched for anew."""
    again = Again(number, moving.plan.steps)
    image = next((one.image for one in again.until(moving) if one.number == number), None)
    return again.found(image)


def morph_command(studio: "Studio", asked: MorphRequest, image: Tensor) -> str:
    """The line that makes the same morph of this picture ``(C, H, W)``."""
    options = asked.options
    options["8bit"] = options.pop("on_grid")
    usual = {name: field.default for name, field in MorphRequest.model_fields.items()}
    said = {name: value for name, value in options.items() if value != usual.get(name)}
    return command(
        studio, "morph", network=asked.network, picture=asked.picture, image=image,
        options=said | {"gif": True},
    )  # fmt: skip


def offer(studio: "Studio", model: "Classifier") -> dict[str, Any]:
    """Directions, objectives, norms, and the bounds that the page begins with."""
    check_gradient(studio, model)
    bounds = usual_bounds(studio, model)
    return {
        "directions": list(DIRECTIONS),
        "objectives": list(OBJECTIVES),
        "norms": ["linf", "l2", "none"],
        "eps": bounds["linf"],
        "usual": {"eps": bounds},
    }


MORPH = Kind("morph", MorphRequest, work, offer)
