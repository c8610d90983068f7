"""Data sets of Parquet, Arrow or tar files, local or on the hub, through ``datasets``.

The library turns Parquet into an Arrow file in its cache (``HF_DATASETS_CACHE``), once, and maps it
into memory, so that any picture is read in the time of a page fault and none is kept. Pictures are
fetched encoded and decoded by `read_picture`. No code from the hub is ever run, and of a local data
set only its own files are read: it is told which, and never looks for more.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from fluoroscope.data.card import Card, read_card
from fluoroscope.data.columns import Classes, distinct_names, read_classes
from fluoroscope.data.described import LABEL_COLUMNS
from fluoroscope.data.folders import SPLITS, split_of
from fluoroscope.data.places import Member, inside
from fluoroscope.data.scan import TABLES, Scan
from fluoroscope.data.sources import Opened, choose_split
from fluoroscope.errors import (
    FluoroscopeError,
    HubUnreachableError,
    MissingExtraError,
    UnknownDataError,
)
from fluoroscope.pictures.read import read_picture

# Formats whose reading neither needs other programs nor unpickles anything; "cache" is what the
# library itself kept of a hub's data set.
FORMATS = ("parquet", "arrow", "imagefolder", "webdataset", "cache")
# A data set up to this size is fetched from the hub whole, which leaves it usable offline; of a
# larger one only the split that is asked for.
WHOLE_BYTES = 1_000_000_000
HUB_SECONDS = 5.0

IMAGE_COLUMNS = ("image", "img", "picture", "jpg", "png")


class TableSource:
    """One split of a data set."""

    def __init__(
        self,
        table: Any,
        image: str,
        place: str,
        roots: Sequence[Path] | None,
        numbers: Tensor | None,
    ) -> None:
        from datasets import Image

        self._column, self._place, self._roots, self._numbers = image, place, roots, numbers
        self._images = table.select_columns(image).cast_column(image, Image(decode=False))
        self._paths: Any = None
        if table._indices is None:  # else the rows would have to be copied
            stored = self._images.with_format("arrow")[:].column(image)
            self._paths = pc.struct_field(stored, "path")

    def __len__(self) -> int:
        return len(self._images)

    def image(self, position: int, channels: int) -> Tensor:
        stored, row = self._images[position][self._column], f"{self._place}:{position}"
        if not stored or (stored["bytes"] is None and stored["path"] is None):
            raise UnknownDataError(f"{row} holds no picture; leave it out")
        encoded = stored["bytes"] or inside(stored["path"], self._roots, row)
        if isinstance(encoded, Member):
            encoded = encoded.read()
        return read_picture(encoded, channels, name=row)

    def classes(self) -> Tensor | None:
        return self._numbers

    def name(self, position: int) -> str:
        path = None if self._paths is None else self._paths[position].as_py()
        return PurePosixPath(path or "").name or f"{self._place}:{position}"


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


def open_local(scan: Scan, root: Path, name: str, split: str | None) -> Opened:
    """Open one split of the tables that were found in a folder.

    Args:
        scan: what lies in the folder.
        root: the folder.
        name: how messages call it.
        split: ``None`` for the only one, else ``test``, else ``validation``.

    Raises:
        UnknownDataError: no data set, split or pictures there.
        MissingExtraError: ``datasets`` is not installed.
    """
    _require_library(name)
    card = read_card(root / "README.md")
    kind, files = _one_kind(scan.tables, root)
    splits, notes = _local_splits(files, card, name)
    chosen = choose_split(split, [key for key in splits if key], name, SPLITS)
    mine = splits[chosen or ""]
    table = _opened(name, lambda: _local_table(kind, root, mine, chosen))

    def words(column: str) -> set[str]:
        return _words_of(root, [file for one in splits.values() for file in one], column, kind)

    others = words if len(splits) > 1 else None
    found = open_rows(table, name, chosen, [root.resolve()], others, card.names)
    return Opened(
        found.source,
        chosen,
        found.labels,
        (*scan.notes(), *notes, *found.notes),
        found.why_unlabelled,
    )


def open_hub(place: str, name: str, split: str | None) -> Opened:
    """Open one split of a hub's data set ``owner/name``.

    Raises:
        UnknownDataError: no data set, split or pictures there.
        HubUnreachableError: the hub does not answer.
        MissingExtraError: ``datasets`` is not installed.
    """
    _require_library(name)
    import datasets

    def find() -> tuple[Any, str | None, list[Path], Callable[[str], set[str]] | None]:
        if not datasets.config.HF_HUB_OFFLINE:
            _require_hub(name, datasets.config.HF_ENDPOINT)
        builder = datasets.load_dataset_builder(place)
        if builder.name not in FORMATS:
            raise UnknownDataError(
                f"{name} holds {builder.name} files; expected Parquet or picture files"
            )
        splits = [str(one) for one in builder.config.data_files or builder.info.splits or {}]
        chosen = choose_split(split, splits, name)
        table, whole = _prepare(builder, place, chosen)
        # Pictures that are files of their own lie in the library's caches.
        roots = [] if builder.name == "parquet" else _caches()

        def words(column: str) -> set[str]:
            if not whole:
                raise UnknownDataError("the other parts were not fetched")
            parts = (builder.as_dataset(split=one).select_columns(column) for one in splits)
            return set().union(
                *(distinct_names(part.with_format("arrow")[:].column(column)) for part in parts)
            )

        return table, chosen, roots, words if len(splits) > 1 else None

    table, chosen, roots, words = _opened(name, find)
    return open_rows(table, name, chosen, roots, words)


def open_rows(
    table: Any,
    name: str,
    split: str | None,
    roots: Sequence[Path] | None,
    words: Callable[[str], set[str]] | None = None,
    card: Mapping[str, tuple[str, ...]] | None = None,
) -> Opened:
    """The pictures and labels of a table of ``datasets``.

    Args:
        table: a ``datasets.Dataset``.
        name: of the data set.
        split: of the table.
        roots: folders in which pictures may lie that it names; ``None`` for any on this machine.
        words: the words in a column of all splits, where there are several.
        card: class names of columns, as the data set's card has them.
    """
    image = _image_column(table.features, name)
    place = f"{name}:{split}" if split else name
    column, read, notes = _classes(table, words, card or {}, split)
    source = TableSource(table, image, place, roots, read.numbers)
    why = read.why if column is None or read.why is None else f"its column {column!r} {read.why}"
    return Opened(source, split, read.names, tuple(notes), why)


def _classes(
    table: Any,
    words: Callable[[str], set[str]] | None,
    card: Mapping[str, tuple[str, ...]],
    split: str | None,
) -> tuple[str | None, Classes, list[str]]:
    from datasets import ClassLabel

    column = _label_column(table.features)
    if column is None:
        listed = ", ".join(list(table.features)[:8])
        return None, Classes(why=f"no column called label or class among {listed}"), []
    stored = table.select_columns(column).with_format("arrow")[:].column(column)
    feature = table.features[column]
    notes: list[str] = []
    if isinstance(feature, ClassLabel):
        return column, _with_names(read_classes(stored), tuple(feature.names)), notes
    names: Sequence[str] | None = None
    if words is not None and distinct_names(stored):
        try:
            names = sorted(words(column))
        # Whatever keeps the other parts from being read, this one can be.
        except Exception:
            notes.append(
                f"classes are numbered by the names in the part {split!r} alone, as the other "
                "parts could not be read"
            )
    read = read_classes(stored, names)
    if read.names is None and column in card:
        read = _with_names(read, card[column])
    return column, read, notes


def _with_names(read: Classes, names: tuple[str, ...]) -> Classes:
    if read.numbers is None or not names:
        return read
    if len(read.numbers) and int(read.numbers.max()) >= len(names):
        return Classes(
            why=f"holds the class {int(read.numbers.max())}, and names only {len(names)}"
        )
    return Classes(read.numbers, names)


def _opened(name: str, load: Callable[[], Any]) -> Any:
    """What the library loads, quietly, with its exceptions turned into ours."""
    import datasets

    with _quiet():
        try:
            return load()
        except FluoroscopeError:
            raise
        except ConnectionError as error:
            raise _unreachable(name, _reason(error)) from error
        except PermissionError as error:
            raise UnknownDataError(
                f"{name} cannot be opened: {_reason(error)}; the datasets library works in "
                f"{datasets.config.HF_DATASETS_CACHE}: set HF_DATASETS_CACHE to a folder that may "
                "be written"
            ) from error
        # The library meets unusable data with exceptions of many kinds.
        except Exception as error:
            raise UnknownDataError(
                f"{name} cannot be opened as a data set: {_reason(error)}; expected Parquet files "
                "with an image column, or picture files"
            ) from error


def _require_library(name: str) -> None:
    try:
        import datasets  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"reading {name} needs the datasets library; install it with "
            "pip install 'fluoroscope[hub]'"
        ) from error


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
    part, places = split or "train", [root.resolve() / file for file in files]
    # A file that changed is another one to the library's cache.
    stamps = [(str(place), str(place.stat().st_mtime_ns)) for place in places]
    builder = maker(
        dataset_name=root.resolve().name or None,
        hash=MODULES[module][1],
        data_files=DataFilesDict({part: DataFilesList(list(map(str, places)), stamps)}),
    )
    builder.download_and_prepare()
    return builder.as_dataset(split=part)


def _prepare(builder: Any, place: str, split: str | None) -> tuple[Any, bool]:
    """The split of a hub's data set, and whether the others are here as well."""
    import datasets

    whole = (
        # Class folders of all splits are numbered together, and only their paths are copied.
        builder.name in ("imagefolder", "cache")
        or Path(builder.cache_dir).is_dir()
        or 0 < (builder.info.download_size or 0) <= WHOLE_BYTES
    )
    if whole:
        builder.download_and_prepare()
        return builder.as_dataset(split=split), True
    table = datasets.load_dataset(
        place,
        split=split,
        data_files={split: list(builder.config.data_files[split])},
        features=builder.info.features,
        verification_mode="no_checks",
    )
    return table, False


