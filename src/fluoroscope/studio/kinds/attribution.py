"""Why a network decides as it does: maps by any method, with what an audit says of each."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field

from fluoroscope.attribution import reading
from fluoroscope.attribution.attribute import attribute
from fluoroscope.attribution.audit.randomise import UNCHANGED
from fluoroscope.attribution.metrics.similarity import similarity
from fluoroscope.attribution.names import METHODS, check_method
from fluoroscope.attribution.result import NOT_VALID, Attribution
from fluoroscope.engine.first_look import notes_of
from fluoroscope.engine.predict import predict
from fluoroscope.errors import FluoroscopeError, UnknownLabelError
from fluoroscope.studio.command import command
from fluoroscope.studio.frames import frame
from fluoroscope.studio.kinds.bytes_of import png
from fluoroscope.studio.kinds.kind import Kind, Name, Request
from fluoroscope.studio.kinds.twin import twin_of
from fluoroscope.studio.kinds.verdicts import measured
from fluoroscope.words import sentence

if TYPE_CHECKING:
    from torch import Tensor

    from fluoroscope.models.classifier import Classifier
    from fluoroscope.studio.jobs.job import Job
    from fluoroscope.studio.studio import Studio

USUAL = ("gradient", "deeplift", "layer-cam")
"""Those of `fluoroscope attribute`: cheap ones, for each kind of question."""


class AttributionRequest(Request):
    """Maps of a decision, in the words of `fluoroscope attribute`."""

    model_config = ConfigDict(validate_by_name=True)

    kind: Literal["attribution"]
    picture: Name
    methods: list[Name] = Field(list(USUAL), min_length=1, max_length=40)
    to: Name | None = Field(
        None, alias="class", description="The class to explain; by default the predicted one."
    )
    against: Name | None = Field(
        None, description="A rival: why the class and not this one, the difference of their logits."
    )
    random: bool = Field(
        False,
        description="Beside each map one of the network with random weights, which knows nothing.",
    )


def work(studio: "Studio", job: "Job", asked: AttributionRequest) -> None:
    """Tell ``begin`` and a ``map`` for each method; one that is not valid here has no picture."""
    model = studio.networks.own(asked.network)
    methods = list(dict.fromkeys(asked.methods))
    for method in methods:
        check_method(method)
    picture = studio.picture(asked.picture, model)
    one, rival = _target(model, picture, asked)
    original = picture[0].cpu()
    job.tell(
        "begin",
        {
            "class": one,
            "against": rival,
            "picture": asked.picture,
            "command": command(
                studio, "attribute", network=asked.network, picture=asked.picture, image=original,
                options={"method": methods, "class": asked.to, "rather-than": asked.against,
                         "seed": asked.seed or None},
            ),
        },
        frames={"original": frame(original)},
        matters=True,
    )  # fmt: skip
    twin = twin_of(studio, asked.network, model) if asked.random else None
    audit = studio.audits.get(model, asked.network)
    for number, method in enumerate(methods):
        told: dict[str, Any] = {"method": method, "class": one, "against": rival, "verdict": None}
        verdict = None
        if audit is not None and method in audit.methods:
            verdict = {**audit.verdict(method).describe(), **measured(audit, method)}
            told["verdict"] = _said(verdict)
            if verdict["verdict"] == NOT_VALID:
                job.tell("map", {**told, "random": False}, matters=True)
                continue
        explain = partial(_explain, job, picture, one if rival is None else (one, rival), method,
                          asked.seed)  # fmt: skip
        share = 1 / len(methods)
        middle = (number + (1 if twin is None else 0.5)) * share
        found = explain(model, {**told, "random": False}, verdict, (number * share, middle))
        if found is None or found.complaint:
            continue  # what is not drawn needs nothing to be compared with
        if twin is not None:
            # The audit is not of that network.
            told |= {"verdict": None, "random": True}
            explain(twin, told, None, (middle, (number + 1) * share), found)
        job.leave(f"map-{method.replace(':', '-')}.png", "image/png", png(found.tile(0)))


def _explain(
    job: "Job", picture: "Tensor", of: int | tuple[int, int], method: str, seed: int,
    model: "Classifier", told: dict[str, Any], verdict: dict[str, Any] | None,
    behind: tuple[float, float], learnt: Attribution | None = None,
) -> Attribution | None:  # fmt: skip
    """Tell one map, or why there is none; so much of the job lies behind before and after it.

    One of random weights is held against the one of the network that ``learnt``.
    """
    begin, end = behind
    doing = f"{method} of {model.name}"

    def share(done: float) -> None:
        job.progress(begin + (end - begin) * min(done, 1.0), doing)

    share(0.0)
    try:
        found = attribute(
            model, picture, of, method=method, seed=seed, on_step=job.check, on_share=share
        )
    except FluoroscopeError as problem:
        job.tell("map", {**told, "why_not": str(problem)}, matters=True)
        return None
    found = found if verdict is None else replace(found, verdict=verdict)
    if learnt is not None:
        told = {**told, **_likeness(learnt, found)}
    _tell(job, model, told, found)
    return found


def _likeness(one: Attribution, other: Attribution) -> dict[str, Any]:
    """How alike two maps are in the order of their values' sizes, as the audit measures it."""
    if not bool(one.maps.isfinite().all() & other.maps.isfinite().all()):
        return {"likeness": None, "alike": False}
    found = float(similarity(one.maps, other.maps, "spearman-abs")[0])
    return {"likeness": found, "alike": found >= UNCHANGED}


