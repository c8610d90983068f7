"""Plots as SVG that takes its colours from where it stands, so that one serves light and dark.

Matplotlib draws with stand-in colours; each becomes a CSS variable of the page. Text stays text.
"""

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from fluoroscope.process import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Stand-ins that no plot would use by chance, and the variable of the page that each becomes.
INK, SOFT, LINE, PAPER = "#010101", "#010102", "#010103", "#010104"
SERIES = ("#020201", "#020202", "#020203", "#020204", "#020205", "#020206")
GOOD, BAD = "#030301", "#030302"
_VARIABLES = {
    INK: "--ink", SOFT: "--soft", LINE: "--line", PAPER: "--paper", GOOD: "--good", BAD: "--bad",
} | {stand_in: f"--series-{number}" for number, stand_in in enumerate(SERIES, 1)}  # fmt: skip

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fluoroscope",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.color": LINE,
    "ytick.labelcolor": SOFT,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 2,
    "text.parse_math": False,  # a "$" in a label is no formula
}


@contextmanager
def page_style() -> Iterator[None]:
    """Matplotlib draws in the page's style inside the block, whoever draws."""
    with drawing(_STYLE | {"font.family": families()}):
        yield


@cache
def families() -> list[str]:
    """Fonts for text of any script, or to measure it by where a page draws it in its own.

    Names of classes are in any script, and Matplotlib warns of each sign that its own font lacks;
    so the last one, which newer versions of it bring, has every sign there is.
    """
    from matplotlib.font_manager import fontManager

    last = "Last Resort High-Efficiency"
    return ["sans-serif", last] if last in fontManager.get_font_names() else ["sans-serif"]


class Canvas:
    """A figure with one plot in it, drawn in the page's style: ``with Canvas() as axes: …``."""

    def __init__(self, width: float = 5.0, height: float = 3.2) -> None:
        self.size = (width, height)

    def __enter__(self) -> "Axes":
        from matplotlib.figure import Figure

        self._style = page_style()
        self._style.__enter__()
        try:
            self.figure = Figure(figsize=self.size, layout="constrained")
            self.axes = self.figure.subplots()
        except BaseException:
            self._style.__exit__(None, None, None)
            raise
        return self.axes

    def __exit__(self, *failure: object) -> None:
        try:
            if failure[0] is None:
                self.svg = svg(self.figure)
        finally:
            self._style.__exit__(None, None, None)


def svg(figure: "Figure") -> str:
    """A figure as an SVG element to stand in a page, its names its own and its colours the page's.

    It has no title of its own: whoever places it says what it shows.
    """
    file = io.StringIO()
    with page_style():
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = _own_names(text)
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, f"var({variable})")
    text = re.sub(r'font: ([\d.]+)px [^;"]*', r"font-size: \1px", text)
    text = re.sub(r'font-family: [^;"]*(; )?', "", text)  # that of the page
    width, height = re.findall(r'(?:width|height)="([\d.]+)pt"', text)[:2]
    head = (
        f'<svg viewBox="0 0 {width} {height}" aria-hidden="true" focusable="false"'
        ' xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return head + text[text.index(">") + 1 :]


def _own_names(text: str) -> str:
    """Names are unique in the page, and only those that something refers to remain."""
    mark = "f" + hashlib.sha256(text.encode()).hexdigest()[:8]
    used = set(re.findall(r'url\(#([^)]+)\)|xlink:href="#([^"]+)"', text))
    names = {name for pair in used for name in pair if name}
    text = re.sub(
        r' id="([^"]+)"',
        lambda found: f' id="{mark}-{found[1]}"' if found[1] in names else "",
        text,
    )
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{mark}-\1)", text)
    return re.sub(r'xlink:href="#([^"]+)"', rf'xlink:href="#{mark}-\1"', text)


def percent_axis(axis: "Axes", which: str = "y") -> None:
    """An axis of shares, from 0 to 100 %."""
    from matplotlib.ticker import PercentFormatter

    formatter = PercentFormatter(1, decimals=0, symbol=" %")
    if which == "y":
        axis.set_ylim(-0.02, 1.03)
        axis.yaxis.set_major_formatter(formatter)
    else:
        axis.set_xlim(-0.02, 1.03)
        axis.xaxis.set_major_formatter(formatter)