def _caches() -> list[Path]:
    import datasets
    from huggingface_hub import constants

    return [
        Path(datasets.config.HF_DATASETS_CACHE).resolve(),
        Path(constants.HF_HUB_CACHE).resolve(),
    ]


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
    notes = [f"left out {len(beside)} table(s) of no part, such as {beside[0]!r}"] if beside else []
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


def _image_column(features: Mapping[str, Any], name: str) -> str:
    from datasets import Image, Value

    def may_hold_pictures(feature: Any) -> bool:
        if isinstance(feature, Value):
            return feature.dtype in ("binary", "large_binary")
        return isinstance(feature, Image) or (isinstance(feature, dict) and "bytes" in feature)

    found = [column for column, feature in features.items() if may_hold_pictures(feature)]
    typical = [column for column in IMAGE_COLUMNS if column in found]
    if typical or len(found) == 1:
        return (typical or found)[0]
    raise UnknownDataError(
        f"{name} has {len(found)} columns that may hold pictures among {', '.join(features)}; "
        "expected one called 'image'"
    )


def _label_column(features: Mapping[str, Any]) -> str | None:
    """The column called so, else the only one whose classes are named."""
    from datasets import ClassLabel

    named = [column for column, feature in features.items() if isinstance(feature, ClassLabel)]
    called = [column for column in LABEL_COLUMNS if column in features]
    return next(iter((*called, *(named if len(named) == 1 else ()))), None)


