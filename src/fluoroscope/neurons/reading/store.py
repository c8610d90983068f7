"""Activations on disk: ``activations.npy``, ``rows.parquet`` and, last, ``activations.json``.

While they are read, the numbers of each part of the pictures go to their place in the first file,
and what else is known of them to a sealed file in ``parts/``, which knows them by their hash. So a
reading that was killed goes on with the first part that is not whole, and ends with the same bytes.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pyarrow import parquet
from safetensors import SafetensorError

from fluoroscope.arrow import array_of
from fluoroscope.data.imageset import ImageSet
from fluoroscope.errors import InvalidParameterError, ResultFormatError, StorageError
from fluoroscope.files import (
    atomic_path,
    clear_drafts,
    disk_full,
    in_use,
    output_directory,
    regular,
    remove,
    user_path,
)
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.neurons.reading.units import Units
from fluoroscope.neurons.taking_up import begun, check_same
from fluoroscope.notices import distinct
from fluoroscope.pictures.pairs import spread
from fluoroscope.sealed_files import plain, read_record, write_record
from fluoroscope.tensor_files import read_tensors, write_tensors
from fluoroscope.words import count

if TYPE_CHECKING:
    from os import PathLike

    from torch import nn

UNKNOWN = -1
"""Stands for a class, or a number of a picture, that is not known."""

SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("name", pa.string()),
        ("label", pa.int64()),
        ("predicted", pa.int64()),
        ("confidence", pa.float32()),
        ("target", pa.int64()),
        ("source", pa.int64()),
        ("picture", pa.int64()),
    ]
)
"""A row for each picture; ``picture`` is a checksum of what the network was shown."""
SEEN = ("predicted", "confidence", "picture")
"""The columns of rows that come of showing the pictures to the network."""
FORMAT = 1
"""Raised when an older version could not read what this one writes."""
VALUES, ROWS, RECORD, PARTS = "activations.npy", "rows.parquet", "activations.json", "parts"
_PART = re.compile(r"\d{5,9}\.safetensors")
# Of the JSON: a name for each class of some thousands, and a hash for each part.
_LARGEST = 10_000_000
# Of the rows: far above what any data set has.
_MOST_ROWS, _MOST_BYTES = 100_000_000, 2**34
# Bytes of a row, twice while it is finished, beside the name's own.
_ROW = 120
# Pictures in a part of what comes from memory.
_PART_OF_SAVED = 1000
# Pictures that are held against those that were read.
_COMPARED = 16
# Bytes that are hashed at once.
_AT_ONCE = 2**22
_WORDS = {
    "model": "network",
    "model_sha256": "content hash of the network",
    "data": "data set",
    "call": "use of the layer",
    "shape": "shape that the layer gives out",
    "batch_size": "batch size",
    "part": "size of a part",
    "columns": "hash of labels and targets",
}


@dataclass(frozen=True)
class Found:
    """What was read of a part of the pictures, of one layer."""

    values: NDArray[np.float32]
    """``(n, K)``."""
    seen: Mapping[str, NDArray[Any]]
    """The columns :data:`SEEN` of its rows, ``(n,)`` each."""
    notes: tuple[str, ...] = ()
    not_finite: int = 0
    """How many of the numbers are NaN or infinite."""

    @classmethod
    def joined(cls, found: "Sequence[Found]") -> "Found":
        """One after the other."""
        values = np.concatenate([each.values for each in found])
        seen = {name: np.concatenate([each.seen[name] for each in found]) for name in SEEN}
        notes = distinct(note for each in found for note in each.notes)
        return cls(values, seen, notes, values.size - int(np.isfinite(values).sum()))

    def rows(self) -> "Found":
        """The same without the numbers."""
        return replace(self, values=np.zeros((0, self.values.shape[1]), np.float32))


@dataclass
class Store:
    """Where the numbers of one layer are put together: a directory, or memory alone."""

    identity: dict[str, Any]
    """What must be the same to go on."""
    shape: tuple[int, int]
    """``(N, K)``."""
    part: int
    """Pictures in a part."""
    path: Path | None = None
    done: dict[int, Found] = None  # type: ignore[assignment]
    """The parts there are, without their numbers where these are on disk."""

    def __post_init__(self) -> None:
        self.done = {}
        self._digests: dict[int, str] = {}
        self._memory = np.empty(self.shape, np.float32) if self.path is None else None

    @property
    def parts(self) -> list[range]:
        """The pictures of each part."""
        starts = range(0, self.shape[0], self.part)
        return [range(at, min(at + self.part, self.shape[0])) for at in starts]

    def put(self, number: int, found: Found) -> None:
        """Keep a part.

        Raises:
            StorageError: the disk is full, or refuses.
        """
        positions = self.parts[number]
        if self._memory is not None:
            self._memory[positions.start : positions.stop] = found.values
            self.done[number] = found.rows()
            return
        assert self.path is not None
        _write_values(self.path / VALUES, self.shape, positions, found.values)
        digest = _digest(found.values)
        tensors = {name: torch.from_numpy(np.array(found.seen[name])) for name in SEEN}
        about = {
            "of": self._of,
            "values": digest,
            "notes": json.dumps(list(found.notes)),
            "not_finite": str(found.not_finite),
        }
        write_tensors(self._part_file(number), tensors, about)
        self.done[number], self._digests[number] = found.rows(), digest

    def values(self) -> NDArray[np.float32]:
        """All numbers ``(N, K)``, read-only."""
        if self._memory is not None:
            found = self._memory
            found.flags.writeable = False
            return found
        assert self.path is not None
        return _mapped(self.path / VALUES, self.shape)

    def seal(self, tables: Iterable[pa.Table], record: dict[str, Any]) -> None:
        """Finish: the rows, and the record that vouches for both files.

        Raises:
            StorageError: the disk is full, or refuses.
        """
        assert self.path is not None
        digests = [self._digests[number] for number in range(len(self.parts))]
        rows = write_rows(self.path / ROWS, tables)
        _write_record(self.path, record, self.part, digests, rows, self.identity)
        self._clear_parts()

    @property
    def _of(self) -> str:
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    def _part_file(self, number: int) -> Path:
        assert self.path is not None
        return self.path / PARTS / f"{number:05}.safetensors"

    def _clear_parts(self) -> None:
        assert self.path is not None
        parts = self.path / PARTS
        if parts.is_dir() and not parts.is_symlink():
            remove(*(file for file in parts.iterdir() if _PART.fullmatch(file.name)))
            remove(parts / "reading.json")
            with suppress(OSError):  # somebody else's files are in it
                parts.rmdir()

    def take_up(self) -> None:
        """Find the parts that are whole; what is not is read anew."""
        assert self.path is not None
        if not (self.path / VALUES).is_file():
            return
        try:
            values = _mapped(self.path / VALUES, self.shape)
        except ResultFormatError:
            return
        digests = _digests_of(self.path / VALUES, self.shape, self.part)
        for (number, positions), digest in zip(enumerate(self.parts), digests, strict=True):
            with suppress(OSError, SafetensorError, ValueError, LookupError, RecursionError):
                tensors, about = read_tensors(self._part_file(number))
                seen = {name: tensors[name].numpy() for name in SEEN}
                whole = all(column.shape == (len(positions),) for column in seen.values())
                if whole and (about["of"], about["values"]) == (self._of, digest):
                    notes = tuple(map(str, json.loads(about["notes"])))
                    self.done[number] = Found(values[:0], seen, notes, int(about["not_finite"]))
                    self._digests[number] = digest


@contextmanager
def opening(path: Path, identity: dict[str, Any], shape: tuple[int, int], part: int,
            names: int) -> Iterator[Store]:  # fmt: skip
    """Have a directory to oneself and go on with what is there of the same reading.

    Raises:
        InvalidParameterError: it cannot be written to, is in use, or holds another reading.
        StorageError: the disk has too little room.
    """
    out = output_directory(path)
    identity = json.loads(json.dumps(plain(identity)))
    with in_use(out):
        clear_drafts(out)
        store = Store(identity, shape, part, out)
        files = (out / RECORD, out / PARTS / "reading.json")
        there = begun(files, FORMAT, most=_LARGEST, one="reading", wrote="fluoroscope neurons read")
        check_same(out, "reading", there, identity, _WORDS)
        if not (out / RECORD).exists():
            _check_room(out, shape, names)
            output_directory(out / PARTS)
            clear_drafts(out / PARTS)
            write_record(out / PARTS / "reading.json", {"identity": identity}, FORMAT)
            store.take_up()
        yield store


@dataclass(frozen=True)
class Stored:
    """What lies whole in a directory."""

    values: NDArray[np.float32]
    """``(N, K)``, read-only, on disk."""
    rows: pa.Table
    units: Units
    record: dict[str, Any]


def finished(store: Store) -> Stored | None:
    """What lies there whole, if it does."""
    assert store.path is not None
    if not (store.path / RECORD).exists():
        return None
    found = opened(store.path)
    store._clear_parts()  # a kill may have come between
    return found


def _check_room(out: Path, shape: tuple[int, int], names: int) -> None:
    """Refuse a disk that has too little room, before anything is read."""
    file = out / VALUES
    taken = file.stat().st_blocks * 512 if file.is_file() else 0
    needed = shape[0] * (4 * shape[1] + _ROW + 2 * names) - taken
    free = shutil.disk_usage(out).free
    if needed > free:
        raise StorageError(
            f"{count(shape[0], 'picture')} of {count(shape[1], 'unit')} each take "
            f"{_bytes(needed)}, and {_bytes(free)} are free at {out}; make room, give another "
            "directory, or fewer pictures or a layer of fewer units"
        )


def _bytes(many: int) -> str:
    size, unit = float(many), "bytes"
    for unit in ("bytes", "KB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.3g} {unit}"


def _header(shape: tuple[int, int]) -> bytes:
    """The beginning of a NumPy file of such numbers."""
    from io import BytesIO

    made = BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(made, about)
    return made.getvalue()


def _write_values(
    file: Path, shape: tuple[int, int], positions: range, values: NDArray[np.float32]
) -> None:
    """Put the numbers of a part in their place: not through memory that is mapped, which a full
    disk would end the process by.
    """
    header = _header(shape)
    try:
        with file.open("r+b" if file.is_file() else "w+b") as out:
            out.write(header)
            out.truncate(len(header) + 4 * shape[0] * shape[1])
            out.seek(len(header) + 4 * positions.start * shape[1])
            out.write(np.ascontiguousarray(values, "<f4").data)
    except OSError as error:
        why = "the disk is full; make room" if disk_full(error) else f"{error.strerror or error}"
        raise StorageError(
            f"cannot write {file}: {why}, and give the same command again: it goes on from there"
        ) from error


def _mapped(file: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """The numbers of a file, which stay there until they are looked at."""
    header = _header(shape)
    size = len(header) + 4 * shape[0] * shape[1]
    try:
        with regular(file).open("rb") as begun:
            if begun.read(len(header)) != header or file.stat().st_size != size:
                raise ResultFormatError(
                    f"{file} does not hold {shape[0]} rows of {shape[1]} numbers; make it anew"
                )
        return np.memmap(file, np.dtype("<f4"), "r", len(header), shape)
    except OSError as error:
        raise ResultFormatError(f"{file} cannot be read: {error.strerror or error}") from error


def _digest(values: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, "<f4").data).hexdigest()


def _digests_of(file: Path, shape: tuple[int, int], part: int) -> Iterator[str]:
    """Of the numbers of each part, read piece by piece: mapped ones would stay in memory."""
    row = 4 * shape[1]
    with regular(file).open("rb") as begun:
        begun.seek(len(_header(shape)))
        for start in range(0, shape[0], part):
            left, digest = row * (min(start + part, shape[0]) - start), hashlib.sha256()
            while left and (piece := begun.read(min(left, _AT_ONCE))):
                digest.update(piece)
                left -= len(piece)
            yield digest.hexdigest()


def checksums(images: torch.Tensor) -> NDArray[np.int64]:
    """Of each picture ``(N, C, H, W)``, as the network is shown it, ``(N,)``."""
    rows = images.contiguous().flatten(1).numpy()
    return np.fromiter(map(crc32, rows), np.int64, len(rows))


def write_rows(file: Path, tables: Iterable[pa.Table]) -> str:
    """Write the rows, a table at a time; their seal."""
    digest = hashlib.sha256()
    with atomic_path(file) as draft, parquet.ParquetWriter(draft, SCHEMA) as writer:
        for table in tables:
            writer.write_table(table)
            _add(digest, table)
    return digest.hexdigest()


def _add(digest: Any, table: pa.Table) -> None:
    for name in table.column_names:
        column = table[name]
        if pa.types.is_string(column.type):
            digest.update(json.dumps(column.to_pylist()).encode())
        else:
            digest.update(np.ascontiguousarray(array_of(column)).data)


def _write_record(
    out: Path, record: dict[str, Any], part: int, digests: Sequence[str], rows: str,
    identity: dict[str, Any],
) -> None:  # fmt: skip
    sealed = {"part": part, "values_sha256": list(digests), "rows_sha256": rows}
    told = {"identity": identity, "record": plain(record), **sealed}
    told["sha256"] = _seal_of(told)
    write_record(out / RECORD, told, FORMAT)


def _seal_of(told: dict[str, Any]) -> str:
    about = {key: value for key, value in told.items() if key not in ("sha256", "format")}
    text = json.dumps(about, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def saved(
    values: NDArray[np.float32], rows: pa.Table, record: dict[str, Any], directory: Path
) -> list[Path]:
    """Write what is in memory as a reading leaves it.

    Raises:
        InvalidParameterError: the directory cannot be made, or holds other ones.
        StorageError: the disk has too little room, or refuses.
    """
    many, units = values.shape
    identity = {**record.get("identity", {}), "saved": _digest(values)}
    name = max((len(one.encode()) for one in rows["name"].to_pylist()), default=0)
    with opening(directory, identity, (many, units), _PART_OF_SAVED, name) as store:
        assert store.path is not None
        out = store.path
        if not (out / RECORD).exists():
            parts = [rows.slice(at.start, len(at)) for at in store.parts]
            for number, (at, part) in enumerate(zip(store.parts, parts, strict=True)):
                if number not in store.done:
                    seen = {column: array_of(part[column]) for column in SEEN}
                    store.put(number, Found(values[at.start : at.stop], seen))
            store.seal(parts, record)
    return [out / VALUES, out / ROWS, out / RECORD]


def opened(directory: "str | PathLike[str]") -> Stored:
    """What lies in a directory, checked against its seals.

    Raises:
        ResultFormatError: nothing, or what is damaged or of a newer version.
    """
    out = user_path(Path(directory))
    return read_record(
        out, RECORD, FORMAT, lambda told: _made(out, told), most=_LARGEST, one="activations",
        wrote="fluoroscope neurons read",
    )  # fmt: skip


def _made(out: Path, told: dict[str, Any]) -> Stored:
    if told["sha256"] != _seal_of(told):
        raise ValueError("it is damaged or was changed")
    record = {**told["record"], "identity": told["identity"]}
    units, rows = Units.described(record), _rows(out / ROWS, told["rows_sha256"])
    values = _mapped(out / VALUES, (len(rows), units.count))
    part = int(told["part"])
    if list(_digests_of(out / VALUES, values.shape, part)) != told["values_sha256"]:
        raise ValueError(f"{VALUES} is damaged or was changed")
    return Stored(values, rows, units, record)


def _rows(file: Path, seal: str) -> pa.Table:
    try:
        return _sealed_rows(file, seal)
    except pa.ArrowException as error:
        raise ValueError(f"{ROWS} is damaged: {str(error).splitlines()[0]}") from error


def _sealed_rows(file: Path, seal: str) -> pa.Table:
    with parquet.ParquetFile(regular(file)) as found:
        about = found.metadata
        groups = range(about.num_row_groups)
        size = sum(about.row_group(group).total_byte_size for group in groups)
        if about.num_rows > _MOST_ROWS or size > _MOST_BYTES:
            raise ValueError(f"{ROWS} has {about.num_rows} rows in {size} bytes")
        if not found.schema_arrow.equals(SCHEMA):
            raise ValueError(f"{ROWS} has other columns")
        digest, tables = hashlib.sha256(), []
        for group in groups:
            tables.append(found.read_row_group(group))
            if any(column.null_count for column in tables[-1].columns):
                raise ValueError(f"{ROWS} has gaps")
            _add(digest, tables[-1])
    if not tables or digest.hexdigest() != seal:
        raise ValueError(f"{ROWS} is damaged or was changed")
    return pa.concat_tables(tables)


def check_model(found: Stored, model: Classifier, directory: "str | PathLike[str]") -> None:
    """Refuse activations of another network.

    Raises:
        InvalidParameterError: they are.
    """
    if found.record.get("model_sha256") != model.fingerprint():
        raise InvalidParameterError(
            f"{directory} was read from {found.record.get('model', 'another network')}, with other "
            f"weights or preprocessing than {model.name} has; read its layer "
            f"{found.units.layer!r} into another directory (fluoroscope neurons read)"
        )


def check_pictures(
    found: Stored, images: ImageSet, directory: "str | PathLike[str]",
    model: "Classifier | nn.Module | None",
) -> None:  # fmt: skip
    """Refuse activations of other pictures; with the network some of them are looked at.

    Raises:
        InvalidParameterError: they are.
    """
    same = tuple(array_of(found.rows["index"]).tolist()) == images.indices
    if same and model is not None:
        fit = as_classifier(model).preprocessing
        where = spread(len(found.rows), min(_COMPARED, len(found.rows)))
        batches = images.select(where).batches(1, fit=fit, workers=0)
        said = array_of(found.rows["picture"])[where.numpy()].tolist()
        shown = [int(checksums(batch.images)[0]) for batch in batches]
        same = all(a in (b, -1) for a, b in zip(said, shown, strict=True))
    if not same:
        raise InvalidParameterError(
            f"{directory} was read from {count(len(found.rows), 'picture')} of "
            f"{found.record.get('data', {}).get('name', 'another data set')}, which are not the "
            f"{count(len(images), 'picture')} of {images.name} as they are now; read these into "
            "another directory (fluoroscope neurons read)"
        )
