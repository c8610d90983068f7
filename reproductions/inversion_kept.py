"""What the reproductions of inversion keep between runs, and the rows and sheets they share.

A generator, a set of portraits and an assessment each lie in a folder of their own under ``KEPT``,
named by the network's fingerprint and by a hash of how they were made: a section that was broken
off goes on where it was, a generator in the middle of its training too. Delete the folder to begin
anew.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import fluoroscope as fs
from benchmarks.page import Section
from fluoroscope.inversion.generator.invert import invert
from fluoroscope.inversion.generator.result import Inversion
from fluoroscope.inversion.measures.result import Assessment
from fluoroscope.inversion.portraits.result import Portraits
from fluoroscope.pictures.tile_sheet import Tile, tile_sheet
from fluoroscope.pictures.write import write_png

KEPT = Path("out/reproductions/inversion")
SHOWN = 2
"""Samples of each class on a sheet, at the most."""


def folder(kind: str, model: fs.Classifier, **made: Any) -> Path:
    """Where something is kept that was made of a network in this way; the folder is there."""
    digest = hashlib.sha256(json.dumps(made, sort_keys=True, default=repr).encode()).hexdigest()
    path = KEPT / kind / f"{model.plain.fingerprint()[:12]}-{digest[:12]}"
    path.mkdir(parents=True, exist_ok=True)
    return path


def generator(model: fs.Classifier, **options: Any) -> Inversion:
    """A generator for a network, trained now if it was not before."""
    place = folder("generators", model, **options)
    if (place / "generator.json").is_file():
        return Inversion.load(place, model)
    made = invert(model, checkpoint=place / "checkpoint.safetensors", **options)
    made.save(place)
    (place / "checkpoint.safetensors").unlink(missing_ok=True)
    return made


def portraits(
    model: fs.Classifier, name: str, make: Callable[[], Portraits], **made: Any
) -> Portraits:
    """Portraits of a network, made now if they were not before."""
    place = folder("portraits", model, name=name, **made)
    if (place / "portraits.json").is_file():
        return Portraits.load(place)
    found = make()
    found.save(place)
    return found


def assessment(
    model: fs.Classifier, name: str, assess: Callable[[], Assessment], **made: Any
) -> Assessment:
    """What something is worth, measured now if it was not before."""
    place = folder("assessments", model, name=name, **made)
    if (place / "assessment.json").is_file():
        return Assessment.load(place)
    found = assess()
    found.save(place)
    return found


def measures(found: Assessment, names: Sequence[str], *, beside: bool = False) -> list[str]:
    """Cells of a table: some measures by name, with those of real pictures ``beside`` them."""
    cells = []
    for name in names:
        one = found.of(name)
        cell = one.words() if one.value is not None else "–"
        cells.append(f"{cell} ({one.reference('real')})" if beside else cell)
    return cells


def flags(found: Assessment) -> str:
    """The flags in a cell."""
    return ", ".join(flag.name for flag in found.flags) or "none"


def sheet(
    page: Section,
    file: str,
    words: str,
    rows: Sequence[tuple[str, Sequence[Tensor | None]]],
    *,
    heads: Sequence[str] = (),
    title: str = "",
) -> None:
    """Pictures ``(C, H, W)`` in rows, as a PNG beside the page."""
    tiles = [[Tile(picture) for picture in pictures] for _, pictures in rows]
    drawn = tile_sheet(tiles, [name for name, _ in rows], heads=heads, title=title)
    write_png(page.picture(file, words), drawn)


def some_of_each(images: Tensor, labels: Tensor, each: int) -> tuple[Tensor, Tensor]:
    """The first ``each`` pictures of every class, class by class."""
    rows = torch.cat([(labels == one).nonzero()[:each, 0] for one in labels.unique().tolist()])
    return images[rows], labels[rows]
