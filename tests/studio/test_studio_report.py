"""The report of the studio is the library's X-ray, opened where it can do nothing."""

import re

from fluoroscope import load_images, load_model
from fluoroscope.report.xray import xray
from tests.studio.conftest import Served

ASKED = {"kind": "report", "network": "digits-cnn", "limit": 40, "sections": ["clean"]}


def test_a_report_is_the_library_s_and_opens_in_a_sandbox(served: Served) -> None:
    job = served.client.post("/api/jobs", json=ASKED).json()["id"]
    told = list(served.events(job))
    assert told[-1]["state"] == "done", told[-1]
    page = served.client.get(f"/api/jobs/{job}/report")
    own = xray(load_model("digits-cnn"), load_images("digits", channels=1).take(40),
               sections=["clean"], budget=120)  # fmt: skip
    assert told[-1]["summary"] == own.summary
    assert _prose(page.text) == _prose(own.html)
    policy = page.headers["content-security-policy"]
    assert policy.startswith("sandbox")
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert page.headers["content-type"].startswith("text/html")
    assert served.client.get(f"/api/jobs/{job}/files/report.html").content == page.content


def test_a_job_without_a_report_is_told(served: Served) -> None:
    answer = served.client.get("/api/jobs/nobody/report")
    assert answer.status_code == 404
    assert "has made no report" in answer.json()["detail"]


def _prose(page: str) -> str:
    """Without the times that it was made at and took."""
    return re.sub(r"[\d.]+", "#", re.sub(r"(?s)<footer.*", "", page))
