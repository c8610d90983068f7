"""Which attribution methods can be believed on a network: a verdict each, kept for its maps."""

from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from fluoroscope.attribution.audit.audit import audit
from fluoroscope.attribution.audit.course import Progress
from fluoroscope.attribution.audit.verdict import Verdict
from fluoroscope.attribution.names import check_method
from fluoroscope.report.audited import methods as quick_methods
from fluoroscope.studio.command import command
from fluoroscope.studio.kinds.kind import Kind, Name, Request
from fluoroscope.studio.kinds.readable import readable
from fluoroscope.studio.kinds.usual_data import check_numbers, data_of
from fluoroscope.studio.kinds.verdicts import measured
from fluoroscope.studio.known import is_full
from fluoroscope.words import count

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.studio.jobs.job import Job
    from fluoroscope.studio.studio import Studio


class AuditRequest(Request):
    """An audit, in the words of `fluoroscope audit`."""

    kind: Literal["audit"]
    data: Name | None = Field(
        None, description="A data set on offer; by default the first of the network's channels."
    )
    pictures: int = Field(
        16, ge=1, le=64, description="Verdicts come of 4, scores of all; of the quick one 4."
    )
    quick: bool = Field(
        False, description="Verdicts alone: no scores, no network with random weights."
    )
    methods: list[Name] | None = Field(
        None,
        min_length=1,
        max_length=40,
        description="By default every method of ours; of the quick one those of few passes.",
    )


def work(studio: "Studio", job: "Job", asked: AuditRequest) -> None:
    """Tell each ``verdict`` as it becomes known, and again where later looks change it."""
    model = studio.networks.own(asked.network, weights=True)
    methods = asked.methods or (quick_methods() if asked.quick else None)
    for method in methods or ():
        check_method(method)
    data, images = data_of(studio, model, asked.data)
    if asked.data is not None:
        check_numbers(model, data, images)
    many = min(4, asked.pictures) if asked.quick else asked.pictures
    batch = next(
        readable(images, many, job.check).batches(many, fit=model.preprocessing, workers=0)
    )
    options = {"data": data, "limit": many, "method": methods, "fast": asked.quick,
               "seed": asked.seed or None}  # fmt: skip
    said_as = command(studio, "audit", network=asked.network, options=options)
    job.tell("begin", {"pictures": len(batch.images), "data": data, "command": said_as},
             matters=True)  # fmt: skip
    said: dict[str, dict[str, Any]] = {}

    def tell(verdict: Verdict, **more: Any) -> None:
        told = described(verdict) | more
        if said.get(verdict.method) != told:
            said[verdict.method] = told
            job.tell("verdict", told, matters=True)

    def progress(now: Progress) -> None:
        if not job.cancelled():  # the audit ends by itself, with what it found so far
            job.progress(now.share, now.words)

    found = audit(
        model,
        batch.images,
        methods=None if methods is None else list(dict.fromkeys(methods)),
        seed=asked.seed,
        numbers=batch.indices,
        randomisation=not asked.quick,
        faithfulness=not asked.quick,
        on_progress=progress,
        on_verdict=tell,
        cancelled=job.cancelled,
    )
    studio.audits.put(model, found, asked.network)
    # What counts from now on, which an earlier audit that measured more may have said.
    kept = studio.audits.get(model, asked.network) or found
    for row in (*found.rows, *kept.rows):
        one = kept if row.verdict.method in kept.methods else found
        tell(one.verdict(row.verdict.method), **measured(one, row.verdict.method))
    job.check()
    valid = f"{len(found.valid)} of {count(len(found.rows), 'method')} valid"
    job.conclude(summary=valid)
    with TemporaryDirectory() as directory:
        job.leave("audit.json", "application/json", found.save(directory).read_bytes())
    job.tell(
        "audited",
        {"full": is_full(found), "best": list(found.best), "valid": list(found.valid),
         "ranked_by": found.ranked_by, "telling": dict(found.telling), "notes": list(found.notes)},
        matters=True,
    )  # fmt: skip


def described(verdict: Verdict) -> dict[str, Any]:
    """A verdict as it is told; what was measured beside it comes at the end of the audit."""
    return {
        "method": verdict.method,
        "word": verdict.words,
        "reasons": list(verdict.reasons),
        "remarks": list(verdict.remarks),
        "compared": False,
        "scored": False,
        "unlearnt": False,
        "no_better_than": None,
    }


def offer(studio: "Studio", model: "Classifier") -> dict[str, Any]:
    """The data whose pictures it looks at."""
    return {"data": data_of(studio, model, None)[0]}


AUDIT = Kind("audit", AuditRequest, work, offer, long=True)
