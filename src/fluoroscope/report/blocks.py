"""What a section is made of. A section writes no HTML, so that nothing in it escapes escaping."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["pass", "few", "warn", "fail", "unknown"]
"""``few``: it came out well, on so few pictures that it says little."""


@dataclass(frozen=True)
class Text:
    """A paragraph; ``lead`` is the section's answer in a sentence, ``note`` is small print."""

    text: str
    kind: Literal["plain", "lead", "note"] = "plain"


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class Number:
    """A number that is to be seen from afar, what it counts, and how sure it is."""

    value: str
    what: str
    detail: str = ""


@dataclass(frozen=True)
class Numbers:
    """Numbers side by side."""

    items: Sequence[Number]


@dataclass(frozen=True)
class Table:
    """Rows under column heads; the columns in ``right`` are set flush right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    right: Sequence[int] = ()
    folded: bool = False
    """Whether a reader has to open it."""
    stacked: bool = False
    """Whether on a phone each row's cells stand below each other, as where they hold sentences."""


@dataclass(frozen=True)
class Figure:
    """A plot as SVG that `pictures.plots` made, with its numbers for those who cannot see it."""

    svg: str
    says: str
    """What there is to see, for a screen reader."""
    caption: str
    table: Table
    wide: bool = False
    """Whether it has too much in it for a phone's width, and is to be moved sideways there."""


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, with what it shows and a caption."""

    uri: str
    says: str
    caption: str


@dataclass(frozen=True)
class Card:
    """Pictures that belong together, under a title."""

    title: str
    pictures: Sequence[Picture]
    text: str = ""


@dataclass(frozen=True)
class Gallery:
    """Cards side by side, as many as there is room for."""

    cards: Sequence[Card]

    @property
    def small(self) -> bool:
        """Whether every card has but one picture."""
        return all(len(card.pictures) == 1 for card in self.cards)

    @property
    def broad(self) -> bool:
        """Whether a card has more pictures than stand side by side in half of a page."""
        return any(len(card.pictures) > 4 for card in self.cards)


@dataclass(frozen=True)
class Check:
    """Something that was looked into, how it went, and what was seen."""

    status: Status
    title: str
    text: str


@dataclass(frozen=True)
class Checks:
    """A checklist; what came out well is shown in short."""

    items: Sequence[Check]


@dataclass(frozen=True)
class Step:
    """Something to do: what, why, and a command if there is one."""

    title: str
    text: str
    command: str = ""


@dataclass(frozen=True)
class Steps:
    """What to do, the most useful first."""

    items: Sequence[Step]


@dataclass(frozen=True)
class Code:
    """Text for a machine, such as a command."""

    text: str


@dataclass(frozen=True)
class Facts:
    """Names and their values."""

    items: Sequence[tuple[str, str]]


Block = Text | Heading | Numbers | Table | Figure | Gallery | Checks | Steps | Code | Facts


@dataclass(frozen=True)
class Content:
    """A section's blocks, and its findings as plain values for machines."""

    blocks: Sequence[Block]
    data: dict[str, Any]
