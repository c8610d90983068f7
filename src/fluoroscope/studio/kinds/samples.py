"""Samples of a generator that was fitted to a network, where the studio was given one."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from fluoroscope.engine.predict import predict
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.generator.result import CAUTION, Inversion
from fluoroscope.inversion.generator.sample_files import sample_sheet
from fluoroscope.studio.command import command
from fluoroscope.studio.frames import frame
from fluoroscope.studio.kinds.bytes_of import png
from fluoroscope.studio.kinds.kind import Kind, Name, Request
from fluoroscope.words import as_percent, count, percent

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.studio.jobs.job import Job
    from fluoroscope.studio.studio import Studio


class SamplesRequest(Request):
    """Samples, in the words of `fluoroscope invert sample`."""

    kind: Literal["samples"]
    classes: list[Name] | None = Field(
        None, min_length=1, max_length=20, description="By default up to ten that were learnt."
    )
    number: int = Field(4, ge=1, le=16, description="Of each class.")
    temperature: float | None = Field(None, gt=0, le=100)
    dropout: bool = True


# Classes that are sampled where nobody names any.
_CLASSES = 10


def work(studio: "Studio", job: "Job", asked: SamplesRequest) -> None:
    """Tell a ``sample`` for each class: pictures, and what the network says of them."""
    model = studio.networks.own(asked.network)
    found = opened(studio, model)
    classes: list[int | str] = list(asked.classes or found.record["classes"][:_CLASSES])
    options = {"class": asked.classes, "number": asked.number, "temperature": asked.temperature,
               "no-dropout": not asked.dropout, "seed": asked.seed or None}  # fmt: skip
    words = "invert", "sample", str(studio.generator)
    said_as = command(studio, *words, network=asked.network, options=options)
    job.tell("begin", {"number": asked.number, "command": said_as}, matters=True)
    made = found.sample(
        classes, asked.number, asked.seed, temperature=asked.temperature, dropout=asked.dropout
    )
    job.check()
    said = predict(model, made.images)
    sure = said.probabilities.gather(1, made.classes[:, None])[:, 0]
    names = said.labels
    for which in dict.fromkeys(made.classes.tolist()):
        rows = (made.classes == which).nonzero()[:, 0].tolist()
        job.tell(
            "sample",
            {
                "class": which,
                "probabilities": sure[rows].tolist(),
                "winners": said.winners[rows].tolist(),
                "words": [_words(names, int(said.winners[row]), which, float(sure[row]))
                          for row in rows],
            },
            frames={"now": [frame(made.images[row]) for row in rows]},
            matters=True,
        )  # fmt: skip
    right = float((said.winners == made.classes).double().mean())
    summary = f"{count(len(made.images), 'sample')}, {percent(right)} predicted as asked"
    job.tell("told", {"summary": summary, "notes": [CAUTION, *found.notes]}, matters=True)
    job.conclude(summary=summary)
    sheet = sample_sheet(
        made.images, made.classes, made.labels, confidence=sure,
        title=f"Samples of a generator for {model.name}, and the probability that it gives",
    )  # fmt: skip
    job.leave("samples.png", "image/png", png(sheet))


def _words(names: "tuple[str, ...]", winner: int, asked: int, sure: float) -> str:
    told = as_percent(sure)
    return told if winner == asked else f"{told}, predicted as {names[winner]}"


def opened(studio: "Studio", model: "Classifier") -> Inversion:
    """The generator that the studio was given, if it was made for this network.

    Raises:
        InvalidParameterError: it was given none, or one for another network.
        ResultFormatError: it is broken.
    """
    if studio.generator is None:
        raise InvalidParameterError(
            "the studio was given no generator; expected one for this network: make it by "
            f"`fluoroscope invert -m {model.name}` and start the studio with --generator out/invert"
        )
    found = studio.inversions.get(model, model.name)
    if found is None:
        found = Inversion.load(studio.generator, model)
        studio.inversions.put(model, found, model.name)
    return found


def offer(studio: "Studio", model: "Classifier") -> dict[str, Any]:
    """The classes that the generator learnt, and what is known of it."""
    found = opened(studio, model)
    return {
        "classes": list(found.record["classes"]),
        "needs_data": found.record.get("needs_data"),
        "preset": found.record.get("preset"),
    }


SAMPLES = Kind("samples", SamplesRequest, work, offer)
