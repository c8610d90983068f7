"""A picture turned into a class, step by step."""

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from torch import Tensor

from fluoroscope.attacks.gradient.ascent import DIRECTIONS
from fluoroscope.attacks.morph import Morph, morph_stream
from fluoroscope.errors import UnknownDataError
from fluoroscope.studio.frames import difference, floats, frame
from fluoroscope.studio.kinds.kind import Kind, Name, Request

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.studio.jobs.job import Job
    from fluoroscope.studio.studio import Studio


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
    step_size: str | None = Field(None, max_length=40)
    objective: Literal["log-probability", "logit", "margin", "probability"] = "log-probability"
    on_grid: bool = False
    stop_at: float | None = Field(None, ge=0, le=1)


def work(studio: "Studio", job: "Job", asked: MorphRequest) -> None:
    """Tell ``begin``, a ``step`` for each, a ``winner`` at every change of it."""
    model = studio.networks.get(asked.network)
    moving = morph_stream(
        model,
        studio.picture(asked.picture, model),
        **asked.model_dump(exclude={"kind", "network", "picture", "unattended"}),
    )
    original = moving.start[0].cpu()
    job.picture_at = partial(_picture_at, studio, job.id, moving)
    job.tell("begin", {"target": moving.plan.target, "steps": moving.plan.steps},
             frames={"original": frame(original)}, matters=True)  # fmt: skip
    winner = None
    for step in moving:
        job.check()
        studio.steps.put((job.id, step.number), step.image, step.image.nbytes)
        changed, winner = step.winner != winner, step.winner
        job.tell(
            "winner" if changed else "step",
            {
                "step": step.number,
                "winner": step.winner,
                "probabilities": floats(step.probabilities),
                "objective": step.objective,
                "l0": step.l0,
                "l2": step.l2,
                "linf": step.linf,
            },
            frames={"now": frame(step.image), "difference": difference(step.image, original)},
            matters=changed,
        )


def _picture_at(studio: "Studio", job: str, moving: Morph, number: int) -> Tensor:
    """The picture of a step: kept, or searched for anew."""
    image = studio.steps.get((job, number))
    if image is None:
        image = next((step.image for step in moving if step.number == number), None)
    if image is None:
        raise UnknownDataError(
            f"the morph has no step {number}; expected 0 to {moving.plan.steps} at most"
        )
    return image


def offer(studio: "Studio", model: "Classifier") -> dict[str, Any]:
    """The directions there are."""
    return {"directions": list(DIRECTIONS)}


MORPH = Kind("morph", MorphRequest, work, offer)
