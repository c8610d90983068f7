"""Counterfeits row by row, each with its certificate; on disk, and on a sheet to look at."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from fluoroscope.errors import InvalidParameterError
from fluoroscope.files import atomic_set, output_directory
from fluoroscope.inversion.generator.certificate import SURE, Certificate
from fluoroscope.pictures import html
from fluoroscope.pictures.tile_sheet import Tile, tile_sheet
from fluoroscope.words import as_percent, count, network_name, number, percent, shortened

NAME = "counterfeits"
REAL, NOISE = "real", "noise"
GENERATOR, FROM_NOISE, FROM_OTHERS = "generator", "null space, noise", "null space, other class"
LEGEND = (
    "sure: the share whose class gets 99 % or more, in 8 bits too; pixels, pattern: median "
    "distance to the nearest real picture, between real ones 1, as they are and at the same "
    "brightness and contrast; counterfeit: the share of sure ones that are farther, in the more "
    "unusual of both, than 99 % of real pictures; second: the share that the second network "
    "predicts as the class; adversarial: that are predicted as asked, and as another by the second"
)
WORDS = {
    REAL: "real, of the class",
    NOISE: "noise",
    GENERATOR: "generator",
    FROM_NOISE: "noise, moved to a real answer",
    FROM_OTHERS: "another class, moved likewise",
}
_ACROSS = 10


@dataclass(frozen=True)
class Row:
    """Pictures of one origin."""

    name: str
    images: Tensor
    """``(N, C, H, W)``, on the CPU."""
    certificate: Certificate
    reached: Tensor | None = None
    """``(N,)`` booleans, of the null space: the answer is the real picture's."""
    moved: Tensor | None = None
    """``(N,)``, of the null space: the L2 distance from where it started."""
    begun: Tensor | None = None
    """``(N,)``, of other classes: that of the picture where it started."""

    @property
    def words(self) -> str:
        """What they are."""
        return WORDS[self.name]

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        found = {"name": self.name, **self.certificate.describe()}
        if self.reached is not None and self.moved is not None:
            found["reached"] = float(self.reached.double().mean())
            found["moved_median"] = float(self.moved.double().quantile(0.5))
        return found


