"""Data sets of Parquet, Arrow or tar files, local or on the hub, through ``datasets``.

The library turns Parquet into an Arrow file in its cache (``HF_DATASETS_CACHE``), once, and maps it
into memory, so that any picture is read in the time of a page fault and none is kept. Pictures are
fetched encoded and decoded by `read_picture`. No code from the hub is ever run.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, cast

import pyarrow.compute as pc
from torch import Tensor

from fluoroscope.data.classes import Classes
from fluoroscope.data.columns import distinct_names, read_classes
from fluoroscope.data.described import LABEL_COLUMNS
from fluoroscope.data.places import Member, inside
from fluoroscope.data.sources import Columns, Opened, choose_split
from fluoroscope.errors import (
    FluoroscopeError,
    HubUnreachableError,
    InvalidParameterError,
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

# Bytes of a column whose values are asked for.
_LARGEST_COLUMN = 2**28

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


def open_hub(place: str, name: str, split: str | None) -> Opened:
    """Open one split of a hub's data set ``owner/name``.

    Raises:
        UnknownDataError: no data set, split or pictures there.
        HubUnreachableError: the hub does not answer.
        MissingExtraError: ``datasets`` is not installed.
    """
    require_library(name)
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

    table, chosen, roots, words = opened(name, find)
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
    columns = partial(_others, table, image)
    return Opened(source, split, read.names, tuple(notes), why, columns=columns)


def _others(table: Any, image: str) -> Columns:
    """The columns of single values beside the pictures; of named classes their names."""
    from datasets import ClassLabel, Value

    def values(column: str, feature: Any) -> Sequence[Any]:
        stored = table.select_columns(column).with_format("arrow")[:].column(column)
        if stored.nbytes > _LARGEST_COLUMN:
            raise InvalidParameterError(
                f"the column {column!r} holds {stored.nbytes >> 20} MiB; expected short values"
            )
        found = stored.to_pylist()
        if not isinstance(feature, ClassLabel):
            return cast(Sequence[Any], found)
        known = range(len(feature.names))
        return [feature.names[one] if one in known else None for one in found]

    return {
        str(column): partial(values, column, feature)
        for column, feature in table.features.items()
        if column != image
        and isinstance(feature, Value | ClassLabel)
        and "binary" not in feature.dtype
    }


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


def opened(name: str, load: Callable[[], Any]) -> Any:
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


def require_library(name: str) -> None:
    try:
        import datasets  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"reading {name} needs the datasets library; install it with "
            "pip install 'fluoroscope[hub]'"
        ) from error


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
