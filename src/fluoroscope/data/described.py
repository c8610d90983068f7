"""Tables of file names and labels beside pictures: CSV, JSON lines, Parquet, annotation texts.

The column whose values are names of pictures that lie there names the pictures; nothing else is
ever opened for what a table says.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from fluoroscope.data.classes import Classes
from fluoroscope.errors import UnknownDataError
from fluoroscope.words import count

# Tables of this size hold the labels of some ten million pictures.
MAX_BYTES = 2**30
LABEL_COLUMNS = ("label", "labels", "fine_label", "cls", "class")
_LABELS = (
    *LABEL_COLUMNS,
    *("class_name", "classname", "category", "target", "species", "diagnosis", "wnid", "y"),
    *("class_id", "category_id", "label_name", "annotation"),
)
# Rows that tell whether a column names pictures.
_LOOK = 200


@dataclass(frozen=True)
class Described:
    """Pictures that a table names, in its order, with their labels as they stand there."""

    name: str
    files: list[str]
    column: list[Any] | None
    names: tuple[str, ...] | None = None
    why: str | None = None
    notes: list[str] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    """Everything that stands beside the names of the pictures."""
    called: bool = False
    """Whether the column of labels was told by its name."""

    def labels(self, others: bool) -> bool:
        """Whether it has labels: where ``others`` are told by folders, only what is called so."""
        named = self.called or self.names is not None
        return self.column is not None and (named or not others)

    def classes(self, names: Sequence[str] | None) -> Classes:
        """The labels as class numbers; ``names`` are the words of all parts together."""
        if self.column is None:
            return Classes(why=self.why)
        from fluoroscope.data.columns import read_classes

        read = read_classes(self.column, names)
        if self.names is not None and read.numbers is not None:
            return Classes(read.numbers, self.names)
        return read


def describe(
    root: Path, table: str, find: "Finder", part: Sequence[str], below: str
) -> Described | None:
    """Read a table, if it names any of the pictures.

    Args:
        root: the data set's folder.
        table: the table's path in it.
        find: among all pictures there.
        part: the pictures that are wanted; what the table says of others is passed over.
        below: the folder, with ``/`` at its end, that the names may start from.

    Raises:
        UnknownDataError: a table that cannot be read.
    """
    starts = (below, table[: table.rfind("/") + 1], "")
    columns, wanted = _columns(root / table, table), set(part)
    naming = max(columns, key=lambda name: find.share(columns[name], starts), default=None)
    if naming is None or find.share(columns[naming], starts) < 0.5:
        return None
    found = [find(str(one), starts) for one in columns[naming]]
    kept = [row for row, file in enumerate(found) if file in wanted]
    files = [file for file in found if file in wanted and file is not None]
    if not files:
        return None
    notes = []
    lost = [row for row, file in enumerate(found) if file is None]
    if lost:
        notes.append(
            f"left out {len(lost)} of {len(found)} rows of {table!r}, whose pictures are not "
            f"there, such as {str(columns[naming][lost[0]])[:60]!r}"
        )
    if len(set(files)) < len(files):
        twice = sum(count > 1 for count in Counter(files).values())
        notes.append(f"{table!r} names {count(twice, 'picture')} more than once")
    if len(wanted) > len(set(files)):
        unlisted = len(wanted) - len(set(files))
        notes.append(f"left out {count(unlisted, 'picture')} that {table!r} does not name")
    rest = {
        name: [column[row] for row in kept] for name, column in columns.items() if name != naming
    }
    column, names, why = _labels(rest, table)
    called = any(column is rest[name] for name in rest if name.strip().casefold() in _LABELS)
    return Described(table, files, column, names, why, notes, rest, called)


class Finder:
    """The picture that a word of a table names: by its path, or by its name if only one has it."""

    def __init__(self, pictures: Iterable[str]) -> None:
        self._paths = set(pictures)
        self._short: dict[str, str | None] = {}
        for path in self._paths:
            name = path.rpartition("/")[2]
            for short in {name, name.rpartition(".")[0]}:
                self._short[short] = None if short in self._short else path

    def __call__(self, word: str, starts: Sequence[str]) -> str | None:
        path = word.strip().replace("\\", "/").removeprefix("./")
        for start in starts:
            if start + path in self._paths:
                return start + path
        if "/" not in path:
            return self._short.get(path)
        # A path from some other folder, as tables that were written elsewhere have it.
        found = self._short.get(path.rpartition("/")[2])
        if found is None or not (f"/{found}".endswith(f"/{path}") or path.endswith(f"/{found}")):
            return None
        return found

    def share(self, column: Sequence[Any], starts: Sequence[str]) -> float:
        """How many of a column's first values name a picture."""
        first = column[:_LOOK]
        return sum(self(str(one), starts) is not None for one in first) / max(len(first), 1)


