"""Reports to be looked at in the browser.

Labels that somebody else wrote stand in one: it is sent with a policy of its own, by which it is of
no origin, runs no script and loads nothing.
"""

from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import HTMLResponse

from fluoroscope.studio.kinds.report import FILE
from fluoroscope.studio.studio import Studio

POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'"
)
"""What a report may: its own style and pictures, and nothing of the studio."""


def reports(studio: Studio) -> APIRouter:
    """The door over a studio."""
    doors = APIRouter(prefix="/api/jobs", tags=["jobs"])

    @doors.get("/{identifier}/report", response_class=HTMLResponse)
    def one_report(identifier: str) -> Response:
        """The page that a job of the kind `report` made, to be opened in a browser."""
        job = studio.jobs.get(identifier)
        left = None if job is None else job.files.get(FILE)
        if left is None:
            raise HTTPException(
                404,
                f"the job {identifier!r} has made no report; expected one that has ended and is "
                "still kept: start it again",
            )
        return Response(
            left.content(),
            media_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": POLICY},
        )

    return doors
