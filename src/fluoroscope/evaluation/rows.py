"""What an evaluation writes down: a row for each sample and attack, in tables of Arrow.

The clean look at a part's samples is its first table; each stage's has the samples it attacked.
"""

import json
from collections.abc import Sequence

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from fluoroscope.models.labels import printable

CLEAN = "clean"
"""The attack in the rows of the clean look."""

SCHEMA = pa.schema(
    [
        ("index", pa.int64()),  # of the sample in its data set
        ("name", pa.string()),  # its file's in the data set, or where it stands; "" if not known
        ("label", pa.int32()),  # as the network numbers its classes
        ("attack", pa.string()),  # the stage's name
        ("clean_prediction", pa.int32()),
        ("clean_margin", pa.float64()),  # lead of the label's logit over the strongest other
        ("success", pa.bool_()),  # misclassified within the stage's bound
        ("prediction", pa.int32()),  # of what was kept
        ("distance", pa.float64()),  # of what was kept from the clean image; 0 if that is wrong
        ("margin", pa.float64()),  # smallest lead of any allowed image looked at
        ("flat", pa.float64()),  # share of pixel values without slope where one was asked for first
        ("steep", pa.float64()),  # the bound over the border's distance by that slope
        ("finished", pa.bool_()),  # the search came to its end; a budget cut the others
        ("forwards", pa.int64()),
        ("backwards", pa.int64()),
        ("seconds", pa.float64()),  # the stage's, shared by passes
    ]
)

_WITHOUT_SLOPES = pa.schema([field for field in SCHEMA if field.name not in ("flat", "steep")])
UNNAMED = _WITHOUT_SLOPES.remove(SCHEMA.get_field_index("name"))
OLDER = (UNNAMED, _WITHOUT_SLOPES)
"""What rows of formats 1 and 2 have."""

# Characters of a name; that of a file has fewer.
_LONGEST = 4096

NOTES = b"fluoroscope.notes"
"""Where a table's notes are, among what is said of its columns."""


def as_written(names: Sequence[str]) -> list[str]:
    """Names of pictures as rows hold them: text that every file can hold, and not for ever."""
    return [name.encode(errors="backslashreplace").decode()[-_LONGEST:] for name in names]


def as_today(table: pa.Table) -> pa.Table:
    """The rows with the columns that older formats lack: without names, and no slope missing."""
    for name, value in (("name", ""), ("flat", 0.0), ("steep", 0.0)):
        if name not in table.column_names:
            field = SCHEMA.field(name)
            column = pa.array([value] * len(table), field.type)
            table = table.add_column(SCHEMA.get_field_index(name), field, column)
    return table


def with_notes(table: pa.Table, notes: Sequence[str]) -> pa.Table:
    """The rows with what a reader should know of them."""
    said = {NOTES: json.dumps([*notes]).encode()} if notes else {}
    return table.replace_schema_metadata({**(table.schema.metadata or {}), **said})


def notes_in(table: pa.Table) -> tuple[str, ...]:
    """What a reader should know of the rows."""
    try:
        found = TypeAdapter(tuple[str, ...]).validate_json((table.schema.metadata or {})[NOTES])
    except (KeyError, ValidationError):
        return ()
    return tuple(map(printable, found))
