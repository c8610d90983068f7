"""Samples of a generator on disk: exact pictures, what was asked, and a sheet to look at."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from fluoroscope.files import atomic_set, output_directory
from fluoroscope.pictures.tile_sheet import MOST_DOWN, Tile, tile_sheet
from fluoroscope.tensor_files import write_tensors
from fluoroscope.words import as_percent, count, shortened

NAME = "samples"
FOOT = "What this network answers to, not what the classes look like"
"""What stands below samples."""
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
    also: Sequence[str] = (),
    foot: str = "",
) -> Image.Image:
    """Pictures ``(N, C, H, W)`` class by class, in order, in rows of ten, as many as there is room.

    Args:
        images: in ``[0, 1]``.
        classes: ``(N,)``, what each was asked to be.
        labels: of the network's classes.
        title: over all.
        confidence: ``(N,)``, the probability of that class, written under each.
        warning: what is wrong with them, in red.
        also: another line under each.
        foot: what else is said below all.
    """
    tiles, names, drawn = [], [], _drawn(classes)
    sure = [] if confidence is None else [as_percent(one) for one in confidence.tolist()]
    for one in list(dict.fromkeys(classes.tolist()))[:MOST_DOWN]:
        mine = (classes == one).nonzero()[:drawn, 0].tolist()
        for at in range(0, len(mine), _ACROSS):
            names.append("" if at else shortened(labels[one]))
            tiles.append(
                [
                    Tile(
                        images[row],
                        [*sure[row : row + 1], *also[row : row + 1]],
                    )
                    for row in mine[at : at + _ACROSS]
                ]
            )
    foot = ". ".join(filter(None, [foot, left_out(classes), FOOT]))
    return tile_sheet(tiles, names, title=title, warning=warning, foot=foot)


def left_out(classes: Tensor) -> str:
    """What of samples of the classes ``(N,)`` is not on their sheet; nothing where all are."""
    many = classes.unique(return_counts=True)[1]
    drawn, most, told = _drawn(classes), int(many.max()), []
    if drawn < most:
        up_to = "" if int(many.min()) == most else "up to "
        told.append(f"{drawn} of {up_to}{most:,} pictures of each class are drawn")
    if len(many) > MOST_DOWN:
        told.append(f"{MOST_DOWN} of {count(len(many), 'class', 'classes')} are drawn")
    return "; ".join(told)


def _drawn(classes: Tensor) -> int:
    """How many pictures of a class there is room for: rows of ten, all classes alike."""
    return _ACROSS * max(1, MOST_DOWN // len(classes.unique()))


def even_rows(classes: Tensor) -> Tensor:
    """Of a batch the rows to draw: class by class, each as many as of the rarest, ten at most."""
    there, many = classes.unique(return_counts=True)
    each = min(_ACROSS, int(many.min()))
    return torch.cat([(classes == one).nonzero()[:each, 0] for one in there])
