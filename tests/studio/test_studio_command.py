"""``fluoroscope studio``: what it serves, says and refuses, and how it ends."""

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from fluoroscope.cli import main
from fluoroscope.errors import InvalidParameterError
from fluoroscope.studio import server
from fluoroscope.studio.networks import Networks
from fluoroscope.studio.pictures import Pictures
from fluoroscope.studio.server import find_place
from fluoroscope.studio.studio import Studio

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Call the command; what would be served is in ``run.served`` in place of being served."""

    class Runner:
        served: dict[str, Any]

        def __call__(self, *arguments: str) -> tuple[int, str]:
            monkeypatch.setattr(sys, "argv", ["fluoroscope", "studio", *arguments])
            with pytest.raises(SystemExit) as end:
                main()
            said = capsys.readouterr()
            return int(end.value.code or 0), said.out + said.err

    runner = Runner()

    def serve(place: server.Place, make: Any, **how: Any) -> None:
        how["started"]()
        place.socket.close()
        runner.served = {"place": place, "make": make, **how}

    monkeypatch.setattr(server, "serve", serve)
    return runner  # type: ignore[return-value]


NEVER = "python:nets.py:never"


def serving(folder: Path, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """A studio in a process of its own, which can load a network that takes for ever."""
    code = "import pathlib, time\n\n\ndef never():\n    pathlib.Path('begun').touch()\n"
    (folder / "nets.py").write_text(f"{code}    time.sleep(600)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "fluoroscope", "studio", *arguments, "--no-browser"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.fullmatch(r"the studio is at (http://127\.0\.0\.1:\d+/)( .*)? \(Ctrl-C.*\)\n", line)
    assert found, line
    return process, found[1]


@contextmanager
def waiting(folder: Path, url: str) -> Iterator[None]:
    """Inside the block somebody waits for that network; behind it they are told why in vain."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx.get, f"{url}api/network", params={"name": NEVER}, timeout=120)
        while not (folder / "begun").exists():
            time.sleep(0.05)
        yield
        assert answer.result().status_code == 503
        assert "the studio was stopped" in answer.result().json()["detail"]


def test_a_studio_is_served_until_a_signal_ends_it_at_once(tmp_path: Path) -> None:
    process, url = serving(tmp_path, "-m", "digits-linear", "--also", NEVER)
    with httpx.Client(base_url=url, timeout=120) as client:
        assert "<title>" in client.get("/").text
        networks = client.get("/api/studio").json()["networks"]
        assert [one["name"] for one in networks][:3] == ["digits-linear", NEVER, "digits-cnn"]
        assert "server" not in client.get("/").headers
        asked = {"kind": "morph", "network": "digits-linear", "picture": "digits:7", "to": "2",
                 "steps": 2000}  # fmt: skip
        job = client.post("/api/jobs", json=asked).json()["id"]
        # Somebody reads, the job runs, and somebody waits, when it is told to end.
        with client.stream("GET", f"/api/jobs/{job}/events") as events:
            assert next(events.iter_lines())
            with waiting(tmp_path, url):
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err == "fluoroscope: stopped\n"


def test_who_waits_for_an_answer_is_told_that_it_ends(tmp_path: Path) -> None:
    process, url = serving(tmp_path, "-m", NEVER)
    with waiting(tmp_path, url):
        assert httpx.get(f"{url}api/studio").json()["data"] == [
            {"name": "digits", "count": None, "problem": None}
        ]
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert err == ""


def test_the_server_is_there_before_pytorch() -> None:
    code = "import fluoroscope.studio.server, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_usual_port_or_the_next_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(server, "PORT", port)
        place = find_place("127.0.0.1", None)
        place.socket.close()
        assert port < place.port < port + 40
        assert place.url == f"http://127.0.0.1:{place.port}/"
        assert place.private
        with pytest.raises(InvalidParameterError, match=f"port {port} is taken"):
            find_place("127.0.0.1", port)
    for host in ("203.0.113.7", "no such host"):
        with pytest.raises(InvalidParameterError, match=r"expected 127\.0\.0\.1"):
            find_place(host, 0)


def test_another_address_asks_for_a_token(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = run()
    assert code == 0
    assert "token" not in said
    assert run.served["token"] is None
    assert run.served["browser"] is True
    code, said = run("--host", "0.0.0.0", "--allow-host", "hub.example")
    assert code == 0
    token = run.served["token"]
    assert said.count(f"/?token={token.words} (") == 1
    assert run.served["proxies"] == ["hub.example"]
    assert run.served["browser"] is False  # whoever lists processes would see the link
    assert not run.served["place"].private
    monkeypatch.setenv("MY_TOKEN", "a-token-that-nobody-guesses")
    for host in ("0.0.0.0", "127.0.0.1"):
        code, said = run("--host", host, "--token-variable", "MY_TOKEN")
        assert run.served["token"].words == "a-token-that-nobody-guesses"
        assert "token" not in said
    code, said = run("--host", "0.0.0.0", "--token-variable", "NOT_THERE")
    assert code == 2
    assert "NOT_THERE is not set" in said


def test_networks_data_and_options_are_those_that_were_named(run: Any, tmp_path: Path) -> None:
    assert run("-m", "digits-linear", "--outputs", "logits", "--also", "digits-robust",
               "--generator", str(tmp_path), "--allow-load", "-d", "digits")[0] == 0  # fmt: skip
    studio = run.served["make"]()
    try:
        assert studio.networks.names == ("digits-linear", "digits-robust", "digits-cnn")
        assert studio.networks.options("digits-linear") == ("--outputs", "logits")
        assert studio.networks.options("digits-robust") == ()
        assert studio.networks.get("digits-linear").num_classes == 10
        assert studio.networks.load_any
        assert studio.pictures.data == ("digits",)
        assert studio.generator == tmp_path
    finally:
        studio.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-m", "digits-cmn"), "no network is called 'digits-cmn'"),
        (("--also", "digits-cmn"), "no network is called 'digits-cmn'"),
        (("-d", "digts"), "digts"),
        (("--mean", "0.5"), "--mean says something of a network; expected --model"),
        (("--port", "0"), "--port"),
    ],
)
def test_mistakes_are_one_line(run: Any, arguments: tuple[str, ...], words: str) -> None:
    code, said = run(*arguments)
    assert code == 2
    assert words in said
    assert "Traceback" not in said


def test_without_its_libraries_it_says_what_to_install(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluoroscope.studio.find_spec", lambda name: None)
    code, said = run()
    assert code == 2
    assert said.strip() == (
        "fluoroscope: the studio needs FastAPI and uvicorn; install them with pip install "
        "'fluoroscope[studio]'"
    )


def test_what_cannot_be_made_ends_the_command_with_its_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def make() -> Any:
        raise InvalidParameterError("nothing can be made of this")

    with pytest.raises(InvalidParameterError, match="nothing can be made"):
        server.serve(find_place("127.0.0.1", 0), make, browser=False)


def test_a_network_of_the_command_that_cannot_be_had_is_told_on_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def load() -> Any:
        raise InvalidParameterError("[b]nets.py[/b] has no make")

    studio = Studio(Networks({"mine": load}), Pictures({}))
    coming = server._Coming(lambda: studio)
    coming.come(lambda: None)
    next(one for one in threading.enumerate() if one.name == "studio-coming").join(60)
    coming.close()
    assert coming.problem is None
    assert capsys.readouterr().err == "fluoroscope: [b]nets.py[/b] has no make\n"
