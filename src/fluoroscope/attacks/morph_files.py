"""A morph as a directory of files that a person can look at and a program can read back.

``slide.png``, ``original.png``, ``result.png``, ``difference.png`` (signed), ``curve.png`` and
``curve.svg``, ``morph.gif`` if wanted, ``morph.safetensors`` (the exact floats) and last
``morph.json``: where it stands, the rest is whole. Pictures of other than one channel or three show
a choice of them, which ``morph.json`` names.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from safetensors import SafetensorError
from torch import Tensor

from fluoroscope.attacks.morph import MorphPlan, MorphResult
from fluoroscope.errors import ResultFormatError
from fluoroscope.files import atomic_path, output_directory, regular, remove, user_path
from fluoroscope.pictures.curves import probability_curves
from fluoroscope.pictures.maps import signed_map, write_figure
from fluoroscope.pictures.write import enlarged, to_pil, write_gif, write_png
from fluoroscope.tensor_files import read_tensors, seal_of, write_tensors

_TENSORS = (
    "original", "image", "frames", "frame_steps", "probabilities", "objective", "l0", "l2", "linf"
)  # fmt: skip
_FORMAT = 1


def save_morph(result: MorphResult, directory: str | Path, *, gif: bool = True) -> list[Path]:
    """Write the files into a directory, made if need be; each appears whole or not at all.

    Returns:
        The paths written.

    Raises:
        InvalidParameterError: the directory cannot be made or written to.
    """
    out = output_directory(directory)
    remove(out / "morph.json")
    if not gif:
        remove(out / "morph.gif")
    difference, _ = signed_map(result.image - result.original)
    written = [
        write_png(out / "slide.png", result.slide()),
        write_png(out / "original.png", result.original),
        write_png(out / "result.png", result.image),
        write_png(out / "difference.png", enlarged(to_pil(difference))),
    ]
    figure = morph_figure(result)
    written += [write_figure(out / name, figure) for name in ("curve.png", "curve.svg")]
    if gif:
        written.append(write_gif(out / "morph.gif", list(result.frames), _captions(result)))
    written.append(out / "morph.safetensors")
    seal = write_tensors(written[-1], {name: getattr(result, name) for name in _TENSORS})
    with atomic_path(out / "morph.json") as draft:
        record = {
            "format": _FORMAT,
            **result.describe(),
            "labels": list(result.labels),
            "sha256": seal,
        }
        draft.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
    return [*written, out / "morph.json"]


def load_morph(directory: str | Path) -> MorphResult:
    """Read back what :func:`save_morph` wrote.

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
        return MorphResult(
            model=TypeAdapter(str).validate_python(record["model"]),
            labels=TypeAdapter(tuple[str, ...]).validate_python(record["labels"]),
            plan=TypeAdapter(MorphPlan).validate_python(record["plan"]),
            provenance=TypeAdapter(dict[str, Any]).validate_python(record["provenance"]),
            **{name: tensors[name] for name in _TENSORS},
        )
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


def morph_figure(result: MorphResult) -> Any:
    """Probability against step for the classes that mattered, way stations marked."""
    names = result.labels
    title = f"{names[result.winners[0]]} → {names[result.plan.target]}"
    if result.plan.mode != "to":
        title = f"{names[result.winners[0]]}, away from {names[result.plan.target]}"
    return probability_curves(
        result.probabilities,
        names,
        always=list(dict.fromkeys([result.winners[0], result.plan.target])),
        stations=result.way_stations,
        title=title,
    )


def _captions(result: MorphResult) -> list[str]:
    shown = [(step, result.winners[step]) for step in result.frame_steps.tolist()]
    return [
        f"{result.labels[c]} · {100 * result.probabilities[step, c]:.0f} %" for step, c in shown
    ]
