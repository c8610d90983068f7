"""A long search that is put down goes on where it was: step for step as if nothing had been.

What the loop, the attack and whoever watches know of a search are tensors and a few numbers. They
are written down now and then, whole, and read back by the next process. So no sample is searched
twice, the batch stays full and every batch is the one it would have been: the results are the same
bytes, however often the search was killed.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import Tensor

from fluoroscope.errors import FluoroscopeError, StorageError
from fluoroscope.tensor_files import read_tensors, write_tensors

# Seconds of searching that may be lost, and the share of the time that writing may take.
EVERY, SHARE = 30.0, 0.01
# Where a person stops it, so many seconds are worth keeping.
_WORTH = 2.0
_TREE = "tree"
T = TypeVar("T")


class UnusableBookmarkError(FluoroscopeError):
    """What was kept does not fit the search that is to go on."""


class Bookmark:
    """Where one search is kept while it goes on.

    Args:
        path: the file.
        about: what it is a search of; one of something else is not gone on with.
    """

    def __init__(self, path: Path, about: Mapping[str, str]) -> None:
        self.path, self.trouble = path, ""
        self._about = {
            **about, "fluoroscope": version("fluoroscope"), "torch": torch.__version__,
        }  # fmt: skip
        self._parts: dict[str, Callable[[], Any]] = {}
        self._written = time.monotonic()
        self._due = self._written + EVERY
        self._found = self._read()
        self.ending = False
        """Whether the search is to end at the next chance, and be kept as it then is."""

    @property
    def found(self) -> bool:
        """Whether there is a search to go on with."""
        return self._found is not None

    def keep(self, name: str, value: Callable[[], Any]) -> None:
        """Have what ``value`` returns kept under this name: tensors, numbers, texts, dataclasses of
        tensors, and lists of such."""
        self._parts[name] = value

    def kept(self, name: str, like: T) -> T:
        """What was kept under a name; tensors where and of the kind that those of ``like`` are.

        Lists are of things like its first.

        Raises:
            UnusableBookmarkError: it is not like that.
        """
        assert self._found is not None
        tree, tensors = self._found
        try:
            return _unpacked(tree[name], tensors, like)  # type: ignore[no-any-return]
        except (LookupError, TypeError, ValueError) as error:
            raise UnusableBookmarkError(f"{self.path} cannot be gone on with ({error})") from error

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        now = time.monotonic()
        return now >= self._due or (self.ending and now - self._written >= _WORTH)

    def write(self) -> None:
        """Write down where the search is; where the disk refuses, the search goes on all the same.

        ``trouble`` says so then.
        """
        began, tensors = time.monotonic(), _Tensors()
        tree = {name: tensors.packed(value()) for name, value in self._parts.items()}
        try:
            write_tensors(self.path, tensors.named, {**self._about, _TREE: json.dumps(tree)})
        except StorageError as error:
            self.trouble, self._due = str(error), math.inf
            return
        self._written = time.monotonic()
        self._due = self._written + max(EVERY, (self._written - began) / SHARE)

    def drop(self) -> None:
        """Forget what was kept: it cannot be used, or is not needed any more."""
        self._found = None
        self._parts.clear()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _read(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        # What is damaged, or of another search, is as if it were not there.
        with suppress(OSError, SafetensorError, ValueError, RecursionError):
            tensors, about = read_tensors(self.path)
            tree = json.loads(about.pop(_TREE, "null"))
            if about == self._about and isinstance(tree, dict):
                return tree, tensors
        return None


class _Tensors:
    """Tensors by name; one that stands in several places is kept once."""

    def __init__(self) -> None:
        self.named: dict[str, Tensor] = {}
        self._names: dict[int, str] = {}
        self._storages: set[int] = set()

    def packed(self, value: Any) -> Any:
        """The value as JSON, with names for its tensors."""
        if isinstance(value, Tensor):
            return {"tensor": self._name(value), "last": _channels_last(value)}
        if isinstance(value, list | tuple):
            return {"items": [self.packed(one) for one in value]}
        if is_dataclass(value):
            return {"fields": {f.name: self.packed(getattr(value, f.name)) for f in fields(value)}}
        if value is None or isinstance(value, bool | int | float | str):
            return {"value": value}
        raise TypeError(f"a search keeps a {type(value).__name__}; expected tensors and numbers")

    def _name(self, tensor: Tensor) -> str:
        known = self._names.get(id(tensor))
        if known is not None:
            return known
        name = f"{len(self.named)}"
        own = tensor.detach().cpu().contiguous()
        storage = own.untyped_storage()
        if storage.data_ptr() in self._storages or storage.nbytes() != own.nbytes:
            own = own.clone()  # a file has no views
        self._storages.add(storage.data_ptr())
        self._names[id(tensor)], self.named[name] = name, own
        return name


def _unpacked(node: Any, tensors: dict[str, Tensor], like: Any) -> Any:
    """What was packed, in the form of ``like``; its tensors are shared where they were."""
    if "tensor" in node:
        return _placed(node, tensors, like)
    if "items" in node:
        if not isinstance(like, list | tuple):
            raise TypeError("it holds a list where there is none")
        kinds = like if isinstance(like, tuple) else [like[0]] * len(node["items"]) if like else []
        pairs = zip(node["items"], kinds, strict=True)
        return type(like)(_unpacked(one, tensors, kind) for one, kind in pairs)
    if "fields" in node:
        names = {f.name for f in fields(like)}
        if names != node["fields"].keys():
            raise ValueError("it holds other fields")
        return replace(
            like,
            **{
                name: _unpacked(one, tensors, getattr(like, name))
                for name, one in node["fields"].items()
            },
        )
    value = node["value"]
    if like is not None and value is not None and type(value) is not type(like):
        raise TypeError(f"it holds {value!r} in place of a {type(like).__name__}")
    return value


def _placed(node: Any, tensors: dict[str, Tensor], like: Any) -> Tensor:
    """A tensor where that of ``like`` is, and of its kind; only the number of rows may differ."""
    found = tensors[node["tensor"]]
    if isinstance(like, Tensor):
        apart = found.dtype != like.dtype or found.dim() != like.dim()
        if apart or found.shape[1:] != like.shape[1:]:
            raise ValueError(f"it holds {found.dtype} of shape {tuple(found.shape)}")
        if found.device != like.device:
            found = found.to(like.device)
            tensors[node["tensor"]] = found
    elif like is not None:
        raise TypeError("it holds a tensor where there is none")
    if node["last"] and found.is_contiguous():
        found = found.contiguous(memory_format=torch.channels_last)
        tensors[node["tensor"]] = found
    return found


def _channels_last(tensor: Tensor) -> bool:
    return (
        tensor.dim() == 4
        and not tensor.is_contiguous()
        and tensor.is_contiguous(memory_format=torch.channels_last)
    )
