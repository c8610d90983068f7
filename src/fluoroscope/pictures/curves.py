"""Curves: probability against step, success against distance or queries, accuracy against eps."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fluoroscope.words import Ruler, shortened

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")


def add_legend(axes: "Axes", named: "Sequence[tuple[Artist, str]]", **how: Any) -> None:
    """A legend of lines with their names as they stand: names are data, so that a ``$`` is no
    formula, and an underscore in front, for which Matplotlib leaves a line out, no wish.
    """
    numbers = [str(number) for number in range(len(named))]
    legend = axes.legend([line for line, _ in named], numbers, **how)
    for text, (_, name) in zip(legend.get_texts(), named, strict=True):
        text.set_text(name)
        text.set_parse_math(False)


def probability_curves(
    probabilities: "Tensor",
    labels: Sequence[str],
    *,
    always: Sequence[int] = (),
    stations: Sequence[tuple[int, int]] = (),
    title: str = "",
    most: int = 6,
    colors: Sequence[str] = COLORS,
) -> "Figure":
    """Plot the classes that mattered on the way.

    Args:
        probabilities: ``(T, classes)``, one row a step.
        labels: one for each class.
        always: classes to show whatever their probability.
        stations: ``(step, class)`` at each change of winner, marked on the curves.
        title: above the plot.
        most: how many classes at the most; those with the highest peaks.
        colors: of the curves, in their order.
    """
    from matplotlib.figure import Figure

    peaks = probabilities.amax(0)
    ranked = [c for c in peaks.argsort(descending=True).tolist() if c not in always]
    winners = list(dict.fromkeys(c for _, c in stations if c not in always))
    room = max(0, most - len(always))
    others = (winners + [c for c in ranked if c not in winners and peaks[c] > 0.02])[:room]
    figure = Figure(figsize=(6.4, 3.6), layout="constrained", dpi=150)
    axes = figure.subplots()
    named = []
    for color, chosen in zip(colors, [*dict.fromkeys(always), *others], strict=False):
        curve = probabilities[:, chosen].tolist()
        bold = chosen in always
        [line] = axes.plot(curve, color=color, linewidth=2.4 if bold else 1.3)
        named.append((line, shortened(labels[chosen])))
        marks = [step for step, c in stations if c == chosen]
        axes.plot(marks, [curve[step] for step in marks], "o", color=color, markersize=6)
    axes.set(xlabel="step", ylabel="probability", ylim=(-0.02, 1.02))
    axes.set_xlim(0, max(1, len(probabilities) - 1))
    axes.grid(alpha=0.25)
    axes.set_title(title, parse_math=False)
    add_legend(
        axes, named, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9
    )
    return figure


def success_curve(
    distances: Sequence[float], count: int, *, ruler: Ruler, half: float | None, title: str = ""
) -> "Figure":
    """The share of ``count`` pictures that were fooled within a distance, against the distance.

    ``distances`` are those of the successes, ``half`` the one within which half are fooled.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained", dpi=150)
    axes = figure.subplots()
    far = sorted(map(ruler.scaled, distances))
    shares = [number / count for number in range(len(far) + 1)]
    end = 1.05 * far[-1] if far else 1.0
    axes.step([0.0, *far, end], [*shares, shares[-1]], where="post", color=COLORS[0])
    if half is not None:
        middle = ruler.scaled(half)
        axes.axvline(middle, color=COLORS[1], linewidth=1, linestyle="--")
        words = f"half within {ruler.short(half)}"
        right = middle < end / 2  # where there is more room
        axes.annotate(
            words, (middle, 0.04), (4 if right else -4, 0), textcoords="offset points",
            ha="left" if right else "right",
        )  # fmt: skip
    axes.set(xlabel=ruler.unit, ylabel="share fooled", ylim=(-0.02, 1.02), xlim=(0, end))
    axes.grid(alpha=0.25)
    axes.set_title(title, parse_math=False)
    return figure


def query_curves(
    panels: Mapping[str, Mapping[str, Sequence[int]]], count: int, budget: int, *, title: str = ""
) -> "Figure":
    """The share of ``count`` pictures that were fooled after so many queries, on a log axis.

    ``panels`` hold for each bound, side by side, each attack's name and the queries that its
    successes took.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.2 + 3.8 * len(panels), 3.6), layout="constrained", dpi=150)
    row = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (bound, attacks) in zip(row, panels.items(), strict=True):
        named = []
        for number, (name, taken) in enumerate(attacks.items()):
            shares = [step / count for step in range(len(taken) + 1)]
            [line] = axes.step(
                [1, *sorted(taken), budget],
                [*shares, shares[-1]],
                where="post",
                color=COLORS[number % len(COLORS)],
                linestyle="-" if number < len(COLORS) else "--",
            )
            named.append((line, name))
        axes.set(xscale="log", xlabel="queries", xlim=(1, budget), ylim=(-0.02, 1.02))
        axes.grid(alpha=0.25)
        axes.set_title(bound, parse_math=False, fontsize=10)
        add_legend(axes, named, frameon=False, fontsize=8, loc="upper left")
    row[0].set_ylabel("share fooled")
    figure.suptitle(title, parse_math=False)
    return figure


def robustness_curves(
    curves: Mapping[str, Sequence[tuple[float, float, float, float]]],
    *,
    norm: str,
    channels: int = 1,
    bands: bool = True,
    mark: float | None = None,
    title: str = "",
    colors: Sequence[str] = COLORS,
) -> "Figure":
    """Accuracy against the bound, a step function each, with the interval at each bound as a band.

    Args:
        curves: by name, ``(eps, accuracy, low, high)`` where the accuracy falls, from 0 on.
        norm: what ``eps`` is in.
        channels: of the pictures; largest changes in colour are drawn in 255ths.
        bands: whether to draw the intervals.
        mark: a bound to draw a line at.
        title: above the plot.
        colors: of the curves, in their order.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained", dpi=150)
    axes = figure.subplots()
    ruler = Ruler(norm, channels)
    last = max([mark or 0.0, *(points[-1][0] for points in curves.values())])
    end = 1.05 * ruler.scaled(last) or 1.0
    named = []
    for number, (name, points) in enumerate(curves.items()):
        # To the right of its last step a curve stays where it is.
        steps = [(ruler.scaled(far), *at) for far, *at in points]
        eps, *heights = zip(*steps, (end, *points[-1][1:]), strict=True)
        accuracy, low, high = ([100 * height for height in heights[i]] for i in range(3))
        color = COLORS[number % len(COLORS)]
        style = "-" if number < len(COLORS) else "--"
        [line] = axes.step(eps, accuracy, where="post", color=color, linestyle=style)
        named.append((line, name))
        if bands:
            axes.fill_between(eps, low, high, step="post", color=color, alpha=0.18, linewidth=0)
    if mark is not None:
        axes.axvline(ruler.scaled(mark), color="#666666", linewidth=1, linestyle="--")
        axes.annotate(
            ruler.short(mark), (ruler.scaled(mark), 1), (3, -3), textcoords="offset points",
            xycoords=("data", "axes fraction"), va="top", fontsize=9, color="#666666",
        )  # fmt: skip
    axes.set(xlabel=ruler.unit, ylabel="accuracy, %", ylim=(-2, 102), xlim=(0, end))
    axes.grid(alpha=0.25)
    axes.set_title(title, parse_math=False)
    if len(curves) > 1:
        add_legend(axes, named, frameon=False, fontsize=9)
    return figure
