"""The page on the studio: its commands are ones, its script runs, its pictures are small."""

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fluoroscope.cli import main
from fluoroscope.studio import server
from tests.studio.conftest import Served

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "studio.md").read_text("utf-8")
COMMANDS = sorted(set(re.findall(r"fluoroscope studio(?: --?[\w-]+ [\w./:]+)+", PAGE)))


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_are_ones(
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for folder in ("photos", "holdout"):
        (tmp_path / folder / "class").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "class" / "one.png")
    (tmp_path / "nets.py").write_text("def make(): ...")
    monkeypatch.chdir(tmp_path)
    places: list[server.Place] = []

    def serve(place: server.Place, *_: Any, **__: Any) -> None:
        place.socket.close()
        places.append(place)

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr(sys, "argv", shlex.split(line))
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code, capsys.readouterr().err
    assert len(places) == 1


def test_it_names_options_that_there_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(COMMANDS) >= 3
    monkeypatch.setattr(sys, "argv", ["fluoroscope", "studio", "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr().out
    for option in set(re.findall(r"`(--[a-z-]+)", PAGE)):
        assert option in told, option


def test_its_script_runs(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    [script] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert "http://127.0.0.1:8360" in script
    exec(script.replace("http://127.0.0.1:8360", served.url), {})
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "step 0: class 7, Linf 0.000"
    assert told[-2].startswith("step 40: class 2, Linf 0.3")
    assert re.fullmatch(r"morph\.gif has \d{4,} bytes", told[-1])


def test_its_pictures_are_there_and_small() -> None:
    named = re.findall(r"!\[[^\]]+\]\((studio/[\w-]+\.png)\)", PAGE)
    assert sorted(path.name for path in (DOCS / "studio").iterdir()) == sorted(
        Path(name).name for name in named
    )
    for name in named:
        assert (DOCS / name).stat().st_size <= 150_000, name
        with Image.open(DOCS / name) as picture:
            picture.verify()
