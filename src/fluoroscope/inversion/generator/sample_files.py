"""Samples of a generator on disk: exact pictures, what was asked, and a sheet to look at."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from fluoroscope.files import atomic_set, output_directory
from fluoroscope.pictures.tile_sheet import MOST_DOWN, Tile, tile_sheet
from fluoroscope.tensor_files import write_tensors
from fluoroscope.words import as_percent, count, shortened

NAME = "samples"
_ACROSS = 10


def save_samples(
    directory: str | Path,
    images: Tensor,
    classes: Tensor,
    codes: Tensor,
    sheet: Image.Image,
    record: dict[str, Any],
) -> list[Path]:
    """Write ``samples.safetensors``, ``samples.png`` and, last, ``samples.json``.

    They are what ``fluoroscope invert assess`` reads.
    """
    out = output_directory(directory)
    tensors, picture, told = (out / f"{NAME}.{kind}" for kind in ("safetensors", "png", "json"))
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    held = {"images": images, "classes": classes, "codes": codes}
    with atomic_set(told, picture, tensors) as drafts:
        write_tensors(drafts[2], {name: one.contiguous() for name, one in held.items()})
        sheet.save(drafts[1], format="PNG")
        drafts[0].write_text(text + "\n", "utf-8")
    return [told, picture, tensors]


def sample_sheet(
    images: Tensor,
    classes: Tensor,
    labels: Sequence[str],
    *,
    title: str,
    confidence: Tensor | None = None,
    warning: str = "",
    across: int = _ACROSS,
) -> Image.Image:
    """A row for each class, in order, with the first pictures ``(N, C, H, W)`` of it.

    Args:
        images: in ``[0, 1]``.
        classes: ``(N,)``, what each was asked to be.
        labels: of the network's classes.
        title: over all.
        confidence: ``(N,)``, the probability of that class, written under each.
        warning: what is wrong with them, in red.
        across: pictures of a class at the most.
    """
    there = list(dict.fromkeys(classes.tolist()))
    rows = [(classes == one).nonzero()[:across, 0].tolist() for one in there[:MOST_DOWN]]
    tiles = [
        [
            Tile(images[at], () if confidence is None else (as_percent(float(confidence[at])),))
            for at in row
        ]
        for row in rows
    ]
    names = [shortened(labels[one]) for one in there[:MOST_DOWN]]
    left = len(there) - len(rows)
    foot = f"and {count(left, 'class', 'classes')} more" if left else ""
    return tile_sheet(tiles, names, title=title, warning=warning, foot=foot)
