"""Jobs: queued, read as they go, ended, and what they left."""

from functools import partial, reduce
from operator import or_
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, Field

from fluoroscope.errors import StorageError
from fluoroscope.studio.doors.described import messages, stream
from fluoroscope.studio.doors.event_stream import EVENTS, MESSAGES, EventStream, Form
from fluoroscope.studio.guard.clients import address_of, client_of, know_again
from fluoroscope.studio.jobs.job import Job, State
from fluoroscope.studio.kinds.asked import check
from fluoroscope.studio.kinds.registry import KINDS
from fluoroscope.studio.lanes import Lane
from fluoroscope.studio.studio import Studio

_Asked: Any = reduce(or_, (kind.request for kind in KINDS))
if len(KINDS) > 1:
    _Asked = Annotated[_Asked, Body(discriminator="kind")]

_FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": {"application/octet-stream": {}}}
}


class JobInfo(BaseModel):
    """How a job stands."""

    id: str
    kind: str
    state: State
    files: list[str] = Field(description="What it left, to be fetched as `files/NAME`.")


def jobs(studio: Studio) -> APIRouter:
    """The doors over a studio."""
    doors = APIRouter(prefix="/api/jobs", tags=["jobs"])
    making, asking = Lane(2), Lane(2)

    async def found(identifier: Annotated[str, Path(max_length=100)]) -> Job:
        job = studio.jobs.get(identifier)
        if job is None:
            raise HTTPException(
                404, f"there is no job {identifier!r}, or it is not kept any more; start it again"
            )
        return job

    Found = Annotated[Job, Depends(found)]  # noqa: N806

    @doors.post("", status_code=201)
    async def add_job(request: Request, response: Response, asked: _Asked) -> JobInfo:
        """Queue a job; its events say what becomes of it.

        Names of nothing and numbers that are none are refused at once; what only the work can know
        ends the job as failed, with the `problem`.
        """
        await asking.run(partial(check, studio, asked))
        kind = next(one for one in KINDS if isinstance(asked, one.request))
        job = Job(
            kind.name, client_of(request), asked, address_of(request), unattended=asked.unattended
        )
        studio.jobs.add(job, lambda job: kind.work(studio, job, asked), long=kind.long)
        know_again(request, response)
        return _described(job)

    @doors.get("/{identifier}")
    async def one_job(job: Found) -> JobInfo:
        """How a job stands."""
        return _described(job)

    @doors.delete("/{identifier}")
    async def cancel_job(job: Found) -> JobInfo:
        """End a job; what it told so far stays to be read."""
        studio.jobs.cancel(job)
        return _described(job)

    @doors.get("/{identifier}/events", response_class=Response, responses=stream())
    @doors.head("/{identifier}/events", response_class=Response, include_in_schema=False)
    async def events(
        job: Found,
        last_event_id: Annotated[
            str,
            Header(max_length=40, description="The number of the last one that was read."),
        ] = "",
        after: Annotated[
            str,
            Query(max_length=40, description="The same, for who cannot set the header."),
        ] = "",
    ) -> Response:
        """What the job tells, from its first event or from that after ``Last-Event-ID``."""
        return _told(job, last_event_id or after, EVENTS)

    @doors.get("/{identifier}/stream", response_class=Response, responses=messages())
    @doors.head("/{identifier}/stream", response_class=Response, include_in_schema=False)
    async def stream_of_bytes(
        job: Found,
        after: Annotated[
            str, Query(max_length=40, description="The number of the last one that was read.")
        ] = "",
    ) -> Response:
        """What the job tells, as `events`, with its pictures as bytes: browsers read it faster."""
        return _told(job, after, MESSAGES)

    @doors.get("/{identifier}/files/{name}", response_class=Response, responses=_FILE)
    async def one_file(job: Found, name: str) -> Response:
        """A file that a job left."""
        left = job.files.get(name)
        if left is None:
            there = ", ".join(sorted(job.files)) or "none"
            raise HTTPException(404, f"the job left no file {name!r}; it left {there}")
        content = left.made
        if content is None:
            try:
                content = await making.run(left.content)
            except StorageError as problem:
                raise StorageError(
                    f"{name} cannot be made: the machine of the studio has no room for temporary "
                    "files; make some there, and ask again"
                ) from problem
            studio.jobs.evict()
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type=left.media_type, headers=headers)

    return doors


def _told(job: Job, after: str, form: Form) -> Response:
    begin = _number(after or "0", job)
    if job.log.ended and 0 < begin == job.log.last:
        return Response(status_code=204)  # by which the browser knows that this was all
    return EventStream(job.log, begin, form)


def _number(given: str, job: Job) -> int:
    """The number of the event after which a reader goes on."""
    if not (given.isascii() and given.isdecimal()) or int(given) > job.log.last:
        raise HTTPException(
            422,
            f"the last event is said to be {given!r}; expected the number of one that the job "
            f"told, from 0 to {job.log.last}",
        )
    return int(given)


def _described(job: Job) -> JobInfo:
    return JobInfo(id=job.id, kind=job.kind, state=job.state, files=sorted(job.files))
