"""Files of rows, each with a seal: a hash of the rows, of what they are about, and of their run.

So a bit that flipped, rows of another run and rows that were edited are noticed when they are read,
wherever in the file the harm was done.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from fluoroscope.arrow import array_of
from fluoroscope.errors import ResultFormatError
from fluoroscope.evaluation.rows import OLDER, SCHEMA, as_today
from fluoroscope.files import atomic_path, regular

# Of one file: far above what any part has.
_MOST_ROWS, _MOST_BYTES = 1_000_000, 2**30
# Passes are added up over rows and stages, in 64 bits.
_MOST_PASSES = 2**40
_DATA, _SEAL = b"fluoroscope", b"fluoroscope.seal"


def run_hash(identity: dict[str, Any]) -> str:
    """SHA-256 of what a run is."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def hash_of(table: pa.Table) -> str | None:
    """The data's hash that rows were saved with."""
    found = (table.schema.metadata or {}).get(_DATA)
    return None if found is None else found.decode(errors="replace")


def write_rows(path: Path, table: pa.Table, run: str, data: str | None = None) -> pa.Table:
    """Write the rows of a stage of the run with this hash; whole or not at all.

    ``data`` is the hash of what the rows are about; the table is returned with it. What else the
    table says of itself is kept and sealed too.
    """
    about = {**(table.schema.metadata or {}), **({} if data is None else {_DATA: data.encode()})}
    table = table.replace_schema_metadata(about)
    sealed = table.replace_schema_metadata({**about, _SEAL: _seal(table, run).encode()})
    with atomic_path(path) as draft:
        parquet.write_table(sealed, draft)
    return table


def read_rows(path: Path, stage: str, run: str) -> pa.Table:
    """The rows of a file, if they can be what they are said to be.

    Raises:
        ResultFormatError: with the reason alone.
    """
    try:
        # Of this file alone: its neighbours are not columns, whatever they are called.
        with parquet.ParquetFile(regular(path)) as file:
            size = sum(
                file.metadata.row_group(group).total_byte_size
                for group in range(file.metadata.num_row_groups)
            )
            if file.metadata.num_rows > _MOST_ROWS or size > _MOST_BYTES:
                raise ValueError(f"it has {file.metadata.num_rows} rows in {size} bytes")
            table = file.read()
        if not any(table.schema.equals(one) for one in (SCHEMA, *OLDER)):
            raise ValueError("it has other columns")
        if not len(table) or any(column.null_count for column in table.columns):
            raise ValueError("it has no rows, or rows with gaps")
        _check_numbers(table)
        if table["attack"].unique().to_pylist() != [stage]:
            raise ValueError("its rows are of another stage")
        if (table.schema.metadata or {}).get(_SEAL, b"").decode() != _seal(table, run):
            raise ValueError("it is damaged, changed, or of another run")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ResultFormatError((str(error).splitlines() or [type(error).__name__])[0]) from error
    return as_today(table)


def _check_numbers(table: pa.Table) -> None:
    index = array_of(table["index"])
    if len(np.unique(index)) < len(index) or index.min() < 0:
        raise ValueError("its rows are twice of one sample, or of none")
    for name in ("clean_margin", "distance", "margin", "seconds"):
        if np.isnan(array_of(table[name])).any():
            raise ValueError(f"its {name} is not a number")
    if "flat" in table.column_names:
        flat = array_of(table["flat"])
        if not ((flat >= 0) & (flat <= 1)).all():
            raise ValueError("its flat is no share")
        steep = array_of(table["steep"])
        if not ((steep >= 0) & np.isfinite(steep)).all():
            raise ValueError("its steep cannot be")
    seconds = array_of(table["seconds"])
    if seconds.min() < 0 or not np.isfinite(seconds.sum()) or array_of(table["distance"]).min() < 0:
        raise ValueError("it has times or distances that cannot be")
    for name in ("forwards", "backwards"):
        passes = array_of(table[name])
        if passes.min() < 0 or passes.max() > _MOST_PASSES:
            raise ValueError(f"its {name} cannot be")


def _seal(table: pa.Table, run: str) -> str:
    about = {str(key): str(value) for key, value in (table.schema.metadata or {}).items()}
    about.pop(str(_SEAL), None)
    text = json.dumps([run, len(table), about], sort_keys=True)
    digest = hashlib.sha256(text.encode())
    for name in table.column_names:
        column = table[name]
        if name in ("attack", "name"):
            digest.update(json.dumps(column.to_pylist()).encode())
        else:
            digest.update(np.ascontiguousarray(array_of(column)).tobytes())
    return digest.hexdigest()
