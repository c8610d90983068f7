"""Where concepts are in pictures: masks in a folder, in one of two forms.

- a folder for each concept with a mask for each picture, whose pixels other than 0 are the concept;
- one mask for each picture, whose numbers are concepts, and ``names.txt`` with their names: line 0
  is number 0. A number without a name is nothing, as is that of an empty line.

A mask is found by its picture's name without the ending: by the whole path from the data set's
folder, or by its end where no two have the same. A picture that is no file, as of a table, is found
by its number in the data set. Nothing is opened that the folder itself does not hold.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fluoroscope.errors import InvalidParameterError, PictureError, UnknownDataError
from fluoroscope.files import regular, user_path
from fluoroscope.pictures.read import read_numbers
from fluoroscope.words import count

NAMES = "names.txt"
# What keeps the numbers of its pixels.
_ENDINGS = frozenset({".png", ".bmp", ".tif", ".tiff", ".gif"})
_MOST_FILES, _MOST_NAMES, _LONGEST = 5_000_000, 65_536, 1_000_000
_DEEPEST = 16


@dataclass(frozen=True)
class Masks:
    """The masks of a folder, not opened yet."""

    root: Path
    concepts: tuple[str, ...]
    files: dict[str, dict[int, Path]]
    """For what a picture is called, its files by concept; -1 is one for all concepts."""
    notes: tuple[str, ...] = ()
    shared: frozenset[str] = frozenset()
    """Ends of names that several pictures have."""

    def told_apart(self, names: Sequence[str]) -> "Masks":
        """For pictures of these names: what two of them are called at the end names neither."""
        ends = Counter(_ends(name) for name in names)
        return replace(self, shared=frozenset(end for end, many in ends.items() if many > 1))

    def key(self, name: str, index: int) -> str | None:
        """What a picture is called here; ``None`` if there is no mask of it."""
        if not name or name.endswith(f":{index}"):  # it is no file
            return str(index) if str(index) in self.files else None
        stem, end = PurePosixPath(name).with_suffix("").as_posix(), _ends(name)
        keys = [stem] if end in self.shared else [stem, end]
        return next((key for key in keys if key in self.files), None)

    def of(self, name: str, index: int, size: tuple[int, int]) -> dict[int, NDArray[np.bool_]]:
        """Where each concept is that a picture of ``(height, width)`` holds, ``(H, W)`` each.

        Raises:
            PictureError: a mask is damaged, too large, or of other proportions than the picture.
        """
        key = self.key(name, index)
        found: dict[int, NDArray[np.bool_]] = {}
        for concept, path in (self.files[key] if key else {}).items():
            numbers = _as_large(read_numbers(path), size, path)
            if concept >= 0:
                if numbers.any():
                    found[concept] = numbers != 0
                continue
            for each in np.unique(numbers).tolist():
                if 0 <= each < len(self.concepts) and self.concepts[each]:
                    found[each] = numbers == each
        return found


def open_masks(folder: str | Path) -> Masks:
    """What masks a folder holds.

    Raises:
        UnknownDataError: there is no such folder, or it holds no masks.
        InvalidParameterError: too many files, or names that cannot be read.
    """
    root = user_path(folder)
    if not root.is_dir():
        raise UnknownDataError(
            f"masks {folder} is no folder; expected one folder a concept with a mask for each "
            f"picture, or a mask for each picture and {NAMES}"
        )
    named = root / NAMES
    left: Counter[str] = Counter()
    files: dict[str, dict[int, Path]] = {}
    if named.exists():
        concepts = _names(named)
        _walk(root, files, -1, left)
    else:
        concepts = tuple(sorted(each.name for each in root.iterdir() if _is_folder(each)))[
            :_MOST_NAMES
        ]
        for number, concept in enumerate(concepts):
            _walk(root / concept, files, number, left)
    if not files:
        raise UnknownDataError(
            f"masks {folder} holds none: expected one folder a concept with a mask for each "
            f"picture ({', '.join(sorted(_ENDINGS))}), or a mask for each picture and {NAMES}"
        )
    notes = [
        f"left out {count(many, 'file')} of the masks' folder: {why}"
        for why, many in sorted(left.items())
    ]
    return Masks(root, concepts, files, tuple(notes))


def _ends(name: str) -> str:
    return PurePosixPath(name).stem


def _names(path: Path) -> tuple[str, ...]:
    try:
        if regular(path).stat().st_size > _LONGEST:
            raise ValueError(f"it is larger than {_LONGEST:,} bytes")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidParameterError(
            f"cannot read the names in {path}: {reason}; expected a text file with one name a line"
        ) from error
    names = tuple(line.strip() for line in lines[:_MOST_NAMES])
    if not any(names):
        raise InvalidParameterError(f"{path} holds no names; expected one a line, line 0 for 0")
    return names


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not path.name.startswith(".")


def _walk(root: Path, files: dict[str, dict[int, Path]], concept: int, left: Counter[str]) -> None:
    """Note the masks below a folder by what their pictures are called; links are not followed."""
    short: dict[str, list[Path]] = {}
    for place, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        depth = len(Path(place).relative_to(root).parts)
        if depth >= _DEEPEST:
            folders.clear()
        for name in sorted(names):
            path = Path(place, name)
            if path == root / NAMES or name.startswith("."):
                continue
            if path.suffix.lower() not in _ENDINGS:
                left["an ending that is no mask's"] += 1
                continue
            if path.is_symlink() or not path.is_file():
                left["no file of its own, but a link, pipe or device"] += 1
                continue
            stem = path.relative_to(root).with_suffix("").as_posix()
            files.setdefault(stem, {})[concept] = path
            short.setdefault(path.stem, []).append(path)
            if len(files) > _MOST_FILES:
                raise InvalidParameterError(
                    f"masks {root} holds more than {_MOST_FILES:,} files; expected fewer"
                )
    for stem, paths in short.items():
        if len(paths) == 1:  # of two it is not known which is meant
            files.setdefault(stem, {}).setdefault(concept, paths[0])


def _as_large(numbers: NDArray[np.int64], size: tuple[int, int], path: Path) -> NDArray[np.int64]:
    """A mask as large as its picture: the nearest number at each pixel."""
    height, width = numbers.shape
    if (height, width) == size:
        return numbers
    # As if the picture had been made smaller and its sides rounded.
    if abs(height * size[1] - width * size[0]) > max(height, width, *size):
        raise PictureError(
            f"{path} is a mask of {height}×{width} and its picture has {size[0]}×{size[1]}; "
            "expected the same size, or the same proportions"
        )
    rows = ((np.arange(size[0]) + 0.5) * height / size[0]).astype(np.int64)
    columns = ((np.arange(size[1]) + 0.5) * width / size[1]).astype(np.int64)
    found: NDArray[np.int64] = numbers[rows[:, None], columns[None, :]]
    return found
