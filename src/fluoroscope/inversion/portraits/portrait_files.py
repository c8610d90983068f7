"""Portraits as two sealed files, and what is to be true of them; see :mod:`.sealed_files`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, int64

from fluoroscope.inversion.portraits.books import STATIONS
from fluoroscope.sealed_files import Kind, read_sealed

T = TypeVar("T")
TENSORS = (
    "images", "targets", "towards", "logits", "transparency", "curve", "weights", "stations",
    "reached", "frames", "starts", "start_logits", "forwards", "backwards", "numbers",
)  # fmt: skip
"""Those of portraits, by name."""
KIND = Kind("portraits", "set of portraits", "sets of portraits")
_WHOLE = ("targets", "reached", "forwards", "backwards", "numbers")


def load_portraits(path: str | Path, made: Callable[[dict[str, Any], dict[str, Tensor]], T]) -> T:
    """What ``made`` makes of the record and tensors of portraits that were saved.

    Raises:
        ResultFormatError: files missing, broken, or of a newer version.
    """

    def checked(record: dict[str, Any], tensors: dict[str, Tensor]) -> T:
        for name, like in (("starts", "images"), ("start_logits", "logits")):
            tensors.setdefault(name, tensors[like][:0])  # of before they were kept
        _check(tensors, len(record["labels"]))
        return made(record, {name: tensors[name] for name in TENSORS})

    return read_sealed(KIND, path, checked)


def _check(tensors: dict[str, Tensor], classes: int) -> None:
    images = tensors["images"]
    if images.dim() != 4 or not len(images):
        raise ValueError(f"images have shape {tuple(images.shape)}")
    many, channels, height, width = images.shape
    priors = tensors["weights"].shape[-1]
    wanted = {
        **dict.fromkeys(("targets", "towards", "forwards", "backwards", "numbers"), (many,)),
        "images": (many, channels, height, width),
        "logits": (many, classes),
        "transparency": (many, 1, height, width),
        "curve": (many, tensors["curve"].shape[1], 3 + priors),
        "weights": (many, priors),
        "stations": (many, len(STATIONS), channels, height, width),
        "reached": (many, len(STATIONS)),
        "frames": (many, tensors["frames"].shape[1], channels, height, width),
        "starts": (many if len(tensors["starts"]) else 0, channels, height, width),
        "start_logits": (len(tensors["starts"]), classes),
    }
    for name, shape in wanted.items():
        found = tensors[name]
        if tuple(found.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(found.shape)}, not {shape}")
        if (found.dtype != int64) if name in _WHOLE else not found.is_floating_point():
            raise ValueError(f"{name} holds {found.dtype}")
    for name in ("images", "stations", "frames", "starts"):
        found = tensors[name]
        if found.numel() and not bool(((found >= 0) & (found <= 1)).all()):
            raise ValueError(f"{name} are not within 0 and 1")
    targets = tensors["targets"]
    if not -1 <= int(targets.min()) <= int(targets.max()) < classes:
        raise ValueError(f"a target is none of {classes} classes")
