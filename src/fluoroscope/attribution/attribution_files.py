"""Maps as two sealed files, and what is to be true of them; see :mod:`.sealed_files`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, float64, int64

from fluoroscope.sealed_files import Kind, read_sealed

T = TypeVar("T")
TENSORS = ("maps", "images", "targets", "values", "error", "forwards", "backwards", "numbers")
"""Those of an attribution, by name."""
KIND = Kind("attribution", "attribution", "attributions")


def load_attribution(path: str | Path, made: Callable[[dict[str, Any], dict[str, Tensor]], T]) -> T:
    """What ``made`` makes of the record and tensors of an attribution that was saved.

    Raises:
        ResultFormatError: files missing, broken, or of a newer version.
    """

    def checked(record: dict[str, Any], tensors: dict[str, Tensor]) -> T:
        _check(tensors, len(record["labels"]))
        return made(record, {name: tensors[name] for name in TENSORS})

    return read_sealed(KIND, path, checked)


def _check(tensors: dict[str, Tensor], classes: int) -> None:
    maps, images, targets = (tensors[name] for name in ("maps", "images", "targets"))
    many = len(images)
    if images.dim() != 4 or not images.is_floating_point():
        raise ValueError(f"images have shape {tuple(images.shape)}")
    if not maps.is_floating_point() or maps.shape not in (
        images.shape, (many, 1, *images.shape[2:])
    ):  # fmt: skip
        raise ValueError(f"maps have shape {tuple(maps.shape)}, images {tuple(images.shape)}")
    if targets.dtype != int64 or targets.shape not in ((many,), (many, 2)):
        raise ValueError(f"targets have shape {tuple(targets.shape)}, for {many} pictures")
    if targets.numel() and not 0 <= int(targets.min()) <= int(targets.max()) < classes:
        raise ValueError(f"a target is none of {classes} classes")
    kinds = dict.fromkeys(("values", "error"), float64)
    for name in ("values", "error", "forwards", "backwards", "numbers"):
        tensor, kind = tensors[name], kinds.get(name, int64)
        if tensor.shape != (many,) or tensor.dtype != kind:
            raise ValueError(f"{name} are {tensor.dtype} of shape {tuple(tensor.shape)}")