@dataclass(frozen=True, repr=False)
class Counterfeits(html.Shown):
    """What was made, row by row, each with its certificate."""

    rows: tuple[Row, ...]
    classes: Tensor
    """``(N,)``, of every row."""
    labels: tuple[str, ...]
    record: dict[str, Any]
    notes: tuple[str, ...] = ()

    def row(self, name: str) -> Row:
        """One of them.

        Raises:
            InvalidParameterError: there is none of that name.
        """
        for one in self.rows:
            if one.name == name:
                return one
        names = ", ".join(one.name for one in self.rows)
        raise InvalidParameterError(f"there is no row {name!r}; expected one of {names}")

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        rows = [one.describe() for one in self.rows]
        return {
            "headline": self.headline,
            "rows": rows,
            "record": self.record,
            "notes": list(self.notes),
        }

    @property
    def headline(self) -> str:
        """Of how much noise the network is sure, and of what other pictures that are no class's."""
        rows = {one.name: one.certificate for one in self.rows}
        told = []
        if FROM_NOISE in rows:
            told.append(
                f"{_sure(rows[FROM_NOISE].confident)} of noise, moved to a real answer "
                f"(unmoved, of whatever class: {_sure(rows[NOISE].surest >= SURE)})"
            )
        else:
            told.append(f"{_sure(rows[NOISE].surest >= SURE)} of noise")
        if FROM_OTHERS in rows:
            told.append(f"{_sure(rows[FROM_OTHERS].confident)} of another class, moved likewise")
        if GENERATOR in rows:
            told.append(f"{_sure(rows[GENERATOR].confident)} from the generator")
        return f"Sure of {'; '.join(told)}."

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows in words; a dash where nothing was measured."""
        columns = [
            "pictures", "sure>", "pixels>", "pattern>", "counterfeit>", "second>",
            "adversarial>",
        ]  # fmt: skip
        found = []
        for one in self.rows:
            said = one.describe()
            sure, made, second, adversarial = (
                "–" if said[name] is None else percent(said[name])
                for name in ("confident", "counterfeits", "second_agrees", "adversarial")
            )
            pixels, pattern = (
                "–" if said[name] is None else number(said[name], 2)
                for name in ("distance_ratio_median", "pattern_ratio_median")
            )
            # Noise is asked for a class as it comes: that two networks differ on it is no attack.
            adversarial = "–" if one.name == NOISE else adversarial
            found.append([WORDS[one.name], sure, pixels, pattern, made, second, adversarial])
        return columns, found

    def _line(self) -> str:
        best = [one for one in self.rows if one.name not in (REAL, NOISE)]
        told = "; ".join(
            f"{one.name}: {percent(float(one.certificate.confident.double().mean()))} sure"
            for one in best
        )
        model = network_name(str(self.record.get("model")))
        return f"{count(len(self.classes), 'picture')} a row on {model}: {told}"

    def _view(self) -> Iterator[html.Html]:
        yield html.paragraph(self.headline)
        columns, rows = self.table()
        yield html.table([one.removesuffix(">") for one in columns], rows)
        yield html.paragraph(LEGEND)
        yield html.notes(self.notes)

    def save(self, directory: str | Path) -> list[Path]:
        """Write the pictures (safetensors), the certificates (JSON) and the sheet (PNG)."""
        out = output_directory(directory)
        tensors, picture, record = [out / f"{NAME}.{one}" for one in ("safetensors", "png", "json")]
        about = self.describe() | {
            "certificates": {one.name: list(one.certificate.rows()) for one in self.rows},
            "labels": list(self.labels),
        }
        text = json.dumps(about, indent=1, ensure_ascii=False, allow_nan=False)
        with atomic_set(record, picture, tensors) as drafts:
            held = {one.name: one.images.contiguous() for one in self.rows}
            save_file(held | {"classes": self.classes.contiguous()}, drafts[2])
            self.sheet().save(drafts[1], format="PNG")
            drafts[0].write_text(text + "\n", "utf-8")
        return [record, picture, tensors]

    def sheet(self) -> Image.Image:
        """A row for each origin; under each picture how sure the network is of its class."""
        count_ = min(_ACROSS, len(self.classes))
        spread = [number * len(self.classes) // count_ for number in range(count_)]
        tiles = [[Tile(one.images[at], self._said(one, at)) for at in spread] for one in self.rows]
        title = f"What {self.record['model']} was asked to see, and how sure it is, in 8 bits"
        many = len(self.classes)
        foot = f"{count_} of {many:,} pictures of each row are drawn" if count_ < many else ""
        noise = any(bool(one.certificate.confident.any()) for one in self.rows
                    if one.name in (NOISE, FROM_NOISE))  # fmt: skip
        told = "" if noise else self.headline.removesuffix(".")
        return tile_sheet(
            tiles,
            [one.words for one in self.rows],
            title=title,
            warning=self.headline if noise else "",
            foot=". ".join(filter(None, [told, foot])),
        )

    def _said(self, row: Row, at: int) -> list[str]:
        """What was asked for and how sure both networks are of one picture."""
        seen, name = row.certificate, shortened(self.labels[int(self.classes[at])])
        if row.begun is not None:
            name = f"{shortened(self.labels[int(row.begun[at])])} → {name}"
        said = [f"{name}: {as_percent(float(seen.rounded[at]))}"]
        if seen.second is not None and seen.second_sure is not None:
            other = shortened(self.labels[int(seen.second[at])])
            said.append(f"second: {other}, {as_percent(float(seen.second_sure[at]))}")
        return said


def _sure(hits: Tensor) -> str:
    return f"{int(hits.sum()):,} of {count(len(hits), 'picture')}"