def _require_hub(name: str, endpoint: str) -> None:
    """Ask once and briefly: the library itself retries for minutes before it gives up."""
    from huggingface_hub import get_session

    try:
        get_session().head(endpoint, timeout=HUB_SECONDS)
    # Its exceptions differ with the HTTP library below; each of them means no answer.
    except Exception as error:
        raise _unreachable(name, f"{endpoint} does not answer: {_reason(error)}") from error


def _unreachable(name: str, reason: str) -> HubUnreachableError:
    return HubUnreachableError(
        f"cannot load {name} from the Hugging Face hub ({reason}); 'digits', local folders and "
        "picture files work offline, and with HF_HUB_OFFLINE=1 so do data sets loaded before"
    )


def _reason(error: BaseException) -> str:
    # The library wraps what went wrong while it copied a data set.
    while type(error).__name__ == "DatasetGenerationError" and error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no log lines from the libraries inside the block."""
    import datasets
    import huggingface_hub.utils as hub

    loggers = (datasets.utils.logging, hub.logging)
    levels = [logger.get_verbosity() for logger in loggers]
    bars = (datasets.utils, hub)
    shown = [library for library in bars if not library.are_progress_bars_disabled()]
    for logger in loggers:
        logger.set_verbosity(logger.CRITICAL)
    for library in shown:
        library.disable_progress_bars()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.set_verbosity(level)
        for library in shown:
            library.enable_progress_bars()
