"""A morph as a directory of files that a person can look at and a program can read back.

``slide.png``, ``original.png``, ``result.png``, ``difference.png`` (signed), ``curve.png`` and
``curve.svg``, ``morph.gif`` if wanted, ``morph.safetensors`` (the exact floats) and last
``morph.json``: where it stands, the rest is whole. Pictures of other than one channel or three show
a choice of them, which ``morph.json`` names.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from safetensors import SafetensorError
from torch import Tensor

from fluoroscope.errors import ResultFormatError
from fluoroscope.files import atomic_path, output_directory, regular, remove, user_path
from fluoroscope.pictures.maps import signed_map, write_figure
from fluoroscope.pictures.write import enlarged, to_pil, write_gif, write_png
from fluoroscope.tensor_files import read_tensors, seal_of, write_tensors

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")
TENSORS = (
    "original", "image", "frames", "frame_steps", "probabilities", "objective", "l0", "l2", "linf"
)  # fmt: skip
"""Those of a morph, by name."""
_FORMAT = 1


def save_morph(
    directory: str | Path,
    *,
    tensors: dict[str, Tensor],
    record: dict[str, Any],
    slide: "Image",
    figure: Any,
    captions: list[str] | None,
) -> list[Path]:
    """Write the files into a directory, made if need be; each appears whole or not at all.

    Args:
        directory: where to.
        tensors: those of `TENSORS`, as a :class:`.MorphResult` describes them.
        record: what ``morph.json`` says beside the format.
        slide: the picture for a slide.
        figure: the curve.
        captions: of the frames of the GIF, where there is to be one.

    Returns:
        The paths written.

    Raises:
        InvalidParameterError: the directory cannot be made or written to.
    """
    out = output_directory(directory)
    remove(out / "morph.json")
    if captions is None:
        remove(out / "morph.gif")
    difference, _ = signed_map(tensors["image"] - tensors["original"])
    written = [
        write_png(out / "slide.png", slide),
        write_png(out / "original.png", tensors["original"]),
        write_png(out / "result.png", tensors["image"]),
        write_png(out / "difference.png", enlarged(to_pil(difference))),
    ]
    written += [write_figure(out / name, figure) for name in ("curve.png", "curve.svg")]
    if captions is not None:
        written.append(write_gif(out / "morph.gif", list(tensors["frames"]), captions))
    written.append(out / "morph.safetensors")
    seal = write_tensors(written[-1], tensors)
    with atomic_path(out / "morph.json") as draft:
        sealed = {"format": _FORMAT, **record, "sha256": seal}
        draft.write_text(json.dumps(sealed, indent=1, ensure_ascii=False), encoding="utf-8")
    return [*written, out / "morph.json"]


def load_morph(directory: str | Path, made: Callable[[dict[str, Any], dict[str, Tensor]], T]) -> T:
    """What ``made`` makes of the record and tensors that :func:`save_morph` wrote.

    Raises:
        ResultFormatError: files missing, broken, or of a newer version.
    """
    folder = user_path(directory)
    try:
        record = json.loads(regular(folder / "morph.json").read_text(encoding="utf-8"))
        if record["format"] > _FORMAT:
            raise ResultFormatError(
                f"{folder} was written in format {record['format']}; this version reads up to "
                f"{_FORMAT}: install a newer fluoroscope"
            )
        tensors, about = read_tensors(folder / "morph.safetensors")
        if record["sha256"] != seal_of(tensors, about):
            raise ValueError("morph.json and morph.safetensors are of two morphs")
        _check_shapes(tensors, len(record["labels"]))
        return made(record, {name: tensors[name] for name in TENSORS})
    except OSError as error:
        raise ResultFormatError(
            f"{folder} holds no morph: {error}; expected morph.json and morph.safetensors"
        ) from error
    # Whatever a parser makes of what is no morph's.
    except (ValueError, LookupError, TypeError, RecursionError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ResultFormatError(f"{folder} holds a broken morph: {reason}; make it anew") from error


def _check_shapes(tensors: dict[str, Tensor], classes: int) -> None:
    steps = len(tensors["probabilities"])
    shape = tuple(tensors["original"].shape)
    frames = len(tensors["frame_steps"])
    wanted = {
        "original": shape,
        "image": shape,
        "frames": (frames, *shape),
        "frame_steps": (frames,),
        "probabilities": (steps, classes),
        **dict.fromkeys(("objective", "l0", "l2", "linf"), (steps,)),
    }
    for name, expected in wanted.items():
        if tuple(tensors[name].shape) != expected:
            raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, not {expected}")
    if int(tensors["frame_steps"].amax()) >= steps:
        raise ValueError("a frame belongs to no step")
