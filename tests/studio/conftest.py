"""A studio that is served to these tests on a port of its own."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn

from fluoroscope.data.imageset import load_images
from fluoroscope.studio.app import create_app
from fluoroscope.studio.guard.guard import Guard
from fluoroscope.studio.networks import Networks
from fluoroscope.studio.pictures import Pictures
from fluoroscope.studio.studio import Studio


@dataclass
class Served:
    """A running studio, and how tests speak with it."""

    url: str
    studio: Studio
    client: httpx.Client

    def job(self, **asked: Any) -> list[dict[str, Any]]:
        """What a job tells up to its end: the data of each event with its name as ``event``."""
        answer = self.client.post("/api/jobs", json=asked)
        assert answer.status_code == 201, answer.text
        return list(self.events(answer.json()["id"]))

    def events(self, job: str, after: int = 0) -> Iterator[dict[str, Any]]:
        """The events of a job after one of them."""
        headers = {"Last-Event-ID": str(after)} if after else {}
        with self.client.stream("GET", f"/api/jobs/{job}/events", headers=headers) as answer:
            told: dict[str, Any] = {}
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    told["event"] = value
                elif name == "data":
                    told |= json.loads(value)
                elif name == "id":
                    told["id"] = int(value)
                elif not line and told:
                    yield told
                    told = {}


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """The built-in networks and digits."""
    studio = Studio(
        Networks({}),
        Pictures({"digits": lambda channels: load_images("digits", channels=channels)}),
    )
    config = uvicorn.Config(Guard(create_app(studio)), port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, timeout=60) as client:
        yield Served(url, studio, client)
    server.should_exit = True
    thread.join(timeout=10)
