"""Jobs: queued, read as they go, ended, and what they left."""

from collections.abc import AsyncIterator
from functools import reduce
from operator import or_
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, HTTPException, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from fluoroscope.studio.jobs.job import Job
from fluoroscope.studio.kinds.registry import KINDS
from fluoroscope.studio.studio import Studio

_Asked: Any = reduce(or_, (kind.request for kind in KINDS))
if len(KINDS) > 1:
    _Asked = Annotated[_Asked, Body(discriminator="kind")]


def jobs(studio: Studio) -> APIRouter:
    """The doors over a studio."""
    doors = APIRouter(prefix="/api/jobs", tags=["jobs"])

    def found(identifier: str) -> Job:
        job = studio.jobs.get(identifier)
        if job is None:
            raise HTTPException(404, f"there is no job {identifier!r} any more; start it again")
        return job

    @doors.post("", status_code=201)
    def add_job(request: Request, asked: _Asked) -> dict[str, Any]:
        """Queue a job; its events say what becomes of it."""
        kind = next(one for one in KINDS if isinstance(asked, one.request))
        client = request.client.host if request.client else "?"
        job = Job(kind.name, client, asked, unattended=asked.unattended)
        studio.jobs.add(job, lambda job: kind.work(studio, job, asked), long=kind.long)
        return _described(job)

    @doors.get("/{identifier}")
    def one_job(identifier: str) -> dict[str, Any]:
        """How a job stands."""
        return _described(found(identifier))

    @doors.delete("/{identifier}")
    def cancel_job(identifier: str) -> dict[str, Any]:
        """End a job; what it told so far stays to be read."""
        job = found(identifier)
        studio.jobs.cancel(job)
        return _described(job)

    @doors.get("/{identifier}/events", response_class=EventSourceResponse)
    async def events(
        identifier: str, last_event_id: Annotated[int | None, Header(ge=0)] = None
    ) -> AsyncIterator[ServerSentEvent]:
        """What the job tells, from its first event or from that after ``Last-Event-ID``."""
        async for event in found(identifier).log.read(last_event_id or 0):
            yield ServerSentEvent(raw_data=event.data, event=event.name, id=str(event.number))

    @doors.get("/{identifier}/files/{name}")
    def one_file(identifier: str, name: str) -> Response:
        """A file that a job left."""
        job = found(identifier)
        if name not in job.files:
            there = ", ".join(sorted(job.files)) or "none"
            raise HTTPException(404, f"the job left no file {name!r}; it left {there}")
        left = job.files[name]
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(left.make(), media_type=left.media_type, headers=headers)

    return doors


def _described(job: Job) -> dict[str, Any]:
    return {"id": job.id, "kind": job.kind, "state": job.state, "files": sorted(job.files)}
