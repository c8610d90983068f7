"""Fetching, with the network replaced by what the tests say."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fluoroscope.errors import (
    HubUnreachableError,
    MissingExtraError,
    ModelFormatError,
    UnknownModelError,
)
from fluoroscope.models import hub

CONTENT = b"weights"
# The first digits of the content's SHA-256, as torch.hub expects them in a name.
GOOD, BAD = "net-9a129038.pth", "net-00000000.pth"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    return tmp_path / "checkpoints"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server on this machine that has one file."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Files(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(CONTENT)

        def log_message(self, *_: Any) -> None:
            pass

    made = HTTPServer(("127.0.0.1", 0), Files)
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_file_is_fetched_once(
    cache: Path, server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fetched = hub.fetch_file(f"{server}/models/{GOOD}")
    assert fetched == cache / GOOD
    assert fetched.read_bytes() == CONTENT
    monkeypatch.setattr(hub, "urlopen", None)  # the second time nobody is asked
    assert hub.fetch_file(f"{server}/models/{GOOD}") == fetched
    assert capsys.readouterr().out == ""


def test_a_file_with_another_hash_is_not_kept(cache: Path, server: str) -> None:
    with pytest.raises(ModelFormatError, match="did not arrive whole"):
        hub.fetch_file(f"{server}/models/{BAD}")
    assert not list(cache.iterdir())


def test_a_server_that_says_nothing_is_given_up_soon(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(hub, "_PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(HubUnreachableError, match="could not reach http://127") as raised:
            hub.fetch_file(f"http://127.0.0.1:{silent.getsockname()[1]}/net.pth")
        assert time.monotonic() - start < 5
    message = str(raised.value)
    assert "\n" not in message
    for offline in ("digits-linear", "local directory", ".pt2", "python:"):
        assert offline in message


@pytest.fixture
def hub_answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[dict[str, Any]]]:
    huggingface_hub = pytest.importorskip("huggingface_hub")

    def answer(with_what: Any) -> list[dict[str, Any]]:
        asked: list[dict[str, Any]] = []

        def snapshot_download(name: str, **options: Any) -> str:
            asked.append({"name": name, **options})
            if isinstance(with_what, Exception):
                raise with_what
            return str(with_what)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        return asked

    return answer


def test_only_configuration_and_safetensors_are_fetched(
    hub_answers: Callable[[Any], list[dict[str, Any]]], tmp_path: Path
) -> None:
    asked = hub_answers(tmp_path)
    assert hub.fetch_repository("owner/name@v2") == tmp_path
    (call,) = asked
    assert (call["name"], call["revision"]) == ("owner/name", "v2")
    assert all(pattern.endswith((".json", ".safetensors")) for pattern in call["allow_patterns"])


def test_what_the_hub_may_say(hub_answers: Callable[[Any], Any]) -> None:
    errors = pytest.importorskip("huggingface_hub.errors")
    response = SimpleNamespace(headers={}, status_code=404, request=None)
    for problem, error, message in (
        (
            errors.GatedRepoError("gated", response=response),
            UnknownModelError,
            "accepted its terms",
        ),
        (errors.RepositoryNotFoundError("?", response=response), UnknownModelError, "has no model"),
        (errors.HFValidationError("bad id"), UnknownModelError, "expected owner/name"),
        (
            errors.LocalEntryNotFoundError("Got: ConnectError: down\nmore"),
            HubUnreachableError,
            "down",
        ),
        (TimeoutError(), HubUnreachableError, "TimeoutError"),
    ):
        hub_answers(problem)
        with pytest.raises(error, match=message) as raised:
            hub.fetch_repository("owner/name")
        assert "\n" not in str(raised.value)


def test_progress_bars_are_given_back(hub_answers: Callable[[Any], Any], tmp_path: Path) -> None:
    bars = pytest.importorskip("huggingface_hub.utils.tqdm")
    hub_answers(tmp_path)
    before = bars.are_progress_bars_disabled()
    hub.fetch_repository("owner/name")
    assert bars.are_progress_bars_disabled() == before


def test_a_missing_library_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'fluoroscope\[hub\]'"):
        hub.require("a_library_nobody_has", "hf/owner/name")
    hub.require("torch", "anything")
