"""The description of the API as OpenAPI has it, complete: also what every refusal looks like."""

from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from fluoroscope.studio.refusals.problems import Problem

ABOUT = """What the page of the studio can do, any program can do by this API.

**Names.** A network has the name that the command gave it. A picture is `DATA:INDEX` of a data
set, `kept:HASH` where it was brought, drawn or kept, or `step:JOB:NUMBER`, the exact picture at a
step of a job.

**Jobs.** `POST api/jobs` queues one and answers with its id. `GET api/jobs/ID/events` tells what
becomes of it, as server-sent events with numbers from 1 on: a reader that was cut off goes on after
`Last-Event-ID`, or `?after=NUMBER`. The first event is `begin`, the last `end`, with the `state`,
the `notes` and the `files` that can be fetched. In between come those of its kind: `step` and
`winner` (a step at which the predicted class is another one), `map`, `verdict`, `units`, `picture`,
`progress`. To a slow reader the oldest pictures are not sent; a change of the predicted class and
the end always are. A job that nobody reads ends within a second, unless it is `unattended`.

**Pictures** are sent as 8-bit values, rows from the top, channels last, in base64; probabilities as
little-endian float32 in base64. `GET api/jobs/ID/stream` tells the same as `events` with the
pictures of its events as bytes.

**Refusals** are problem details (RFC 9457): `detail` is one sentence that says what was given, what
was expected and what to do.

**Who may ask.** Pages of other sites may not. Where the studio was started with a token, programs
send it as `Authorization: Bearer TOKEN`."""

_TAGS = {
    "offers": "Networks and data sets.",
    "pictures": "Pictures to begin from.",
    "jobs": "Work that takes a while.",
}


def describe(app: FastAPI) -> None:
    """Complete what FastAPI makes of the doors."""

    @cache
    def made() -> dict[str, Any]:
        found = get_openapi(
            title=app.title,
            version=app.version,
            summary="Watch a network being fooled, live, and see why.",
            description=ABOUT,
            routes=app.routes,
            tags=[{"name": name, "description": words} for name, words in _TAGS.items()],
        )
        # Relative to the description itself, so that it holds below the path of a proxy.
        found["servers"] = [{"url": "../"}]
        parts = found["components"]
        for name in ("HTTPValidationError", "ValidationError"):
            parts["schemas"].pop(name, None)
        parts["schemas"]["Problem"] = Problem.model_json_schema()
        parts["responses"] = {"Problem": _REFUSAL}
        parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{}, {"token": []}]
        for door in found["paths"].values():
            for one in door.values():
                _complete(one)
        return found

    app.openapi = made  # type: ignore[method-assign]


_REFUSAL = {
    "description": "A refusal, with the reason and what to do.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def _complete(door: dict[str, Any]) -> None:
    """Its summary is the first sentence of what it does, and its refusals are ours."""
    door["summary"] = door.get("description", "").replace("\n", " ").partition(". ")[0].rstrip(".")
    answers = door["responses"]
    if "HTTPValidationError" in str(answers.get("422")):
        del answers["422"]
    for status, answer in answers.items():
        if answer["description"] == "Successful Response":
            answer["description"] = {"201": "Made.", "204": "Done."}.get(status, "The answer.")
    answers["4XX"] = {"$ref": "#/components/responses/Problem"}
    answers["500"] = {"$ref": "#/components/responses/Problem"}
