"""Pictures as a Parquet file that `load_images` opens, and the ``datasets`` library too."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet
from torch import Tensor

from fluoroscope.files import atomic_path
from fluoroscope.pictures.write import to_pil

# Pictures of a file that are encoded at a time.
_AT_ONCE = 500


def as_png(image: Tensor) -> bytes:
    """A picture ``(C, H, W)`` in ``[0, 1]``, grey or RGB, as the bytes of a PNG."""
    file = io.BytesIO()
    to_pil(image).save(file, "PNG")
    return file.getvalue()


def picture_column(pictures: Sequence[tuple[str, Tensor]]) -> pa.Array:
    """Of names and pictures the column that both readers know as pictures."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": as_png(image), "path": name} for name, image in pictures], kind)


def features(
    columns: Mapping[str, pa.DataType], classes: Sequence[str], names: Sequence[str]
) -> bytes:
    """What the columns are, as the ``datasets`` library reads it: ``image`` holds pictures, and
    those of ``classes`` numbers of these names.
    """
    called = {"double": "float64"}
    kinds: dict[str, Any] = {
        name: {"_type": "Value", "dtype": called.get(str(kind), str(kind))}
        for name, kind in columns.items()
    }
    kinds["image"] = {"_type": "Image"}
    kinds |= {one: {"_type": "ClassLabel", "names": list(names)} for one in classes}
    return json.dumps({"info": {"features": kinds}}, ensure_ascii=False).encode()


def write_pictures(path: Path, images: Tensor, labels: Tensor, names: Sequence[str]) -> None:
    """Write labelled pictures, whole or not at all.

    Args:
        path: ending in ``.parquet``.
        images: ``(N, C, H, W)`` of 1 or 3 channels, 8-bit.
        labels: ``(N,)``, the class of each.
        names: of the classes.

    Raises:
        StorageError: the disk is full, or refuses.
    """
    kind = picture_column([]).type
    about = {b"huggingface": features({"image": kind, "label": pa.int64()}, ["label"], names)}
    schema = pa.schema([("image", kind), ("label", pa.int64())], about)
    with atomic_path(path) as draft, parquet.ParquetWriter(draft, schema) as file:
        for start in range(0, len(images), _AT_ONCE):
            part = images[start : start + _AT_ONCE]
            named = [(f"{start + at}.png", image.float() / 255) for at, image in enumerate(part)]
            own = pa.array(labels[start : start + _AT_ONCE].tolist(), pa.int64())
            file.write_table(pa.Table.from_arrays([picture_column(named), own], schema=schema))
