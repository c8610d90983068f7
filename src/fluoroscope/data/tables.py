"""Data sets of Parquet files or class folders, local or on the hub, through ``datasets``.

The library turns Parquet into an Arrow file in its cache (``HF_DATASETS_CACHE``), once, and maps it
into memory, so that any picture is read in the time of a page fault and none is kept. Pictures are
fetched encoded and decoded by `read_picture`. No code from the hub is ever run.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

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

TABLES = ("*.parquet", "*.arrow", "*.tar")
IMAGE_COLUMNS = ("image", "img", "picture", "jpg", "png")
LABEL_COLUMNS = ("label", "labels", "fine_label", "cls", "class")
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


class TableSource:
    """One split of a data set; a `Source` that knows the names of its classes."""

    def __init__(self, table: Any, name: str, split: str) -> None:
        from datasets import ClassLabel, Image

        self.split = split
        self.labels: tuple[str, ...] | None = None
        self._name = name
        image = _image_column(table.features, name)
        label = _label_column(table.features)
        self._image_column, self._label_column = image, label
        self._images = table.select_columns(image).cast_column(image, Image(decode=False))
        self._labels = None if label is None else table.select_columns(label)
        if label is not None and isinstance(table.features[label], ClassLabel):
            self.labels = tuple(table.features[label].names)

    def __len__(self) -> int:
        return len(self._images)

    def image(self, position: int, channels: int) -> Tensor:
        stored = self._images[position][self._image_column]
        if not stored or (stored["bytes"] is None and stored["path"] is None):
            raise UnknownDataError(f"{self.name(position)} holds no picture; leave it out")
        encoded = stored["bytes"] or _fetch(stored["path"])
        return read_picture(encoded, channels, name=self.name(position))

    def label(self, position: int) -> int | None:
        if self._labels is None:
            return None
        value = self._labels[position][self._label_column]
        # A hidden label, as in the test split of a competition, is stored as -1.
        return None if value is None or value < 0 else int(value)

    def name(self, position: int) -> str:
        return f"{self._name}:{self.split}:{position}"


def open_table(place: str | Path, split: str | None, name: str) -> TableSource:
    """Open one split of a local folder or of a hub's data set.

    Args:
        place: a folder, or the id ``owner/name`` on the hub.
        split: ``None`` for the only one, else ``test``, else ``validation``.
        name: how messages call the data set.

    Raises:
        UnknownDataError: no data set, split or pictures there.
        HubUnreachableError: the hub does not answer.
        MissingExtraError: ``datasets`` is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            f"reading {name} needs the datasets library; install it with "
            "pip install 'fluoroscope[hub]'"
        ) from error
    local = isinstance(place, Path)
    path = str(place.resolve()) if isinstance(place, Path) else place
    with _quiet():
        if not local and not datasets.config.HF_HUB_OFFLINE:
            _require_hub(name, datasets.config.HF_ENDPOINT)
        try:
            data_files = _folder_splits(Path(path)) if local else None
            builder = datasets.load_dataset_builder(path, data_files=data_files)
            if builder.name not in FORMATS:
                raise UnknownDataError(
                    f"{name} holds {builder.name} files; expected Parquet or picture files"
                )
            chosen = _choose_split(split, _splits(builder), name)
            table = _prepare(builder, path, chosen)
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
    return TableSource(table, name, chosen)


def _prepare(builder: Any, path: str, split: str) -> Any:
    import datasets

    whole = (
        # Class folders of all splits are numbered together, and only their paths are copied.
        builder.name in ("imagefolder", "cache")
        or Path(builder.cache_dir).is_dir()
        or 0 < (builder.info.download_size or 0) <= WHOLE_BYTES
    )
    if whole:
        builder.download_and_prepare()
        return builder.as_dataset(split=split)
    return datasets.load_dataset(
        path,
        split=split,
        data_files={split: list(builder.config.data_files[split])},
        features=builder.info.features,
        verification_mode="no_checks",
    )


def _folder_splits(folder: Path) -> Mapping[str, list[str]] | None:
    """Which files make a split, where the library's own guess would go wrong; else ``None``.

    Left alone, it takes any file or folder whose name holds a word like "test" for a split and
    drops the rest: a class "test tube" would be all that is left of a folder of pictures. And of
    several data sets side by side it would make one.
    """
    if (folder / "README.md").exists():
        return None
    inside = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    parts = {entry.name: SPLIT_FOLDERS.get(entry.name.lower()) for entry in inside}
    tables = [file for kind in TABLES for file in (*folder.glob(kind), *folder.glob(f"*/{kind}"))]
    if tables:
        sets = sorted({file.parent.name for file in tables if parts.get(file.parent.name) is None})
        if len(sets) > 1:
            raise UnknownDataError(
                f"{folder} holds several data sets ({', '.join(sets)}); give one of their folders"
            )
        return None
    splits: dict[str, list[str]] = {}
    for entry in inside:
        part = parts[entry.name]
        if part is None or not entry.is_dir():
            return {"train": ["**"]}
        splits.setdefault(part, []).append(f"{entry.name}/**")
    return splits


def _splits(builder: Any) -> list[str]:
    known = builder.config.data_files or builder.info.splits or {}
    return [str(split) for split in known]


def _choose_split(wanted: str | None, available: list[str], name: str) -> str:
    preferred = [wanted] if wanted else ["test", "validation"]
    found = next((split for split in preferred if split in available), None)
    if found is None and wanted is None and len(available) == 1:
        return available[0]
    if found is None:
        listed = ", ".join(available) or "none"
        fault = f"has no split {wanted!r}" if wanted else "has several splits"
        raise UnknownDataError(f"{name} {fault}; expected one of: {listed}")
    return found


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
    """A column of class numbers. Names alone say nothing: each split would number them anew."""
    from datasets import ClassLabel, Value

    named = [column for column, feature in features.items() if isinstance(feature, ClassLabel)]
    for column in LABEL_COLUMNS:
        feature = features.get(column)
        if column in named or (isinstance(feature, Value) and "int" in feature.dtype):
            return column
    return named[0] if len(named) == 1 else None


def _fetch(path: str) -> bytes | Path:
    if not path.startswith("zip://"):
        return Path(path)
    import fsspec  # type: ignore[import-untyped]

    with fsspec.open(path, "rb") as file:  # zip://picture::archive
        return bytes(file.read())


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
