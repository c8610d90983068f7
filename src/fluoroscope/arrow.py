"""Tables of Arrow from plain columns and back: on both ways Arrow itself first imports pandas."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

# What a column of Python's values is where no schema says it.
_KINDS: dict[type, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
}


def table_of(columns: Mapping[str, Sequence[Any]], schema: pa.Schema | None = None) -> pa.Table:
    """A table of columns of one kind each: truth values, whole numbers, floats or texts."""
    kinds = {
        name: _KINDS[type(values[0]) if len(values) else float]
        if schema is None
        else schema.field(name).type
        for name, values in columns.items()
    }
    made = {name: _column(values, kinds[name]) for name, values in columns.items()}
    return pa.table(made, schema=schema)


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        texts = [text.encode() for text in values]
        ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
        buffers = [pa.py_buffer(ends), pa.py_buffer(b"".join(texts))]
    else:
        numbers = np.asarray(values, kind.to_pandas_dtype())  # NumPy's, in spite of its name
        bits = pa.types.is_boolean(kind)
        buffers = [pa.py_buffer(np.packbits(numbers, bitorder="little") if bits else numbers)]
    return pa.Array.from_buffers(kind, len(values), [None, *buffers])


def array_of(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """A column of numbers or truth values without gaps, as NumPy has them; read-only."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_boolean(column.type):
        bits = np.frombuffer(whole.buffers()[1] or b"", np.uint8)
        found = np.unpackbits(bits, bitorder="little").astype(bool)
    else:
        found = np.frombuffer(whole.buffers()[1] or b"", column.type.to_pandas_dtype())
    return found[whole.offset : whole.offset + len(whole)]
