"""``slices.parquet`` in a run: of every sample the values that its accuracy is told by.

It is no part of what the run is: asked for other columns, the same run goes on, or is read again.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from fluoroscope.files import atomic_path, regular
from fluoroscope.models.labels import printable
from fluoroscope.notices import tell

FILE = "slices.parquet"
Columns = Mapping[str, Mapping[int, str]]
"""Of each column the value of every sample, by its index in the data set."""
# Far above what any run has; a column has some tens of values.
_MOST_ROWS, _MOST_BYTES, _MOST_COLUMNS, _MOST_VALUES, _LONGEST = 2**26, 2**31, 64, 256, 200


def write_columns(directory: Path, columns: Columns) -> None:
    """Write them beside the rows; whole or not at all."""
    index = sorted(next(iter(columns.values())))
    table = {f"slice {name}": [of[one] for one in index] for name, of in columns.items()}
    with atomic_path(directory / FILE) as draft:
        parquet.write_table(pa.table({"index": pa.array(index, pa.int64()), **table}), draft)


def read_columns(directory: Path) -> Columns:
    """What was written; nothing where nobody asked. A file that cannot be is named in a warning."""
    path = directory / FILE
    if not path.exists():
        return {}
    try:
        return _read(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        tell(f"{path} cannot be used ({reason}); evaluate with the same slices makes it anew")
        return {}


def _read(path: Path) -> Columns:
    with parquet.ParquetFile(regular(path)) as file:
        about = file.metadata
        size = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
        if about.num_rows > _MOST_ROWS or size > _MOST_BYTES or about.num_columns > _MOST_COLUMNS:
            raise ValueError(f"it has {about.num_rows} rows in {size} bytes")
        table = file.read()
    first, *others = table.schema
    text = all(one.name.startswith("slice ") and one.type == pa.string() for one in others)
    if first.name != "index" or first.type != pa.int64() or not text:
        raise ValueError("it has other columns")
    if any(column.null_count for column in table.columns):
        raise ValueError("it has gaps")
    index = table["index"].to_pylist()
    if len(np.unique(index)) < len(index):
        raise ValueError("it has samples twice")
    found = {}
    for place, one in enumerate(others, 1):
        values = table.column(place).to_pylist()
        if len(set(values)) > _MOST_VALUES:
            raise ValueError("it has more values than a column of slices")
        name = printable(one.name.removeprefix("slice "))[:_LONGEST]
        found[name] = {
            n: printable(value)[:_LONGEST] for n, value in zip(index, values, strict=True)
        }
    return found
