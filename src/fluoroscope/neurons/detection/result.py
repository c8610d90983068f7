"""How well adversarial pictures were detected, and what else the detector takes for them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from fluoroscope.engine.separation import Separation, separation
from fluoroscope.neurons.detection.reference import SCORES
from fluoroscope.pictures import html
from fluoroscope.pictures.curves import COLORS
from fluoroscope.sealed_files import plain, write_record
from fluoroscope.words import count, network_name, number, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLEAN = "clean"
GROUPS = {
    "adversarial": "adversarial pictures",
    "adaptive": "those whose attack knows of it",
    "misclassified": "misclassified real pictures",
    "noise": "noise as far away",
    "jpeg": "JPEG as far away",
}
"""What is told from real pictures that are classified correctly."""
MOVED = "moved: median root mean square of the change, of pixels from 0 to 1"
FORMAT = 1
# From this AUROC on a score tells adversarial pictures from other mistakes; below the other one
# those whose attack knows of the detector pass it.
_TELLS, _PASSES = 0.75, 0.6
# Fewer pictures than this on a side are said; an attack that moves pictures by more than this many
# times as much as another moves them farther.
_FEW, _FARTHER = 30, 1.1


@dataclass(frozen=True)
class Detected:
    """One kind of picture."""

    scores: Mapping[str, NDArray[np.float64]]
    """By :data:`SCORES`, ``(n,)`` each: the higher, the stranger."""
    asked: int
    """How many there were before those that do not belong here were left out."""
    distance: float
    """The median root mean square of the change, of pixel values in [0, 1]; 0 of real ones."""

    def __len__(self) -> int:
        return len(next(iter(self.scores.values())))


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Detection(html.Shown):
    """What each score makes of each kind of picture."""

    groups: dict[str, Detected]
    """By name: ``clean`` and those of :data:`GROUPS` that there are."""
    record: dict[str, Any]
    notes: tuple[str, ...] = ()

    def told(self, score: str, group: str, *, base: str = CLEAN) -> Separation | None:
        """How well a score tells a kind of picture from another, mostly from clean ones."""
        if group not in self.groups or base not in self.groups:
            return None
        inside, outside = (
            torch.from_numpy(self.groups[name].scores[score]) for name in (base, group)
        )
        return separation(inside, outside) if len(inside) and len(outside) else None

    @property
    def headline(self) -> str:
        """What it comes to, in a line."""
        found = {name: self.told(name, "adversarial") for name in SCORES}
        layers = [(one, name) for name, one in found.items() if one and name != "confidence"]
        if not layers:
            return "nothing to detect: no adversarial picture is predicted as its target"
        best, name = max(layers, key=lambda one: one[0].auroc)
        said = f"by {SCORES[name]} adversarial pictures are told from clean ones at AUROC "
        said += f"{number(best.auroc)} ({' to '.join(map(number, best.interval))})"
        baseline = found["confidence"]
        if baseline is not None:
            said += f", by confidence alone at {number(baseline.auroc)}"
        noise = self.told(name, "noise")
        if noise is not None:
            said += f"; noise as far away at {number(noise.auroc)}"
        mistakes = self.told(name, "adversarial", base="misclassified")
        if mistakes is not None:
            said += f"; an attack from ordinary mistakes at {number(mistakes.auroc)}"
        aware = self.told(name, "adaptive")
        if aware is not None:
            said += f"; made by who knows of it at {number(aware.auroc)}{self._farther}"
        return said

    @property
    def conclusions(self) -> list[str]:
        """What may be said of it, and what not, from the numbers alone."""
        said = []
        baseline = self.told("confidence", "adversarial")
        for name in ("mean", "neighbours"):
            own = self.told(name, "adversarial")
            if own is None or baseline is None:
                continue
            words = SCORES[name]
            if own.interval[0] < _PASSES:
                seen = _side(
                    own, "look more ordinary than clean ones", "are hardly told from clean ones",
                    "are told from clean ones a little only",
                )  # fmt: skip
                said.append(f"by {words} adversarial pictures {seen}{self._few('adversarial')}")
                continue
            if own.interval[0] <= baseline.interval[1]:
                said.append(f"by {words} no more is detected than by the confidence alone")
            mistakes = self.told(name, "adversarial", base="misclassified")
            if mistakes is not None and mistakes.interval[0] < _TELLS:
                seen = _side(
                    mistakes,
                    "ordinary mistakes lie farther off than an attack: what is detected is "
                    "mistakes, more than attacks",
                    "an attack is hardly told from an ordinary mistake: what is detected is doubt, "
                    "wherever it comes from",
                    "an attack lies a little farther off than an ordinary mistake, no more",
                )
                few = self._few("misclassified", "adversarial")
                said.append(f"by {words} {seen} (AUROC {number(mistakes.auroc)}){few}")
            aware = self.told(name, "adaptive")
            if aware is not None and aware.interval[0] < _PASSES and self._reached:
                said.append(
                    f"an attack of {count(int(self.record['steps']), 'step')} that knows of the "
                    f"class means is not detected by {words}{self._farther}{self._few('adaptive')}"
                )
        return said

    @property
    def _reached(self) -> bool:
        """Whether the attack that knows of it leads most pictures to their targets."""
        aware = self.groups["adaptive"]
        return 2 * len(aware) > aware.asked

    @property
    def _farther(self) -> str:
        """That the attack which knows of it changes more, where it does."""
        plain, aware = (self.groups[name].distance for name in ("adversarial", "adaptive"))
        if aware <= _FARTHER * plain:
            return ""
        return (
            f", but it moves pictures farther than the plain one ({number(aware)} and "
            f"{number(plain)})"
        )

    def _few(self, *groups: str) -> str:
        """How many pictures there are of each kind, where these are few."""
        told = [
            f"{GROUPS[name]}: {len(self.groups[name]):,}"
            for name in groups
            if len(self.groups[name]) < _FEW
        ]
        return f"; few stand behind it ({', '.join(told)})" if told else ""

    @property
    def rows(self) -> list[list[str]]:
        """Of each kind and score: pictures, how far they were moved, AUROC with its interval,
        detected at 5 % alarms."""
        rows = []
        for group, words in GROUPS.items():
            for score, by in SCORES.items():
                found = self.told(score, group)
                if found is not None:
                    low, high = found.interval
                    rows.append(
                        [words, f"{len(self.groups[group]):,}", self._moved(group), by,
                         number(found.auroc),
                         f"{number(low)} to {number(high)}", percent(1 - found.fpr95, 0)]
                    )  # fmt: skip
        return rows

    @property
    def grid(self) -> list[list[str]]:
        """Of each kind of picture: how many, how far they were moved, and by each score AUROC and
        detected at 5 % alarms."""
        rows = []
        for group, words in GROUPS.items():
            told = [self.told(score, group) for score in SCORES]
            if group in self.groups and all(told):
                cells = [
                    f"{number(one.auroc)} / {percent(1 - one.fpr95, 0)}" for one in told if one
                ]
                rows.append([words, f"{len(self.groups[group]):,}", self._moved(group), *cells])
        return rows

    def _moved(self, group: str) -> str:
        """The median distance from the pictures that they were made of; a dash of real ones."""
        far = self.groups[group].distance
        return number(far) if far else "–"

    @property
    def mistake_rows(self) -> list[list[str]]:
        """Of each score: how well it tells adversarial pictures from misclassified real ones."""
        rows = []
        for score, by in SCORES.items():
            found = self.told(score, "adversarial", base="misclassified")
            if found is not None:
                low, high = found.interval
                rows.append([by, number(found.auroc), f"{number(low)} to {number(high)}"])
        return rows

    def figure(self) -> "Figure":
        """Receiver operating characteristics: detected against false alarms on clean pictures."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.0, 4.2), layout="constrained", dpi=150)
        axes = figure.subplots()
        for colour, (score, words) in zip(COLORS, SCORES.items(), strict=False):
            for group, line in (("adversarial", "-"), ("adaptive", ":")):
                found = self.told(score, group)
                if found is None:
                    continue
                alarms, hits = _curve(
                    self.groups[CLEAN].scores[score], self.groups[group].scores[score]
                )
                knows = ", attack knows of it" if group == "adaptive" else ""
                # Straight between points: those of one score pass a threshold together.
                axes.plot(alarms, hits, color=colour, linestyle=line,
                          label=f"{words}{knows}: {number(found.auroc)}")  # fmt: skip
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
        axes.set(xlabel="clean pictures taken for adversarial", ylabel="adversarial ones detected",
                 xlim=(0, 1), ylim=(0, 1.01))  # fmt: skip
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False,
                    title="AUROC by", title_fontsize=8, alignment="left")  # fmt: skip
        return figure

    def describe(self) -> dict[str, Any]:
        """As plain values."""

        def said(found: Separation | None) -> Any:
            return None if found is None else found.describe()

        described = plain(
            {
                "headline": self.headline,
                "conclusions": self.conclusions,
                "scores": SCORES,
                "groups": {
                    name: {
                        "pictures": len(one), "asked": one.asked, "distance": one.distance,
                        "from_clean": {score: said(self.told(score, name)) for score in SCORES},
                        "from_misclassified": {
                            score: said(self.told(score, name, base="misclassified"))
                            for score in SCORES
                        },
                    }
                    for name, one in self.groups.items()
                },
                "record": self.record,
                "notes": list(self.notes),
            }
        )  # fmt: skip
        assert isinstance(described, dict)
        return described

    def save(self, path: str | Path) -> Path:
        """Write :meth:`describe` with all scores as a JSON file; it appears whole or not at all.

        Raises:
            StorageError: it cannot be written.
        """
        scores = {
            name: {score: values.tolist() for score, values in one.scores.items()}
            for name, one in self.groups.items()
        }
        return write_record(Path(path), {**self.describe(), "of_pictures": scores}, FORMAT)

    def _line(self) -> str:
        of = f"{network_name(str(self.record.get('model')))}, {self.record.get('layer')}"
        return f"{of}: {self.headline}"

    def _view(self) -> Iterator[html.Html]:
        yield html.table(
            ("told from clean pictures", "pictures", "moved", "by", "AUROC", "95 %",
             "detected at 5 %"),
            self.rows, right=(1, 2, 4, 6),
        )  # fmt: skip
        yield html.paragraph(MOVED)
        yield html.table(("adversarial told from misclassified, by", "AUROC", "95 %"),
                         self.mistake_rows, right=(1,))  # fmt: skip
        for words in self.conclusions:
            yield html.paragraph(words)
        clean = count(len(self.groups[CLEAN]), "clean picture")
        yield html.paragraph(f"{clean} that were not learnt from, classified correctly")
        yield html.notes(self.notes)


def _side(found: Separation, below: str, level: str, above: str) -> str:
    """What to say where the interval lies below a coin's 0.5, holds it, or lies above."""
    low, high = found.interval
    return below if high < 0.5 else above if low > 0.5 else level


def _curve(
    clean: NDArray[np.float64], strange: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False alarms and hits at every threshold, from the highest down."""
    edges = np.concatenate([[np.inf], np.unique(np.concatenate([clean, strange]))[::-1]])
    alarms = (clean[None] >= edges[:, None]).mean(1)
    return alarms, (strange[None] >= edges[:, None]).mean(1)
