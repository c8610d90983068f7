"""What an audit has found so far, kept on disk: a part for each look at each method.

A part is written whole, sealed, and says what it is of: network, pictures, classes, settings,
method with its options, versions. One of anything else, or one that is damaged, is as if it were
not there.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor, tensor

from fluoroscope.files import in_use, output_directory
from fluoroscope.tensor_files import read_tensors, write_tensors

_OF, _FOUND = "of", "found"
Part = tuple[Any, dict[str, Tensor]]
"""Plain values, and tensors by name."""


class Parts:
    """Where parts are kept; nowhere, without a directory.

    Args:
        directory: a folder of its own.
        of: what all parts are of, as plain values.
    """

    def __init__(self, directory: Path | None, of: Mapping[str, Any]) -> None:
        self._directory, self._of = directory, dict(of)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Have the directory to oneself during the block.

        Raises:
            InvalidParameterError: it cannot be written to, or another process has it.
        """
        if self._directory is None:
            yield
            return
        with in_use(output_directory(self._directory)):
            yield

    def get(self, name: str, of: Mapping[str, Any]) -> Part | None:
        """What was kept under a name, if it is of this."""
        if self._directory is None:
            return None
        with suppress(OSError, SafetensorError, ValueError, RecursionError):
            tensors, about = read_tensors(self._path(name))
            if about.get(_OF) == self._hash(of):
                tensors.pop(_OF, None)
                return json.loads(about[_FOUND]), tensors
        return None

    def put(
        self, name: str, of: Mapping[str, Any], found: Any, tensors: Mapping[str, Tensor]
    ) -> None:
        """Keep what was found; whole or not at all.

        Raises:
            StorageError: the disk is full, or refuses.
        """
        if self._directory is not None:
            about = {_OF: self._hash(of), _FOUND: json.dumps(found)}
            # A file of tensors has one at least.
            write_tensors(self._path(name), {_OF: tensor([0], device="cpu"), **tensors}, about)

    def _path(self, name: str) -> Path:
        assert self._directory is not None
        return self._directory / f"{re.sub(r'[^a-z0-9+.-]+', '-', name.lower())}.part"

    def _hash(self, of: Mapping[str, Any]) -> str:
        text = json.dumps([self._of, dict(of)], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()
