"""The X-ray as a job: one page on what a network sees, how it fails, and what to do."""

import shlex
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from fluoroscope.errors import UnknownLabelError
from fluoroscope.models.wrappers.prepared import prepare
from fluoroscope.report.sections import find_sections
from fluoroscope.report.xray import xray
from fluoroscope.studio.command import command
from fluoroscope.studio.kinds.kind import Kind, Name, Request
from fluoroscope.studio.kinds.readable import readable
from fluoroscope.studio.kinds.usual_data import check_numbers, data_of, fitting

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.studio.jobs.job import Job
    from fluoroscope.studio.studio import Studio

FILE = "report.html"


class ReportRequest(Request):
    """A report, in the words of `fluoroscope xray`."""

    kind: Literal["report"]
    data: Name | None = Field(None, description="Labelled pictures; a data set on offer.")
    limit: int = Field(200, ge=1, le=2000, description="So many of them at most.")
    budget: float = Field(
        120, ge=10, le=3600, description="Seconds; the page says what was left out."
    )
    threat: str | None = Field(
        None, max_length=40, description="Such as `linf:8/255`; by default the usual one."
    )
    sections: list[Name] | None = Field(None, min_length=1, max_length=20)
    at_chance: bool = Field(
        False, description="Go on though its clean accuracy is at chance level."
    )
    unattended: bool = Field(True, description="Go on though nobody reads the events.")


def work(studio: "Studio", job: "Job", asked: ReportRequest) -> None:
    """Tell how far it is; leave ``report.html``."""
    model = studio.networks.own(asked.network, weights=True)
    data, images = data_of(studio, model, asked.data)
    find_sections(asked.sections)
    check_numbers(model, data, images)
    some = readable(images, asked.limit, job.check)
    options = {
        "data": data,
        "limit": asked.limit,
        "budget": f"{asked.budget:g}s",
        "threat": asked.threat,
        "sections": ",".join(asked.sections or ()),
        "at-chance": asked.at_chance,
        "seed": asked.seed or None,
    }
    said_as = command(studio, "xray", network=asked.network, options=options)
    job.tell("begin", {"data": data, "budget": asked.budget, "command": said_as}, matters=True)
    first = None if model.input_size else next(some.take(1).batches(1, fit=model)).images
    named = shlex.join(["-m", asked.network, *studio.networks.options(asked.network), "-d", data])
    found = xray(
        prepare(model, images=first),
        some,
        threat=asked.threat,
        sections=asked.sections,
        budget=asked.budget,
        seed=asked.seed,
        at_chance=asked.at_chance,
        command=said_as,
        named=named,
        on_progress=lambda what, share: job.progress(share, what),
        cancelled=job.cancelled,
    )
    job.check()
    job.leave(FILE, "text/html", found.html.encode())
    job.tell("told", {"summary": found.summary, "missing": found.missing}, matters=True)
    job.conclude(summary=found.summary)


def offer(studio: "Studio", model: "Classifier") -> dict[str, Any]:
    """The data, and the sections that there are.

    Raises:
        UnknownLabelError: no data on offer have labels that are this network's.
    """
    there = fitting(studio, model)
    if not there:
        raise UnknownLabelError(
            f"no data on offer have labels that are classes of {model.name}, and a report says "
            "what is misclassified; expected some: fluoroscope studio --data DATA"
        )
    return {
        "data": there,
        "limit": 200,
        "budget": 120,
        "sections": [{"name": one.name, "title": one.title} for one in find_sections()],
    }


REPORT = Kind("report", ReportRequest, work, offer, long=True)
