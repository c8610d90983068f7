"""An adversarial set on disk: Parquet of PNG pictures, and ``adversarial.json``, what they are.

While it is made, its parts lie in a hidden folder, where no data set is looked for; each is written
whole, so that a set that was killed goes on with the first part that is missing. When all are there
the folder becomes ``data/``, and the directory is a data set like any other.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet
from torch import Tensor

from fluoroscope.data.kept_pictures import features, picture_column
from fluoroscope.errors import InvalidParameterError, StorageError
from fluoroscope.files import atomic_path, clear_drafts, in_use, output_directory, regular, remove
from fluoroscope.neurons.places import GOING, RECORD
from fluoroscope.neurons.taking_up import begun, check_same
from fluoroscope.sealed_files import plain, read_record, write_record
from fluoroscope.words import count

DATA = "data"
FORMAT = 1
"""Raised when an older version could not read what this one writes."""
_OF = b"fluoroscope"
# Of the JSON, in bytes.
_LARGEST = 10_000_000
# Of a picture's file and its row beside the values of its pixels, in bytes.
_ROW = 1000
_WORDS = {"model_sha256": "content hash of the networks", "batch_size": "batch size",
          "pairs": "hash of classes and targets", "data": "data set"}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A picture, and what is known of it."""

    image: Tensor
    """``(C, H, W)`` on the 256 levels of a PNG."""
    label: int
    """The true class."""
    target: int
    """The class that it was led to."""
    source: int
    """The number of the real picture in its data set."""
    before: int
    """The class that all networks together predicted of the real picture."""
    success: bool
    """All networks together classify it as the target."""
    members: tuple[bool, ...]
    """Each of them does."""
    distance: float
    """From the real picture: root mean square of the differences of pixel values in [0, 1]."""


@dataclass(frozen=True)
class SetDirectory:
    """Where one adversarial set is made."""

    path: Path
    identity: dict[str, Any]
    names: tuple[str, ...]
    """Of the classes that labels and targets number."""
    parts: int

    @property
    def folder(self) -> Path:
        """Where the parts are: hidden until there are all of them."""
        whole = self.path / DATA
        return whole if whole.is_dir() else self.path / GOING

    def missing(self) -> list[int]:
        """The numbers of the parts that are not there whole."""
        return [number for number in range(self.parts) if not self._is_whole(number)]

    def write(self, number: int, rows: Sequence[Row]) -> None:
        """Keep a part.

        Raises:
            StorageError: the disk is full, or refuses.
        """
        with atomic_path(self._file(number)) as draft:
            parquet.write_table(_table(rows, self.names, self._of), draft)

    def finish(self, record: dict[str, Any]) -> None:
        """Make it a data set, and write down what it is.

        Raises:
            StorageError: the disk refuses.
        """
        if self.folder.name == GOING:
            remove(self.path / GOING / RECORD)
            try:
                (self.path / GOING).rename(self.path / DATA)
            except OSError as error:
                raise StorageError(
                    f"cannot write {self.path / DATA}: {error.strerror or error}; check the disk, "
                    "and give the same command again: what was written before is whole"
                ) from error
        told = {"identity": self.identity, **plain(record)}
        write_record(self.path / RECORD, told, FORMAT)

    def columns(self, *names: str) -> dict[str, list[Any]]:
        """Some columns of all parts that are there, without the pictures."""
        found: dict[str, list[Any]] = {name: [] for name in names}
        for number in range(self.parts):
            if self._file(number).is_file():
                table = parquet.read_table(self._file(number), columns=list(names))
                for name in names:
                    found[name] += table[name].to_pylist()
        return found

    @property
    def _of(self) -> bytes:
        return (
            hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest().encode()
        )

    def _file(self, number: int) -> Path:
        return self.folder / f"part-{number:05}.parquet"

    def _is_whole(self, number: int) -> bool:
        try:
            with parquet.ParquetFile(regular(self._file(number))) as file:
                columns = [name for name in file.schema_arrow.names if name != "image"]
                told = file.read(columns)  # what is damaged shows itself
                of = (file.schema_arrow.metadata or {}).get(_OF)
                return of == self._of and not any(column.null_count for column in told.columns)
        except (OSError, ValueError, pa.ArrowException):
            return False


@contextmanager
def making(
    path: str | Path, identity: dict[str, Any], names: tuple[str, ...], parts: int,
    values: int, pictures: int,
) -> Iterator[SetDirectory]:  # fmt: skip
    """Have a directory to oneself, and go on with what is there of the same set.

    ``values`` are a picture's pixel values, and ``pictures`` how many the set will have.

    Raises:
        InvalidParameterError: it cannot be written to, is in use, or holds another set.
        StorageError: the disk has too little room.
    """
    out = output_directory(path)
    identity = json.loads(json.dumps(plain(identity)))
    with in_use(out):
        clear_drafts(out)
        made = SetDirectory(out, identity, names, parts)
        there = begun(
            (out / RECORD, out / GOING / RECORD), FORMAT, most=_LARGEST, one="adversarial set",
            wrote="fluoroscope neurons adversarial",
        )  # fmt: skip
        check_same(out, "adversarial set", there, identity, _WORDS)
        if there is None and (out / DATA).exists():
            raise InvalidParameterError(
                f"{out} holds something called {DATA} that no {RECORD} speaks of; give another "
                "directory"
            )
        left = len(made.missing()) / max(1, parts)
        _check_room(out, int(left * pictures * (values + _ROW)), pictures)
        if made.folder.name == GOING:
            clear_drafts(output_directory(out / GOING))
            write_record(out / GOING / RECORD, {"identity": identity}, FORMAT)
        yield made


def read_about(directory: str | Path) -> dict[str, Any]:
    """What ``adversarial.json`` says of a set.

    Raises:
        ResultFormatError: there is none, or it is broken.
    """
    return read_record(
        directory, RECORD, FORMAT, lambda record: {**record, "pictures": int(record["pictures"])},
        most=_LARGEST, one="adversarial set", wrote="fluoroscope neurons adversarial",
    )  # fmt: skip


def _check_room(out: Path, needed: int, pictures: int) -> None:
    """Refuse a disk that has too little room, before anything is made."""
    free = shutil.disk_usage(out).free
    if needed > free:
        raise StorageError(
            f"{count(pictures, 'picture')} take up to {needed / 1e9:.3g} GB more, and "
            f"{free / 1e9:.3g} GB are free at {out}; make room, give another directory, or take "
            "fewer pictures or targets"
        )


def _table(rows: Sequence[Row], names: tuple[str, ...], of: bytes) -> pa.Table:
    pictures = [(f"{row.source}-to-{row.target}.png", row.image) for row in rows]
    columns: dict[str, pa.Array] = {
        "image": picture_column(pictures),
        "label": pa.array([row.label for row in rows], pa.int64()),
        "target": pa.array([row.target for row in rows], pa.int64()),
        "source": pa.array([row.source for row in rows], pa.int64()),
        "before": pa.array([row.before for row in rows], pa.int64()),
        "success": pa.array([row.success for row in rows], pa.bool_()),
        "distance": pa.array([row.distance for row in rows], pa.float64()),
    }
    for number in range(len(rows[0].members)):
        columns[f"success_{number + 1}"] = pa.array([row.members[number] for row in rows])
    kinds = {name: column.type for name, column in columns.items()}
    told = features(kinds, ["label", "target", "before"], names)
    return pa.table(columns).replace_schema_metadata({_OF: of, b"huggingface": told})
