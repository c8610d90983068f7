"""Maps as two files: the exact numbers, and in JSON what they are and how they came about.

``NAME.safetensors`` has the tensors, ``NAME.json`` the rest and a hash of them; it comes last, so
that where it stands, the other is whole.
"""

import json
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from torch import Tensor, float64, int64

from fluoroscope.errors import InvalidParameterError, ResultFormatError
from fluoroscope.files import atomic_path, output_directory, regular, remove, user_path
from fluoroscope.tensor_files import read_tensors, seal_of, write_tensors

T = TypeVar("T")
TENSORS = ("maps", "images", "targets", "values", "error", "forwards", "backwards", "numbers")
"""Those of an attribution, by name."""
NAME = "attribution"
_FORMAT = 1


def save_attribution(
    directory: str | Path, name: str, tensors: dict[str, Tensor], record: dict[str, Any]
) -> list[Path]:
    """Write both files into a directory, made if need be; each appears whole or not at all.

    Raises:
        InvalidParameterError: the directory cannot be made or written to, or the name is none of a
            file's.
        StorageError: the disk is full, or refuses.
    """
    if not name or name != Path(name).name or not name.isprintable():
        raise InvalidParameterError(
            f"name is {name!r}; expected that of a file within the directory, such as {NAME}"
        )
    out = output_directory(directory)
    there, told = out / f"{name}.safetensors", out / f"{name}.json"
    remove(told)
    seal = write_tensors(there, tensors)
    with atomic_path(told) as draft:
        sealed = {"format": _FORMAT, **record, "sha256": seal}
        text = json.dumps(plain(sealed), indent=1, ensure_ascii=False, allow_nan=False)
        draft.write_text(text, encoding="utf-8", errors="backslashreplace")
    return [there, told]


def load_attribution(path: str | Path, made: Callable[[dict[str, Any], dict[str, Tensor]], T]) -> T:
    """What ``made`` makes of the record and tensors that :func:`save_attribution` wrote.

    Raises:
        ResultFormatError: files missing, broken, or of a newer version.
    """
    told = _told(user_path(path))
    try:
        record = json.loads(regular(told).read_text(encoding="utf-8"))
        if record["format"] > _FORMAT:
            raise ResultFormatError(
                f"{told} was written in format {record['format']}; this version reads up to "
                f"{_FORMAT}: install a newer fluoroscope"
            )
        tensors, about = read_tensors(told.with_suffix(".safetensors"))
        if record["sha256"] != seal_of(tensors, about):
            raise ValueError("the numbers are not those that the JSON speaks of")
        _check(tensors, len(record["labels"]))
        return made(record, {name: tensors[name] for name in TENSORS})
    except OSError as error:
        raise ResultFormatError(
            f"{told} holds no attribution: {error}; expected the JSON that save wrote, and beside "
            "it the .safetensors"
        ) from error
    # Whatever a parser makes of what is no attribution's.
    except (ValueError, LookupError, TypeError, RecursionError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ResultFormatError(
            f"{told} holds a broken attribution: {reason}; make it anew"
        ) from error


def plain(value: Any) -> Any:
    """Plain values without numbers that JSON does not have: those become ``None``."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _told(path: Path) -> Path:
    """The JSON, of a directory the only one in it that is an attribution's."""
    if not path.is_dir():
        return path
    found = sorted(path.glob(f"{NAME}*.json"))
    if len(found) > 1:
        raise ResultFormatError(
            f"{path} holds {len(found)} attributions; expected the file of one, such as {found[0]}"
        )
    return found[0] if found else path / f"{NAME}.json"


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
