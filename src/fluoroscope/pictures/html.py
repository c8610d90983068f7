"""How a result shows itself in a notebook: pictures and tables that need nothing else.

What a result is made of comes from strangers (labels, names of files, notes). So text becomes
:data:`Html` only here, by way of escaping, and a result puts such pieces together. Colours are
those of the text around it, so that the same output is legible on light and on dark themes. Small
pictures are enlarged by whole pixels, never smoothed; large ones are scaled down.

Nothing is computed by a network here, and the size is bounded: so many pictures of so many pixels,
so many rows of so many letters.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, NewType

from fluoroscope.errors import InvalidParameterError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from fluoroscope.pictures.attribution_colours import Colours

Html = NewType("Html", str)
"""Markup that was made here; any other text is escaped."""

ROWS = 12
"""Rows of a table at the most; how many were left out is said."""
SIDE = 112
"""The longer side of a picture, in pixels of the screen."""
_LETTERS = 300

# Mixed from the colour of the text around, or of a middle lightness: 3:1 on white and on black.
_STYLE = """
.fluoroscope{--ink:currentColor;--soft:color-mix(in srgb,currentColor 72%,transparent);
--line:color-mix(in srgb,currentColor 25%,transparent);--paper:transparent;
--good:#3a9a5c;--bad:#d9534a;--series-1:#2a86d1;--series-2:#d9691b;--series-3:#149a8c;
--series-4:#a868d8;--series-5:#978312;--series-6:#d6498f;
max-width:60rem;margin:.2rem 0;line-height:1.4;font-variant-numeric:tabular-nums}
.fluoroscope p{margin:.2rem 0 .5rem;overflow-wrap:anywhere}
.fluoroscope .soft{color:var(--soft);font-size:.92em}
.fluoroscope .scroll{overflow-x:auto;margin:.3rem 0 .6rem}
.fluoroscope table{border-collapse:collapse;margin:0;font-size:.92em;border:0}
.fluoroscope tr{background:none!important}
.fluoroscope th,.fluoroscope td{text-align:left;vertical-align:top;padding:.15rem 1rem .15rem 0;
border:0;border-bottom:1px solid var(--line);max-width:34rem;white-space:normal;
overflow-wrap:anywhere}
.fluoroscope thead th{color:var(--soft);font-weight:600;overflow-wrap:normal}
.fluoroscope tbody th{font-weight:400}
.fluoroscope .right{text-align:right;white-space:nowrap}
.fluoroscope .cards{display:flex;flex-wrap:wrap;gap:.6rem 1.1rem;margin:.4rem 0 .7rem}
.fluoroscope .card{display:flex;gap:.4rem}
.fluoroscope figure{margin:0;min-width:0}
.fluoroscope figcaption{font-size:.85em;line-height:1.3;color:var(--soft);margin-top:.15rem;
overflow-wrap:anywhere}
.fluoroscope img{image-rendering:pixelated;display:block;margin:0;max-width:none;
outline:1px solid var(--line)}
.fluoroscope .wrong img{outline:3px solid #b42318}
.fluoroscope svg{display:block;width:100%;max-width:34rem;height:auto;overflow:visible}
.fluoroscope svg text{font-family:inherit}
"""


class Shown:
    """A result that is one line as text, and pictures and a table in a notebook.

    A dataclass has to be one with ``repr=False``, so that it does not print its tensors.
    """

    def _line(self) -> str:
        """What it is and its main number, in a line."""
        raise NotImplementedError

    def _view(self) -> Iterable[Html]:
        """What a notebook shows below the line."""
        return ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {' '.join(self._line().split())}>"

    def _repr_html_(self) -> str:
        title = f"<p><strong>{type(self).__name__}</strong> {_text(self._line())}</p>"
        body = "\n".join(self._view())
        return f'<div class="fluoroscope"><style>{_STYLE}</style>\n{title}\n{body}\n</div>'


def paragraph(text: str) -> Html:
    """A sentence or two in small print; nothing of nothing."""
    return Html(f'<p class="soft">{_text(text)}</p>' if text else "")


def notes(told: Iterable[str]) -> Html:
    """What a reader should know, a line each; no more than a table has rows."""
    lines = list(told)
    more = [f"and {len(lines) - ROWS} more"] if len(lines) > ROWS else []
    return Html("".join(paragraph(f"note: {line}") for line in lines[:ROWS] + more))


def facts(items: Iterable[tuple[str, str]]) -> Html:
    """Names and their values, a row each; those without a value are left out."""
    rows = [[name, value] for name, value in items if value]
    return table((), rows)


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Sequence[int] = (),
    most: int = ROWS,
    letters: int = _LETTERS,
) -> Html:
    """Rows under column heads, the first ``most`` of them; columns in ``right`` are set right.

    A cell has so many ``letters`` at the most.
    """
    if not rows:
        return Html("")
    side = [' class="right"' if number in right else "" for number in range(len(rows[0]))]
    head = "".join(
        f'<th scope="col"{where}>{_text(name)}</th>'
        for where, name in zip(side, columns, strict=bool(columns))
    )
    body = "".join(_row(row, side, letters) for row in rows[:most])
    left = len(rows) - most
    more = paragraph(f"and {left:,} more") if left > 0 else ""
    head = f"<thead><tr>{head}</tr></thead>" if columns else ""
    return Html(f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>{more}')


def picture(image: "Tensor", caption: str = "", *, side: int = SIDE) -> Html:
    """An image ``(C, H, W)`` in ``[0, 1]`` with words below it, one line of them a line."""
    from fluoroscope.pictures.display import said, shown
    from fluoroscope.pictures.uris import uri
    from fluoroscope.pictures.write import to_pil

    if not image.numel():
        return _figure("", 0, 0, caption)
    try:
        which = said(len(image))
        drawn = to_pil(shown(image.nan_to_num()))
    except InvalidParameterError as problem:  # `showing` names channels that it does not have
        return _figure("", 0, 0, f"{caption}\n{problem}")
    height, width = image.shape[-2:]
    address = uri(drawn, side, exact=True)
    return _figure(address, *_size(height, width, side), f"{caption}\n{which}".strip())


def change(values: "Tensor", scale: float, caption: str = "", *, side: int = SIDE) -> Html:
    """A signed ``(C, H, W)`` as colours, white where it is zero, full ones at ``scale``."""
    from fluoroscope.pictures.uris import signed_uri

    if not values.numel():
        return _figure("", 0, 0, caption)
    height, width = values.shape[-2:]
    address = signed_uri(values.nan_to_num(), scale)
    return _figure(address, *_size(height, width, side), caption)


def coloured(
    values: "Tensor",
    colours: "Colours",
    caption: str = "",
    *,
    side: int = SIDE,
    wrong: bool = False,
) -> Html:
    """A map ``(C, H, W)`` in the colours of several; large ones are the means of small blocks.

    One that is ``wrong`` has a red frame, and its caption says why.
    """
    from fluoroscope.pictures.uris import coloured_uri

    if not values.numel():
        return _figure("", 0, 0, caption)
    height, width = values.shape[-2:]
    address = coloured_uri(values, colours)
    return _figure(address, *_size(height, width, side), caption, wrong=wrong)


def scale_of(changes: Sequence["Tensor"]) -> float:
    """One scale for several signed ``(C, H, W)``: the largest of their own; 1 of nothing."""
    from fluoroscope.pictures.maps import signed_map
    from fluoroscope.pictures.uris import blocks_of

    return max((signed_map(blocks_of(one.nan_to_num()))[1] for one in changes), default=1.0)


def end_of(scale: float, channels: int) -> str:
    """The scale of changes in words, as a picture of signed numbers is of all its channels."""
    return f"±{scale:.2g}" + (", channels added up" if channels > 1 else "")


def cards(groups: Iterable[Sequence[Html]]) -> Html:
    """Groups of pictures side by side, as many in a row as there is room for."""
    inside = "".join(f'<div class="card">{"".join(group)}</div>' for group in groups)
    return Html(f'<div class="cards">{inside}</div>' if inside else "")


def plot(figure: "Figure", says: str) -> Html:
    """A figure that was drawn in :func:`.plots.page_style`; ``says`` is for those who cannot see
    it.
    """
    from fluoroscope.pictures.plots import svg

    return Html(f'<div role="img" aria-label="{_text(says)}">{svg(figure)}</div>')


def page(document: str, title: str, *, height: int = 640) -> Html:
    """A whole page inside the notebook, in a frame that may run no script and reach nothing."""
    return Html(
        f'<iframe sandbox="" title="{_text(title)}" srcdoc="{escape(document)}" '
        f'style="width:100%;height:{height}px;border:1px solid var(--line);background:Canvas">'
        "</iframe>"
    )


def _row(cells: Sequence[object], side: Sequence[str], letters: int) -> str:
    first, *others = (
        (where, _text(cell, letters)) for cell, where in zip(cells, side, strict=True)
    )
    head = f'<th scope="row"{first[0]}>{first[1]}</th>'
    return f"<tr>{head}{''.join(f'<td{where}>{cell}</td>' for where, cell in others)}</tr>"


def _figure(address: str, width: int, height: int, caption: str, *, wrong: bool = False) -> Html:
    lines = "<br>".join(map(_text, caption.split("\n"))) if caption else ""
    says = _text(caption.replace("\n", ", "))
    drawn = f'<img src="{address}" width="{width}" height="{height}" alt="{says}">'
    # As wide as the picture, however long the words.
    room = f' style="width:{max(width, 64)}px"'
    kind = ' class="wrong"' if wrong else ""
    return Html(
        f"<figure{kind}{room}>{drawn if address else ''}<figcaption>{lines}</figcaption></figure>"
    )


def _size(height: int, width: int, side: int) -> tuple[int, int]:
    """How wide and high it is on the screen: its longer side is ``side``."""
    factor = side / max(height, width, 1)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _text(text: object, letters: int = _LETTERS) -> str:
    words = str(text)
    return escape(words if len(words) <= letters else words[: letters - 1] + "…")