def _tell(job: "Job", maker: "Classifier", told: dict[str, Any], found: Attribution) -> None:
    """Say one map; it has a picture unless it is not valid on this network."""
    values, colours = found.maps[0].nan_to_num(), found.colours
    column = found.column([0])
    lines = [found.unit, *column.key.splitlines()]
    words = f"In {'; '.join(filter(None, lines))}; the colours end at "
    words += f"{colours.words(len(values))}."
    if "logit" in found.unit:
        words += f" {sentence(reading.LOGIT)}"
    doubts = [note for note in found.notes if note not in notes_of(maker)]
    if doubt := reading.doubt_of(found.record, colours.signed, found.shares(0)):
        doubts.insert(0, doubt)
    about = METHODS.get(found.method)
    if found.verdict is not None:
        told = {**told, "verdict": _said(found.verdict)}
    job.tell(
        "map",
        {
            **told,
            "of": found.spoken(0),
            "shows": "" if about is None else about.summary,
            "words": words,
            "unit": found.unit,
            "key": column.key.splitlines(),
            "scale": {"start": colours.start, "end": colours.end, "signed": colours.signed,
                      "beyond": colours.beyond},
            "promise": found.kept(0),
            "missed": found.missed(0),
            "doubts": doubts,
        },
        frames=None if found.complaint else {
            "map": frame(colours.rgb(values)),
            "over": frame(colours.laid_over(found.images[0], values)),
        },
        matters=True,
    )  # fmt: skip


_MEASURED = ("compared", "scored", "unlearnt", "no_better_than")


def _said(verdict: dict[str, Any]) -> dict[str, Any]:
    """A verdict as it is told: its word, why, and whether it is an audit's."""
    return {
        "word": verdict["verdict"],
        "reasons": list(verdict["reasons"]),
        "remarks": list(verdict.get("remarks", ())),
        "by": verdict.get("by", "the audit"),
        **{name: verdict[name] for name in _MEASURED if name in verdict},
    }


def _target(
    model: "Classifier", picture: "Tensor", asked: AttributionRequest
) -> tuple[int, int | None]:
    """The class to explain and its rival."""
    one = int(predict(model, picture).winners) if asked.to is None else model.find_class(asked.to)
    rival = None if asked.against is None else model.find_class(asked.against)
    if rival == one:
        raise UnknownLabelError(
            f"the class and its rival are both {model.labels[one]}; expected another rival"
        )
    return one, rival


def offer(studio: "Studio", model: "Classifier") -> dict[str, Any]:
    """Every method in words, and those that are drawn where nobody names any."""
    return {
        "methods": [
            {"name": name, "shows": about.summary, "promise": about.promise, "cost": about.cost,
             "caution": about.caution, "of_class": about.of_class}
            for name, about in METHODS.items()
        ],
        "usual": list(USUAL),
    }  # fmt: skip


ATTRIBUTION = Kind("attribution", AttributionRequest, work, offer)
