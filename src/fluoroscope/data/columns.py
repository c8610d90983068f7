"""Labels as they are stored or typed, read as class numbers: names, numbers, booleans, one-hot.

What a class of the data is to a network is not decided here: `engine.labels` does that.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from fluoroscope.data.classes import MISSING, Classes


def read_classes(
    column: Any, names: Sequence[str] | None = None, *, hidden: bool = True
) -> Classes:
    """Read the labels of ``N`` pictures.

    Whole numbers, also as floats or booleans, are class numbers; words are names, numbered in the
    order of the alphabet; rows of 0 with a single 1 are one-hot. Null, NaN, an empty word and
    numbers below 0 stand for no label.

    Args:
        column: a tensor, array, sequence or Arrow column.
        names: all classes in the order of their numbers, where words of the column are some of
            them.
        hidden: whether numbers below 0 stand for hidden labels, as they do where labels are stored.
            Elsewhere -1 may be meant for a class, and no class can be read.
    """
    read = _read(column, names)
    below = None if hidden or read.numbers is None else _below_zero(column)
    if below is None:
        return read
    return Classes(why=f"holds {below}, which is no class number")


def _read(column: Any, names: Sequence[str] | None) -> Classes:
    try:
        values = _column(column)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError):
        return Classes(why="holds labels of several kinds, or of no kind that is known")
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
        kind = values.type
    if pa.types.is_null(kind):
        return Classes(why="holds no value")
    if _is_text(kind):
        return _named(values, names)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return _numbered(values)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _whole(values)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _one_hot(values)
    return Classes(why=f"holds {kind}, which is no class")


def distinct_names(column: Any) -> set[str]:
    """The words of a column; none where it holds something else."""
    values = _column(column)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if not _is_text(values.type):
        return set()
    return {word for word in pc.unique(values).to_pylist() if word}


def _column(column: Any) -> Any:
    """Anything as an Arrow column."""
    if isinstance(column, Tensor):
        column = column.detach().cpu().numpy()
    if isinstance(column, np.ndarray):
        column = list(column) if column.ndim > 1 else column
    elif not isinstance(column, pa.Array | pa.ChunkedArray):
        column = [one.item() if _is_scalar(one) else one for one in column]
        if len({isinstance(one, bool) for one in column if one is not None}) > 1:
            raise TypeError("booleans among others")  # Arrow would take them for numbers
    return column if isinstance(column, pa.Array | pa.ChunkedArray) else pa.array(column)


def _below_zero(column: Any) -> int | None:
    """The least number of a readable column, if it is below 0."""
    values = _column(column)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    while hasattr(values.type, "value_type"):
        values = pc.list_flatten(values)
    if _is_text(values.type) or pa.types.is_boolean(values.type):
        return None
    least = pc.min(values.cast(pa.float64()))  # null and NaN are passed over
    return int(least.as_py()) if least.is_valid and least.as_py() < 0 else None


def _is_scalar(value: object) -> bool:
    return isinstance(value, Tensor | np.ndarray | np.generic) and np.ndim(value) == 0


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _named(values: Any, names: Sequence[str] | None) -> Classes:
    known = sorted(distinct_names(values)) if names is None else list(names)
    if not known:
        return Classes(why="holds no value")
    # Null and the empty word are in no list of names.
    numbers = pc.fill_null(pc.index_in(values, value_set=pa.array(known, values.type)), MISSING)
    return Classes(_tensor(numbers.cast(pa.int64())), tuple(known))


def _numbered(values: Any) -> Classes:
    try:
        numbers = pc.fill_null(values.cast(pa.int64()), MISSING)
    except pa.ArrowInvalid:
        return Classes(why="holds numbers above 2⁶³, which are no classes")
    return _some(_tensor(numbers).clamp_min(MISSING))


def _whole(values: Any) -> Classes:
    numbers = np.asarray(pc.fill_null(values.cast(pa.float64()), np.nan))
    there = ~np.isnan(numbers)
    broken = numbers[there & ((numbers != np.floor(numbers)) | (np.abs(numbers) > 2**53))]
    if len(broken):
        return Classes(why=f"holds numbers that are not whole ({broken[0]:g})")
    whole = np.where(there, numbers, MISSING).astype(np.int64)
    return _some(torch.from_numpy(whole).clamp_min(MISSING))


def _one_hot(values: Any) -> Classes:
    widths = set(pc.unique(pc.drop_null(pc.list_value_length(values))).to_pylist())
    flat = pc.list_flatten(values)
    simple = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    if len(widths) != 1 or widths == {0} or not any(of(flat.type) for of in simple):
        return Classes(why="holds lists, and they are not one-hot")
    if widths == {1}:
        inner = _read(flat, None)
        if inner.numbers is None or not values.null_count:
            return inner
        spread = torch.full((len(values),), MISSING, device="cpu")
        spread[_tensor(pc.is_valid(values).cast(pa.int64())).bool()] = inner.numbers
        return Classes(spread)
    rows = np.asarray(flat.cast(pa.float64())).reshape(-1, widths.pop())
    if not (np.isin(rows, (0, 1)).all() and (rows.sum(1) == 1).all()):
        return Classes(why="holds lists, and they are not one-hot: several classes, or shares")
    numbers = torch.full((len(values),), MISSING, device="cpu")
    numbers[_tensor(pc.is_valid(values).cast(pa.int64())).bool()] = torch.from_numpy(rows.argmax(1))
    return Classes(numbers)


def _some(numbers: Tensor) -> Classes:
    if len(numbers) and bool((numbers == MISSING).all()):
        return Classes(why="holds no label: each is missing or below 0, as where they are hidden")
    return Classes(numbers)


def _tensor(column: Any) -> Tensor:
    return torch.from_numpy(np.asarray(column).astype(np.int64))
