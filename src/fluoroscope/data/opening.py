"""Where the pictures are that a person or a program names: the kinds of sources, told apart."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fluoroscope.data.digits import LABELS, digits
from fluoroscope.data.folders import open_folder
from fluoroscope.data.names import DIGITS, may_be_on_hub, no_data
from fluoroscope.data.objects import given_labels, in_memory, is_data, no_such_labels, open_object
from fluoroscope.data.scan import LISTS, Scan, scan, scan_file
from fluoroscope.data.sources import (
    COLOUR,
    ArraySource,
    Opened,
    Picture,
    PictureSource,
    as_tensor,
    choose_split,
)
from fluoroscope.errors import InvalidImagesError, InvalidParameterError, UnknownDataError
from fluoroscope.files import looking_up
from fluoroscope.pictures.read import picture_suffixes


def open_source(
    source: Any, split: str | None, labels: Any, stated: int | None
) -> tuple[str, Opened]:
    """The name of a set of pictures, and what was found; the arguments are `load_images`'s."""
    channels = COLOUR if stated is None else stated
    if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
        raise InvalidParameterError(f"channels is {channels}; expected 3 for colour or 1 for grey")
    if split is not None and not isinstance(split, str):
        raise InvalidParameterError(
            f"split is of type {type(split).__name__}; expected the name of a part: labels go in "
            "labels="
        )
    if isinstance(source, Tensor | np.ndarray):
        return "array", _whole(in_memory(source, labels, stated), "array", split)
    if labels is not None and (isinstance(source, str | Path | bytes) or is_data(source)):
        raise no_such_labels(str(source) if isinstance(source, str | Path) else "them")
    if isinstance(source, str | Path):
        with looking_up(source):
            return str(source), _open_named(source, split, channels)
    if is_data(source):
        return type(source).__name__, open_object(source, split, channels)
    items = [source] if isinstance(source, bytes | Image.Image) else _items(source)
    return "pictures", _whole(_sequence(items, labels, stated), "pictures", split)


def _open_named(source: str | Path, split: str | None, channels: int) -> Opened:
    name = str(source)
    path = Path(source).expanduser()
    if source == DIGITS:
        if channels not in (1, 3):
            raise InvalidParameterError(
                f"channels is {channels}; expected 1 or 3, as the digits are grey"
            )
        images, labels = digits()
        built_in = ArraySource(images, "digits", labels)
        notes: tuple[str, ...] = ()
        if path.is_dir():
            notes = (
                f"{DIGITS} names the built-in pictures; the folder of that name here is ./{DIGITS}",
            )
        return _whole(Opened(built_in, labels=LABELS, notes=notes), name, split)
    if isinstance(source, str) and source.startswith("hf/"):
        return _open_hub(name, source.removeprefix("hf/"), split)
    if path.is_file():
        within = scan_file(path, channels)
        if within is not None:
            return _scanned(within, name, split, channels)
        if path.suffix.lower() in LISTS:
            raise UnknownDataError(
                f"{name} is a table; expected the folder in which it lies with its pictures"
            )
        alone = Opened(PictureSource([path]), why_unlabelled="it is one picture")
        return _whole(alone, name, split)
    if path.is_dir():
        return _scanned(scan(path, channels), name, split, channels)
    if isinstance(source, str) and _looks_like_hub_id(source):
        return _open_hub(name, source, split)
    raise no_data(path)


def _scanned(found: Scan, name: str, split: str | None, channels: int) -> Opened:
    if found.tables:
        from fluoroscope.data.local_tables import holds_pictures, open_local

        told = any(
            one.endswith(".parquet") and holds_pictures(found.root / one) for one in found.tables
        )
        if told or not found.top.count:
            return open_local(found, name, split)
    if not found.top.count:
        raise _no_pictures(name, found.notes(), dict(found.seen), channels)
    return open_folder(found, name, split)


def _open_hub(name: str, place: str, split: str | None) -> Opened:
    from fluoroscope.data.tables import open_hub

    return open_hub(place, name, split)


def _no_pictures(
    name: str, notes: list[str], seen: dict[str, int], channels: int
) -> UnknownDataError:
    expected = "expected pictures, class folders or Parquet"
    if not seen and not notes:
        return UnknownDataError(f"{name} is empty; {expected}")
    listed = ", ".join(f"{count} {kind}" for kind, count in list(seen.items())[:5])
    there = "; ".join(([f"it has {listed}"] if listed else []) + notes)
    if channels not in (1, 3):
        expected += f" with {channels} channels, such as .npy files"
    return UnknownDataError(f"{name} holds no pictures ({there}); {expected}")


def _whole(found: Opened, name: str, split: str | None) -> Opened:
    """A set that has no parts."""
    choose_split(split, [], name)
    return found


def _items(source: Any) -> list[Any]:
    try:
        return list(source)
    except TypeError:
        raise InvalidImagesError(
            f"pictures are a {type(source).__name__}; expected a path, an array, a list or a data "
            "set"
        ) from None


def _sequence(items: list[Any], labels: Any, channels: int | None) -> Opened:
    pairs = [isinstance(one, tuple | list) and len(one) == 2 for one in items]
    if (
        items
        and all(pairs)
        and all(isinstance(one[0], Picture | Tensor | np.ndarray) for one in items)
    ):
        if labels is not None:
            raise no_such_labels("pairs of a picture and its label")
        labels, items = [label for _, label in items], [picture for picture, _ in items]
    if items and all(isinstance(item, Picture) for item in items):
        if labels is None:
            return Opened(PictureSource(items), why_unlabelled="no labels were given with the list")
        numbers, names = given_labels(labels, len(items))
        return Opened(PictureSource(items, numbers), labels=names)
    arrays = [as_tensor(item) for item in items if isinstance(item, Tensor | np.ndarray)]
    if not arrays or len(arrays) < len(items):
        kinds = ", ".join(sorted({type(item).__name__ for item in items})) or "nothing"
        raise InvalidImagesError(
            f"a sequence of {kinds}; expected picture files, bytes, Pillow images, or arrays"
        )
    shapes = {tuple(array.shape) for array in arrays}
    if len(shapes) > 1:
        raise InvalidImagesError(
            f"arrays of shapes {', '.join(map(str, sorted(shapes)))}; expected one shape: resize "
            "them first"
        )
    return in_memory(torch.stack(arrays), labels, channels)


def _looks_like_hub_id(name: str) -> bool:
    # A picture's ending speaks of a mistyped path.
    return may_be_on_hub(name) and Path(name).suffix.lower() not in picture_suffixes()
