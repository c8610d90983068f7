"""The command line, called in this process."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from fluoroscope.cli import main


@dataclass(frozen=True)
class Said:
    """What one call of the command line came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def fluoroscope(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Call ``fluoroscope`` with arguments."""

    def call(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["fluoroscope", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return Said(int(end.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int, int], Path]:
    """Make a folder of the first digits, as bright bars at heights of their own, so many of each to
    train and to test with."""

    def folder(digits: int, train: int, test: int) -> Path:
        root, apart = tmp_path_factory.mktemp("bars"), 26 // digits
        for split, copies in (("train", train), ("test", test)):
            for digit in range(digits):
                place = root / split / str(digit)
                place.mkdir(parents=True)
                for copy in range(copies):
                    image = Image.new("L", (28, 28))
                    image.paste(200 + copy, (4, apart * digit + 1, 24, apart * digit + 5))
                    image.save(place / f"{copy}.png")
        return root

    return folder
