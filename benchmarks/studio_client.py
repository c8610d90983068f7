"""A studio started as a user starts it, and what a client of its API hears and when."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from struct import unpack_from
from typing import Any

import httpx

COMMAND = Path(sys.executable).with_name("fluoroscope")
_PATIENCE = 120.0


@dataclass
class Running:
    """A studio in a process of its own."""

    process: subprocess.Popen[bytes]
    url: str
    client: httpx.Client
    page_after: float
    """Seconds from the command to the page."""
    ready_after: float
    """Seconds from the command to the first answer about the network that the page begins with."""

    def resident(self) -> float:
        """MB of its memory."""
        text = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        [line] = [line for line in text.splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) / 1024


@contextmanager
def running(*words: str, cwd: Path | None = None) -> Iterator[Running]:
    """``fluoroscope studio`` with these words, ready to work, inside the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    began = time.perf_counter()
    process = subprocess.Popen(
        [COMMAND, "studio", "--no-browser", "--port", str(port), *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=cwd,
    )  # fmt: skip
    try:
        with httpx.Client(base_url=url, timeout=_PATIENCE) as client:
            page = _first_answer(process, client, "/", began)
            network = client.get("/api/studio").raise_for_status().json()["networks"][0]["name"]
            client.get("/api/network", params={"name": network}).raise_for_status()
            yield Running(process, url, client, page, time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait(30)


def _first_answer(
    process: "subprocess.Popen[bytes]", client: httpx.Client, path: str, began: float
) -> float:
    while time.perf_counter() - began < _PATIENCE:
        try:
            client.get(path).raise_for_status()
            return time.perf_counter() - began
        except httpx.TransportError:
            if process.poll() is not None:
                said = process.stderr.read().decode() if process.stderr else ""
                raise RuntimeError(f"the studio ended at once: {said}") from None
            time.sleep(0.005)
    raise RuntimeError(f"the studio did not answer within {_PATIENCE:.0f} s")


@dataclass
class Heard:
    """What one reader heard of a job."""

    first_frame: float = 0.0
    """Seconds from the request to the first step with a picture."""
    whole: float = 0.0
    """Seconds from the request to the end."""
    steps: int = 0
    frames: int = 0
    mattering: list[tuple[int, str]] = field(default_factory=list)
    """Changes of the winner and the end, each with its number."""


def hear(running: Running, **asked: Any) -> Heard:
    """Ask for a job and hear it to its end."""
    began = time.perf_counter()
    answer = running.client.post("/api/jobs", json=asked)
    if answer.is_error:
        raise RuntimeError(answer.json()["detail"])
    heard = Heard()
    path = f"/api/jobs/{answer.json()['id']}/stream"
    messages = _Messages()
    with running.client.stream("GET", path) as pieces:
        for piece in pieces.iter_raw():
            for event in messages.take(piece):
                _note(heard, event, began)
    if heard.mattering[-1][1] != "done":
        raise RuntimeError(f"the job did not end as it should: {heard.mattering[-1]}")
    return heard


class _Messages:
    """Puts the messages of a job's stream together, which is what the page reads."""

    def __init__(self) -> None:
        self._held = bytearray()

    def take(self, piece: bytes) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Those that are whole with this piece: each its number, name and data."""
        self._held += piece
        while len(self._held) >= 8:
            head, pixels = unpack_from("<II", self._held)
            if len(self._held) < 8 + head + pixels:
                return
            if head:
                told = json.loads(bytes(self._held[8 : 8 + head]))
                yield told["id"], told["event"], told["data"]
            del self._held[: 8 + head + pixels]


def _note(heard: Heard, event: tuple[int, str, dict[str, Any]], began: float) -> None:
    number, name, data = event
    now = time.perf_counter() - began
    if name in ("step", "winner"):
        heard.steps += 1
        heard.frames += "frames" in data
        heard.first_frame = heard.first_frame or now
    if name == "winner":
        heard.mattering.append((number, str(data["winner"])))
    elif name == "end":
        heard.whole = now
        heard.mattering.append((number, data["state"]))


def heard_by_many(running: Running, readers: int, slow: float, **asked: Any) -> list[Heard]:
    """One job heard by so many at once; every second one takes ``slow`` seconds for each step."""
    job = running.client.post("/api/jobs", json=asked).raise_for_status().json()["id"]

    async def one(client: httpx.AsyncClient, pause: float) -> Heard:
        heard, began = Heard(), time.perf_counter()
        messages = _Messages()
        async with client.stream("GET", f"/api/jobs/{job}/stream") as answer:
            async for piece in answer.aiter_raw():
                for event in messages.take(piece):
                    _note(heard, event, began)
                    await asyncio.sleep(pause)
        return heard

    async def all_of_them() -> list[Heard]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=running.url, timeout=_PATIENCE, limits=limits
        ) as client:
            pauses = [slow * (number % 2) for number in range(readers)]
            return await asyncio.gather(*(one(client, pause) for pause in pauses))

    return asyncio.run(all_of_them())
