"""What a network believes classes look like: portraits that form as one watches."""

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field

from fluoroscope.errors import FluoroscopeError, InvalidParameterError
from fluoroscope.inversion.measures.assess import assess
from fluoroscope.inversion.measures.result import Assessment, missing_words
from fluoroscope.inversion.names import NOTHING, PRESETS, USUAL, check_preset
from fluoroscope.inversion.portraits.portrait import Look, portrait
from fluoroscope.inversion.portraits.preflight import preflight
from fluoroscope.inversion.portraits.presets import Material, as_recipe, finished
from fluoroscope.inversion.portraits.result import Portraits
from fluoroscope.inversion.usual_judge import usual_judge
from fluoroscope.notices import collected
from fluoroscope.studio.command import command, file_name
from fluoroscope.studio.frames import frame
from fluoroscope.studio.kinds.bytes_of import finite, plain_json, png
from fluoroscope.studio.kinds.kind import Kind, Name, Request
from fluoroscope.studio.kinds.page_words import spoken, without_python
from fluoroscope.studio.kinds.readable import readable_place
from fluoroscope.studio.kinds.usual_data import data_of, fits, labelled_pictures
from fluoroscope.words import sentence

if TYPE_CHECKING:
    from torch import Tensor

    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.studio.jobs.job import Job
    from fluoroscope.studio.studio import Studio

_START = "a start"
# Real pictures that a preset is given; those beside measures at most, and the seconds for them.
_GIVEN, _BESIDE, _SECONDS = 200, 100, 1.5


class PortraitRequest(Request):
    """Portraits, in the words of `fluoroscope portrait`."""

    kind: Literal["portrait"]
    classes: list[Name] = Field(min_length=1, max_length=6)
    preset: Name = USUAL
    steps: int | None = Field(None, ge=1, le=4000, description="By default the preset's own.")
    picture: Name | None = Field(None, description="To begin from, in place of noise.")
    data: Name | None = Field(
        None, description="Real pictures, for presets that compare with some and for measures."
    )


def work(studio: "Studio", job: "Job", asked: PortraitRequest) -> None:
    """Tell each ``picture`` now and then as it forms, and at the end what it is worth."""
    model = studio.networks.own(asked.network)
    check_preset(asked.preset)
    classes = list(dict.fromkeys(model.find_class(each) for each in asked.classes))
    start = None if asked.picture is None else studio.picture(asked.picture, model)
    name, data = data_of(studio, model, asked.data)
    real = None
    if PRESETS[asked.preset].needs not in (NOTHING, _START):
        job.progress(0.0, f"reading real pictures of {name}")
        real = labelled_pictures(model, data, _GIVEN, job.check)
    steps = asked.steps or as_recipe(asked.preset).steps
    size = None if model.input_size or start is not None else _size(data)
    said_as = _command(studio, asked, name if real is not None else None, start, size)
    job.tell("begin", {"classes": classes, "steps": steps, "command": said_as}, matters=True)

    def look(now: Look) -> None:
        job.check()
        for row, which in enumerate(now.indices.tolist()):
            done = int(now.steps[row]) + 1
            job.tell(
                "picture",
                {"class": classes[which], "step": done, "share": min(1.0, done / steps),
                 "probability": finite(now.probabilities[row]), "final": False},
                frames={"now": frame(now.images[row].cpu())},
            )  # fmt: skip

    begun = time.monotonic()
    found = portrait(
        model, classes, method=asked.preset, steps=asked.steps, start=start, real=real,
        size=size,
        seed=asked.seed, numbers=torch.zeros(len(classes), dtype=torch.long, device="cpu"),
        on_step=job.check, on_look=look,
        on_share=lambda share: job.progress(0.9 * share, "moving pictures along the gradient"),
    )  # fmt: skip
    passes = int((found.forwards + 2 * found.backwards).sum())
    judge = usual_judge(model)
    found = found if judge is None else found.judged_by(judge)
    job.progress(0.9, "measuring what they are worth")
    many = int(_SECONDS * passes / max(time.monotonic() - begun, 1e-3) / (1 + (judge is not None)))
    worth = _worth(job, model, found, judge, _beside(job, model, data, min(many, _BESIDE)))
    about = PRESETS[asked.preset]
    # Who began from a picture has given one.
    _tell(job, found, worth, "" if about.needs == _START else about.caution, steps)


