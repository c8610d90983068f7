"""Reports to be looked at in the browser, where a page that somebody made can do nothing."""

from fastapi import APIRouter, HTTPException, Response

from fluoroscope.studio.kinds.report import FILE
from fluoroscope.studio.studio import Studio

POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; "
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
"""A report has its style and its pictures within it, runs no script, and loads nothing.

In the sandbox it is of no origin: labels that somebody else wrote stand in it, and whatever they
are, they reach neither the studio nor its cookie.
"""


def reports(studio: Studio) -> APIRouter:
    """The door over a studio."""
    doors = APIRouter(prefix="/api/jobs", tags=["jobs"])

    @doors.get("/{identifier}/report", response_class=Response)
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
            headers={"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"},
        )

    return doors
