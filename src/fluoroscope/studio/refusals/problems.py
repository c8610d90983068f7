"""Refusals as problem details (RFC 9457): one sentence in plain words, with a status."""

import re
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from fluoroscope.errors import (
    FluoroscopeError,
    HubUnreachableError,
    MissingExtraError,
    StorageError,
    UnknownDataError,
    UnknownModelError,
)
from fluoroscope.studio.faults import NO_MEMORY
from fluoroscope.studio.jobs.queue import TooManyJobsError
from fluoroscope.studio.refusals.fields import sentence

FAULT = (
    "the studio made a mistake of its own; what happened is told on the terminal where it was "
    "started"
)


class NotAllowedError(FluoroscopeError):
    """What the studio was started without."""


class BusyError(FluoroscopeError):
    """More at once than there is room for."""


_STATUS: dict[type, int] = {
    NotAllowedError: 403,
    UnknownModelError: 404,
    UnknownDataError: 404,
    HubUnreachableError: 424,
    MissingExtraError: 424,
    BusyError: 429,
    TooManyJobsError: 429,
    StorageError: 507,
}


class Problem(BaseModel):
    """A refusal, as RFC 9457 has it."""

    type: str = Field(description="Always `about:blank`: the status says which kind it is.")
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What was given, what was expected, and what to do.")


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer that says what was wrong."""
    # What was given may hold halves of signs, which are no UTF-8.
    words = detail.encode(errors="backslashreplace").decode()
    said = Problem(type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=words)
    return JSONResponse(said.model_dump(), status, headers, media_type="application/problem+json")


def tell_problems(app: FastAPI) -> None:
    """Answer every error of ours, of validation and of routing as problem details."""

    @app.exception_handler(FluoroscopeError)
    async def ours(_: Request, error: FluoroscopeError) -> JSONResponse:
        status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 422)
        wait = {"Retry-After": str(getattr(error, "retry_after", 2))} if status == 429 else None
        return problem(status, str(error), wait)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        body = any(one["loc"] == ("body",) for one in error.errors())
        kind = request.headers.get("content-type", "")
        if body and isinstance(error.body, bytes) and "json" not in kind:
            given = f"is {kind[:60]!r}" if kind else "has no content type"
            return problem(415, f"the request {given}; expected application/json")
        return problem(422, sentence(error.errors(), error.body))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        words = str(error.detail)
        if error.status_code == 405:
            words = f"{_shown(request)} takes no {request.method[:20]}; expected GET"
        elif words == HTTPStatus(error.status_code).phrase:
            words = f"there is no page {_shown(request)}; expected /, where the studio is"
        elif error.status_code == 400:
            words = "the body of the request cannot be read; expected JSON in UTF-8"
        return problem(error.status_code, words, dict(error.headers or {}))

    @app.exception_handler(MemoryError)
    async def no_memory(_: Request, error: MemoryError) -> JSONResponse:
        return problem(507, NO_MEMORY)

    @app.exception_handler(Exception)
    async def fault(_: Request, error: Exception) -> JSONResponse:
        # It is raised on to the guard, which tells the terminal.
        return problem(500, FAULT)


def refuse_the_rest(app: FastAPI) -> None:
    """Refuse whatever asks the API for what it has not; to be called behind all its doors."""
    doors: list[tuple[re.Pattern[str], set[str]]] = [
        (compile_path(door.path)[0], set(door.methods))
        for door in iter_route_contexts(app.routes)
        if door.path and door.methods
    ]

    async def nothing(request: Request) -> JSONResponse:
        shown = _shown(request)
        known = [methods for path, methods in doors if path.match(request.url.path)]
        if known:
            methods = sorted(set.union(*known))
            return problem(
                405,
                f"{shown} takes no {request.method[:20]}; expected {' or '.join(methods)}",
                {"Allow": ", ".join(methods)},
            )
        return problem(404, f"the API has nothing at {shown}; expected what api/docs tells of")

    app.add_route("/api/{rest:path}", nothing, methods=_METHODS, include_in_schema=False)


_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"]


def _shown(request: Request) -> str:
    path = request.url.path
    return path if len(path) < 100 else f"{path[:100]}…"