def _command(
    studio: "Studio",
    asked: PortraitRequest,
    data: str | None,
    start: "Tensor | None",
    size: tuple[int, int] | None,
) -> str:
    """The line that makes the same portraits."""
    begun = asked.picture
    if begun is not None and start is not None:
        begun = file_name(begun, start[0].cpu())
    options = {
        "class": asked.classes,
        "method": None if asked.preset == USUAL else asked.preset,
        "steps": asked.steps,
        "size": None if size is None else f"{size[0]}x{size[1]}",
        "start": begun,
        "data": data,
        "limit": None if data is None else _GIVEN,
        "seed": asked.seed or None,
    }
    return command(studio, "portrait", network=asked.network, options=options)


def _size(data: "ImageSet") -> tuple[int, int]:
    """Of a network that takes pictures of any size that of the first one on offer."""
    image = data[readable_place(data)].image
    return image.shape[1], image.shape[2]


def _beside(
    job: "Job", model: "Classifier", data: "ImageSet", many: int
) -> "tuple[Tensor, Tensor] | None":
    """Real pictures to stand beside, where there are labelled ones and time for some."""
    if many < 2 or not fits(model, data):
        return None
    with suppress(FluoroscopeError), collected():
        return labelled_pictures(model, data, many, job.check, seconds=_SECONDS / 2)
    return None


def _worth(
    job: "Job", model: "Classifier", found: Portraits, judge: "Classifier | None",
    real: "tuple[Tensor, Tensor] | None",
) -> Assessment:  # fmt: skip
    """The measures; of pictures of other sizes than the network's without real ones beside."""
    if real is not None and real[0].shape[1:] != found.images.shape[1:]:
        real = None
    return assess(model, found.images, found.targets, second=judge, real=real, on_share=job.check)


def _tell(job: "Job", found: Portraits, worth: Assessment, caution: str, steps: int) -> None:
    """The finished pictures, what was measured of them all, and what not to conclude."""
    measured = {
        "headline": spoken(worth.headline),
        "flags": [flag.describe() for flag in worth.flags],
        "measures": [
            {"name": one.name, "words": one.words(), "many": one.many(),
             "real": one.reference("real"), "noise": one.reference("noise")}
            for one in worth.measures if one.value is not None
        ],
        "not_measured": [without_python(line) for line in missing_words(worth)],
    }  # fmt: skip
    for row, which in enumerate(found.targets.tolist()):
        job.tell(
            "picture",
            {
                "class": which,
                "step": steps,
                "share": 1.0,
                "probability": finite(found.probabilities[row]),
                "winner": found.winners[row],
                "words": [
                    line.replace("second: ", "a second network says ", 1)
                    for line in found.said(row)
                ],
                "final": True,
                **measured,
            },
            frames={"now": frame(found.images[row])},
            matters=True,
        )
    cautions = [found.caution, sentence(caution) if caution else "", found.made_with]
    notes = [*filter(None, cautions), *found.notes, *worth.notes]
    job.tell("told", {"summary": found.summary, "notes": notes}, matters=True)
    job.conclude(summary=found.summary)
    job.leave("portraits.json", "application/json", plain_json(found.describe()))
    job.leave("gallery.png", "image/png", png(found.gallery()))


def offer(studio: "Studio", model: "Classifier") -> dict[str, Any]:
    """Every preset in words; of those that are not sound on this network why not."""
    leads = preflight(model)["portraits and generators"]
    if not leads.valid:
        raise InvalidParameterError(leads.why)
    _, data = data_of(studio, model, None)
    size, labelled = model.input_size or _size(data), fits(model, data)
    presets = []
    for name, about in PRESETS.items():
        presets.append(
            {"name": name, "shows": about.summary, "when": about.when, "needs": about.needs,
             "cost": about.cost, "caution": about.caution, "steps": as_recipe(name).steps,
             "why_not": _why_not(model, name, size, labelled)}
        )  # fmt: skip
    return {
        "presets": presets,
        "usual": USUAL,
        "notes": [leads.why] if leads.doubtful else [],
    }


def _why_not(model: "Classifier", name: str, size: tuple[int, int], labelled: bool) -> str | None:
    needs = PRESETS[name].needs
    if needs == _START:
        return None
    if needs != NOTHING:
        return None if labelled else (
            f"{name} compares with real pictures {needs}, and no data with the classes of "
            f"{model.name} are on offer; expected some: fluoroscope studio --data DATA"
        )  # fmt: skip
    nobody = torch.zeros(1, dtype=torch.long, device="cpu")
    try:
        finished(name, as_recipe(name), Material(model, size, nobody), {})
    except FluoroscopeError as problem:
        return str(problem)
    return None


PORTRAIT = Kind("portrait", PortraitRequest, work, offer)
