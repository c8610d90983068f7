"""A report as one page of HTML that needs nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from fluoroscope.report.blocks import Block

if TYPE_CHECKING:
    from jinja2 import Template

_MARKS = {
    "pass": "fine",
    "few": "few pictures",
    "warn": "look",
    "fail": "problem",
    "unknown": "not known",
}


@dataclass(frozen=True)
class Missing:
    """Why a section is not there."""

    what: str
    why: str


@dataclass(frozen=True)
class Shown:
    """A section as it came out."""

    name: str
    title: str
    blocks: Sequence[Block]
    data: dict[str, Any]
    missing: Missing | None = None


def render(title: str, about: str, sections: Sequence[Shown]) -> str:
    """The page; every word in it is escaped, whoever it is from."""
    return _template().render(
        title=title,
        about=about,
        sections=sections,
        style=(files("fluoroscope.report") / "templates" / "style.css").read_text("utf-8"),
        marks=_MARKS,
        version=version("fluoroscope"),
        made=date.today().isoformat(),
    ).strip()  # fmt: skip


@cache
def _template() -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    room = Environment(
        loader=PackageLoader("fluoroscope.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return room.get_template("page.html")