def _labels(
    rest: dict[str, list[Any]], table: str
) -> tuple[list[Any] | None, tuple[str, ...] | None, str | None]:
    """The column of labels, or the names of the columns that are one-hot together, or why not."""
    lower = {name.strip().casefold(): name for name in rest}
    for wanted in _LABELS:
        if wanted in lower:
            return rest[lower[wanted]], None, None
    if len(rest) == 1:
        return next(iter(rest.values())), None, None
    if len(rest) > 1:
        from fluoroscope.data.columns import read_classes

        rows = read_classes([list(row) for row in zip(*rest.values(), strict=True)])
        if rows.numbers is not None:
            return rows.numbers.tolist(), tuple(rest), None
    listed = ", ".join(list(rest)[:8]) or "none"
    return None, None, f"its table {table!r} has no column called label or class (others: {listed})"


def _columns(path: Path, name: str) -> dict[str, list[Any]]:
    """The columns of a table, numbers as numbers."""
    try:
        if path.suffix.lower() == ".parquet":
            return _parquet(path)
        if path.stat().st_size > MAX_BYTES:
            raise UnknownDataError(f"{name} is larger than {MAX_BYTES >> 20} MiB; split it")
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
            names = list(dict.fromkeys(key for row in rows for key in row))
            return {key: [row.get(key) for row in rows] for key in names}
        return _separated(text)
    except UnknownDataError:
        raise
    except UnicodeDecodeError as error:
        raise UnknownDataError(f"{name} is not in UTF-8; save it in that encoding") from error
    # Whatever is wrong with a table, it is said in one line.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnknownDataError(
            f"{name} cannot be read ({reason}); expected a table of file names and labels, such as "
            "metadata.csv with the columns file_name and label"
        ) from error


def _parquet(path: Path) -> dict[str, list[Any]]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    if sum(file.metadata.row_group(n).total_byte_size for n in range(file.num_row_groups)) > (
        MAX_BYTES
    ):
        raise UnknownDataError(f"{path.name} unpacks to more than {MAX_BYTES >> 20} MiB; split it")
    return {str(name): column.to_pylist() for name, column in zip(*_table(file), strict=True)}


def _table(file: Any) -> tuple[list[str], list[Any]]:
    table = file.read()
    return table.column_names, table.columns


def _separated(text: str) -> dict[str, list[Any]]:
    """Values with commas, semicolons, tabs or blanks between; columns without a head are numbered
    where the first row holds a file's name.
    """
    first = text.partition("\n")[0]
    between = next((sign for sign in "\t;," if sign in first), " ")
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=between) if any(row)]
    if not rows:
        return {}
    head, *body = rows
    if _file_like(head):
        head, body = [f"column {number}" for number in range(len(head))], rows
        if len(head) > 2:  # as Tiny ImageNet's annotations: a name, its class, and a box
            head[1] = "label"
    columns = {
        name or f"column {number}": [row[number] if number < len(row) else "" for row in body]
        for number, name in enumerate(head)
    }
    return {name: _numbers(column) for name, column in columns.items()}


def _file_like(row: Sequence[str]) -> bool:
    return any(PurePosixPath(word).suffix.lower() in _picture_like() for word in row if word)


def _picture_like() -> frozenset[str]:
    from fluoroscope.pictures.arrays import ARRAY_SUFFIX
    from fluoroscope.pictures.read import picture_suffixes

    return picture_suffixes() | {ARRAY_SUFFIX}


def _numbers(column: list[str]) -> list[Any]:
    """Numbers where every value is one; ``007`` and the like stay words."""
    values: list[Any] = []
    for word in column:
        text = word.strip()
        try:
            number = float(text) if text else None
        except ValueError:
            return column
        if text.lstrip("-").isdecimal():
            if str(int(text)) != text:
                return column
            number = int(text)
        values.append(number)
    return values
