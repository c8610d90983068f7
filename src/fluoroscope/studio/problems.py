"""Errors as problem details (RFC 9457): one sentence that says what to do, with a status."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from fluoroscope.errors import FluoroscopeError, UnknownDataError, UnknownModelError
from fluoroscope.studio.jobs.queue import TooManyJobsError

_STATUS: dict[type[FluoroscopeError], int] = {
    UnknownModelError: 404,
    UnknownDataError: 404,
    TooManyJobsError: 429,
}


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer that says what was wrong."""
    content = {"type": "about:blank", "status": status, "detail": detail}
    return JSONResponse(content, status, headers, media_type="application/problem+json")


def tell_problems(app: FastAPI) -> None:
    """Answer every error of ours, of validation and of routing as problem details."""

    @app.exception_handler(FluoroscopeError)
    async def ours(_: Request, error: FluoroscopeError) -> JSONResponse:
        again = (
            {"Retry-After": str(error.retry_after)} if isinstance(error, TooManyJobsError) else None
        )
        return problem(_STATUS.get(type(error), 422), str(error), again)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return problem(422, "; ".join(_said(one) for one in error.errors()[:3]))

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail), dict(error.headers or {}))


def _said(one: Any) -> str:
    where = ".".join(str(part) for part in one["loc"] if part not in ("body", "query", "path"))
    return f"{where or 'the request'}: {one['msg']}"
