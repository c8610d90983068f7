"""Parquet, Arrow and tar files in a folder: which of them are the data set, and which part each is.

The library that reads them is told the files, and never looks for others: neither elsewhere on this
machine nor on the network.
"""

import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from fluoroscope.data.card import Card, read_card
from fluoroscope.data.columns import distinct_names
from fluoroscope.data.folders import SPLITS, split_of
from fluoroscope.data.scan import TABLES, Scan
from fluoroscope.data.sources import Opened, choose_split
from fluoroscope.data.tables import open_rows, opened, require_library
from fluoroscope.errors import UnknownDataError
from fluoroscope.words import count

# What a table may unpack to: anything up to this size, and of larger ones so many times its own.
MAX_UNPACKED = 2**31
MAX_RATIO = 50
PACKED = (".gz", ".bz2", ".xz", ".lzma", ".zst", ".lz4", ".zip")


def holds_pictures(file: Path) -> bool:
    """Whether a Parquet file has a column of encoded pictures; also where it cannot be read, which
    is said when it is opened.
    """
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(file)
    except (pa.ArrowException, OSError):
        return True
    binary = (pa.types.is_binary, pa.types.is_large_binary)
    return any(
        any(of(kind) for of in binary)
        or (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)
        for kind in schema.types
    )


def open_local(scan: Scan, name: str, split: str | None) -> Opened:
    """Open one split of the tables that were found in a folder.

    Args:
        scan: what lies in the folder.
        name: how messages call it.
        split: ``None`` for the only one, else ``test``, else ``validation``.

    Raises:
        UnknownDataError: no data set, split or pictures there.
        MissingExtraError: ``datasets`` is not installed.
    """
    require_library(name)
    root = scan.root
    card = read_card(root / "README.md")
    kind, files = _one_kind(scan.tables, root)
    splits, notes = _local_splits(files, card, name)
    chosen = choose_split(split, [key for key in splits if key], name, SPLITS)
    mine = splits[chosen or ""]
    table = opened(name, lambda: _local_table(kind, root, mine, chosen))

    def words(column: str) -> set[str]:
        return _words_of(root, [file for one in splits.values() for file in one], column, kind)

    others = words if len(splits) > 1 else None
    found = open_rows(table, name, chosen, [root], others, card.names)
    return Opened(
        found.source,
        chosen,
        found.labels,
        (*scan.notes(), *notes, *found.notes),
        found.why_unlabelled,
        columns=found.columns,
    )


def _local_table(kind: str, root: Path, files: list[str], split: str | None) -> Any:
    """A table of exactly these files."""
    from datasets.data_files import DataFilesDict, DataFilesList
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES as MODULES
    from datasets.packaged_modules.arrow.arrow import Arrow
    from datasets.packaged_modules.parquet.parquet import Parquet
    from datasets.packaged_modules.webdataset.webdataset import WebDataset

    module, maker = {
        ".parquet": ("parquet", Parquet),
        ".arrow": ("arrow", Arrow),
        ".tar": ("webdataset", WebDataset),
    }[kind]
    part, places = split or "train", [root / file for file in files]
    for place in places:
        _check_unpacked(place)
    # A file that changed is another one to the library's cache.
    stamps = [(str(place), str(place.stat().st_mtime_ns)) for place in places]
    builder = maker(
        dataset_name=root.name or None,
        hash=MODULES[module][1],
        data_files=DataFilesDict({part: DataFilesList(list(map(str, places)), stamps)}),
    )
    builder.download_and_prepare()
    return builder.as_dataset(split=part)


def _check_unpacked(file: Path) -> None:
    """Refuse a table that says itself that it unpacks to far more than it weighs, as no pictures
    do: they are compressed already.
    """
    import pyarrow.parquet as pq

    if file.suffix == ".parquet":
        about, weighs = pq.read_metadata(file), file.stat().st_size
        size = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
        if size > max(MAX_UNPACKED, MAX_RATIO * weighs):
            raise UnknownDataError(
                f"{file} unpacks from {weighs} to {size} bytes; expected encoded pictures"
            )
    if file.suffix == ".tar":
        with tarfile.open(file, "r:") as archive:
            packed = next((one for one in archive if one.name.lower().endswith(PACKED)), None)
        if packed is not None:
            raise UnknownDataError(
                f"{file} holds the compressed file {packed.name!r}; expected pictures as they are"
            )


def _one_kind(tables: Sequence[str], root: Path) -> tuple[str, list[str]]:
    """The tables that are the data set: of one format, and with pictures if any have some."""
    for kind in TABLES:
        files = [file for file in tables if file.endswith(kind)]
        if files:
            break
    if kind == ".parquet":
        files = [file for file in files if holds_pictures(root / file)] or files
    return kind, files


def _local_splits(
    files: list[str], card: Card, name: str
) -> tuple[dict[str, list[str]], list[str]]:
    """The files of each split; of "" where none is named."""
    stated = card.splits(files)
    if stated:
        return stated, []
    homes = sorted({_home(file) for file in files})
    if len(homes) > 1:
        listed = ", ".join(home or "." for home in homes)
        raise UnknownDataError(
            f"{name} holds several data sets ({listed}); give one of their folders"
        )
    found: dict[str, list[str]] = {}
    for file in files:
        folders = (SPLITS.get(part.lower()) for part in reversed(PurePosixPath(file).parts[:-1]))
        part = split_of(file) or next((one for one in folders if one), "")
        found.setdefault(part, []).append(file)
    beside = found.pop("", []) if len(found) > 1 else []
    notes = (
        [f"left out {count(len(beside), 'table')} of no part, such as {beside[0]!r}"]
        if beside
        else []
    )
    return found, notes


def _home(file: str) -> str:
    """The folder of the data set that a table belongs to."""
    parts = list(PurePosixPath(file).parts[:-1])
    while parts and parts[-1].lower() in SPLITS:
        parts.pop()
    return "/".join(parts)


def _words_of(root: Path, files: list[str], column: str, kind: str) -> set[str]:
    import pyarrow.parquet as pq

    if kind != ".parquet":
        raise UnknownDataError("only Parquet is read by columns")
    return set().union(
        *(distinct_names(pq.read_table(root / one, columns=[column])[column]) for one in files)
    )
