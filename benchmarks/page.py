"""A page of measured tables: sections that are written one by one and replaced one by one."""

import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import fluoroscope as fs
from fluoroscope.engine.provenance import processor
from fluoroscope.files import atomic_path

PAGE = Path("docs/benchmarks.md")


class Skipped(Exception):  # noqa: N818 it is no error
    """A section that cannot be measured here; says why."""


@dataclass(frozen=True)
class Scale:
    """How much of a workload is run; nothing given is what the published table holds."""

    repeats: int | None = None
    steps: int | None = None
    limit: int | None = None
    """Images."""
    anew: tuple[str, ...] = ()
    """Plans whose kept verdicts are made anew."""
    kept: bool = False
    """Whether tables of verdicts show those that are kept and leave out the others."""

    def times(self, cpu: int, wall: int) -> tuple[int, int]:
        """Repeats by the CPU's clock and by the one on the wall."""
        return (self.repeats or cpu, self.repeats or wall)


@dataclass
class Section:
    """Markdown that grows line by line."""

    page: Path
    name: str
    title: str
    lines: list[str] = field(default_factory=list)

    def text(self, *paragraphs: str) -> None:
        """Paragraphs."""
        for paragraph in paragraphs:
            self.lines += ["", paragraph]

    def table(self, columns: list[str], rows: Iterable[Iterable[Any]]) -> None:
        """A table; columns whose name ends in ``>`` are set flush right."""
        ends = ["---:" if column.endswith(">") else "---" for column in columns]
        heads = [column.removesuffix(">") for column in columns]
        self.lines += ["", _row(heads), _row(ends), *(_row(map(str, row)) for row in rows)]

    def picture(self, file: str, words: str) -> Path:
        """Show a picture that the caller writes to the returned path."""
        folder = self.page.with_suffix("")
        folder.mkdir(parents=True, exist_ok=True)
        self.lines += ["", f"![{words}]({folder.name}/{file})"]
        return folder / file

    def measured(self, seconds: float) -> None:
        """Say how long it took, on what machine and with which versions."""
        self.text(
            f"*{seconds:.0f} s on {processor()}, {torch.get_num_threads()} threads; fluoroscope "
            f"{fs.__version__}, torch {torch.__version__}, Python {platform.python_version()}; "
            f"{datetime.now(UTC):%Y-%m-%d}.*"
        )

    def write(self, head: str) -> None:
        """Put the section into the page, in place of an older one of its name.

        ``head`` opens a page that is not there yet.
        """
        body = "\n".join(
            [f"<!-- {self.name} -->", f"## {self.title}", *self.lines, f"<!-- end {self.name} -->"]
        )
        page = self.page.read_text(encoding="utf-8") if self.page.is_file() else head
        old = re.compile(rf"<!-- {self.name} -->.*?<!-- end {self.name} -->", re.DOTALL)
        page = old.sub(lambda _: body, page) if old.search(page) else f"{page.rstrip()}\n\n{body}\n"
        with atomic_path(self.page) as draft:
            draft.write_text(page, encoding="utf-8")


def percent(share: float, digits: int = 1) -> str:
    """A share as a percentage."""
    return f"{100 * share:.{digits}f} %"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
