"""Tables made from plain columns are those that Arrow makes of them."""

import pyarrow as pa
import pytest

from fluoroscope.arrow import array_of, table_of
from fluoroscope.evaluation.rows import SCHEMA

COLUMNS = {
    "index": [3, 0, 2**53],
    "name": ["", "é/漢字.png", "a\nb"],
    "success": [True, False, True],
    "distance": [0.1, float("inf"), 0.0],
}
KINDS = pa.schema([SCHEMA.field(name) for name in COLUMNS])


@pytest.mark.parametrize("rows", [3, 1, 0])
def test_columns_become_what_arrow_makes_of_them(rows: int) -> None:
    columns = {name: values[:rows] for name, values in COLUMNS.items()}
    made = table_of(columns, KINDS)
    made.validate(full=True)
    assert made.equals(pa.table(columns, schema=KINDS))
    if rows:
        assert table_of(columns).equals(pa.table(columns))


def test_many_truth_values_keep_their_places() -> None:
    values = [number % 3 == 0 for number in range(1001)]
    assert table_of({"is": values})["is"].to_pylist() == values


@pytest.mark.parametrize("rows", [3, 1, 0])
def test_columns_come_back_as_they_were(rows: int) -> None:
    table = table_of({name: values[:rows] for name, values in COLUMNS.items()}, KINDS)
    joined = pa.concat_tables([table, table])
    for name in ("index", "success", "distance"):
        for part in (table, table.slice(1), joined, joined.filter(joined["success"])):
            found, wanted = array_of(part[name]), part[name].to_numpy()
            assert found.dtype == wanted.dtype
            assert found.tolist() == wanted.tolist()
