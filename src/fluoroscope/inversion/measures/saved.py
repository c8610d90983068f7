"""Pictures of classes that were saved: their exact values, whoever made them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from fluoroscope.errors import ResultFormatError
from fluoroscope.files import regular, user_path
from fluoroscope.tensor_files import read_tensors

# Bytes of a JSON that is read.
_MOST = 64 * 2**20


@dataclass(frozen=True)
class Saved:
    """Pictures, and the class of each."""

    images: Tensor
    """``(N, C, H, W)`` in ``[0, 1]``."""
    classes: Tensor
    """``(N,)``."""
    codes: Tensor | None = None
    """``(N, K)``, the distributions that were asked for."""
    needs_data: bool | None = None
    """Whether the method that made them was given real pictures."""


def is_saved(path: str | Path) -> bool:
    """Whether there are saved pictures: a JSON with the tensors beside it, or such in a folder."""
    return bool(_found(user_path(path)))


def read_saved(path: str | Path) -> Saved:
    """The pictures that a portrait or a sample of a generator was saved as.

    ``path`` is the JSON, or the directory of one. Of portraits those against a class are left out.

    Raises:
        ResultFormatError: files missing or broken, several, or without pictures and classes.
    """
    found = _found(user_path(path))
    try:
        if len(found) != 1:
            raise ValueError(f"{len(found)} results lie there; expected the JSON of one")
        if regular(found[0]).stat().st_size > _MOST:
            raise ValueError("its JSON is too long")
        record = json.loads(found[0].read_text("utf-8"))
        tensors, _ = read_tensors(found[0].with_suffix(".safetensors"))
        return _read(record, tensors)
    except (OSError, ValueError, LookupError, TypeError, RecursionError, SafetensorError) as why:
        raise ResultFormatError(
            f"{path} cannot be read: {' '.join(str(why).split())[:300]}; expected what portrait or "
            "invert saved, a .json and the .safetensors beside it"
        ) from why


def _found(path: Path) -> list[Path]:
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    return [
        file
        for file in files
        if file.suffix == ".json" and file.with_suffix(".safetensors").is_file()
    ]


def _read(record: Any, tensors: dict[str, Tensor]) -> Saved:
    if not isinstance(record, dict):
        raise TypeError(f"its JSON is a {type(record).__name__}")
    images, codes = tensors["images"].float(), tensors.get("codes")
    classes = tensors["targets"] if "targets" in tensors else tensors["classes"]
    if images.dim() != 4 or classes.shape != images.shape[:1]:
        raise ValueError(f"images {tuple(images.shape)} have classes {tuple(classes.shape)}")
    inner = record.get("record")
    told = inner if isinstance(inner, dict) else record
    needs = told.get("needs_data")
    towards = tensors.get("towards")
    if towards is not None and towards.shape == classes.shape:
        chosen = towards > 0
        images, classes = images[chosen], classes[chosen]
        codes = None if codes is None else codes[chosen]
    return Saved(images, classes.long(), codes, needs if isinstance(needs, bool) else None)
