"""Tables made from plain columns are those that Arrow makes of them."""

import pyarrow as pa
import pytest

from fluoroscope.arrow import table_of
from fluoroscope.evaluation.rows import SCHEMA

COLUMNS = {
    "index": [3, 0, 2**53],
    "name": ["", "é/漢字.png", "a\nb"],
    "success": [True, False, True],
    "distance": [0.1, float("inf"), 0.0],
}


@pytest.mark.parametrize("rows", [3, 1, 0])
def test_columns_become_what_arrow_makes_of_them(rows: int) -> None:
    columns = {name: values[:rows] for name, values in COLUMNS.items()}
    kinds = pa.schema([SCHEMA.field(name) for name in columns])
    made = table_of(columns, kinds)
    made.validate(full=True)
    assert made.equals(pa.table(columns, schema=kinds))
    if rows:
        assert table_of(columns).equals(pa.table(columns))


def test_many_truth_values_keep_their_places() -> None:
    values = [number % 3 == 0 for number in range(1001)]
    assert table_of({"is": values})["is"].to_pylist() == values
