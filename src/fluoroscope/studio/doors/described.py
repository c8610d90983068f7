"""What the API's own description says of what jobs tell."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fluoroscope.studio.kinds.registry import KINDS


class Queued(BaseModel):
    """The job has to wait."""

    place: int = Field(ge=1, description="In the line; 1 is the next.")


class Progress(BaseModel):
    """How much is done."""

    share: float | None = Field(description="From 0 to 1.")
    doing: str


class End(BaseModel):
    """The last event of every job; kinds add what came of it."""

    model_config = ConfigDict(extra="allow")

    state: Literal["done", "cancelled", "failed"]
    notes: list[str] = Field(description="What one should know of the result.")
    files: list[str] = Field(description="To be fetched as `files/NAME`.")
    problem: str | None = Field(None, description="Why it failed, or ended by itself.")


_NO_MORE = {"description": "All was read up to the end: do not come back."}
_TOLD: dict[str, type[BaseModel]] = {"queued": Queued, "progress": Progress, "end": End}


def stream() -> dict[int | str, dict[str, Any]]:
    """The events of jobs of every kind."""
    kinds = "\n".join(f"* `{kind.name}`: {kind.work.__doc__}".replace("``", "`") for kind in KINDS)
    known = [
        {
            "properties": {
                "event": {"const": name},
                "data": {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": model.model_json_schema(),
                },
            }
        }
        for name, model in _TOLD.items()
    ]
    item = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "Its number, from 1 and without gaps."},
            "event": {"type": "string"},
            "data": {"type": "string", "contentMediaType": "application/json"},
            "retry": {"type": "integer"},
        },
        "anyOf": [*known, {"properties": {"event": {"not": {"enum": list(_TOLD)}}}}],
    }
    said = (
        "Server-sent events, each with its number as `id`: `queued` while the job waits, `progress`"
        f" now and then, `end` as the last one, and what its kind tells:\n{kinds}\n\nThe pictures "
        "of an event are its `frames` by name; readers slower than the job may find the oldest "
        "gone, but no event. A number that is not finite is `null`, and `not_finite` says by its "
        "place what it was."
    )
    return {
        200: {
            "description": said,
            "content": {"text/event-stream": {"schema": {"type": "string"}, "itemSchema": item}},
        },
        204: _NO_MORE,
    }


def messages() -> dict[int | str, dict[str, Any]]:
    """The same events in the form that the page reads."""
    said = (
        "The same events, each as a message: two little-endian 32-bit numbers, which are the "
        "lengths of the two parts that follow. The first part is the JSON object `{id, event, "
        "data}`, in which the `pixels` of a frame are `[place, count]`; the second is the bytes "
        "in which they lie there. A message with two empty parts says that the stream is still "
        "there."
    )
    content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": said, "content": content}, 204: _NO_MORE}
