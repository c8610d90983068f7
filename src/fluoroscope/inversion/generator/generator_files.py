"""A generator as a directory: ``generator.safetensors`` with its weights and a few samples, and
last ``generator.json`` with all that its layers follow from and how it was made; nothing is pickled
and nothing of a file is run.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fluoroscope.inversion.generator.conditioning import conditioning
from fluoroscope.inversion.generator.network import Generator, Shape
from fluoroscope.sealed_files import Kind, read_sealed, write_sealed

KIND = Kind("generator", "generator", "generators")
_WEIGHTS, _SHOWN = "weights.", ("images", "classes", "codes")

Curve = tuple[dict[str, float], ...]


def save_generator(
    directory: str | Path,
    generator: Generator,
    curve: Curve,
    record: dict[str, Any],
    shown: dict[str, Tensor],
) -> list[Path]:
    """Write the files into a directory, made if need be; each appears whole or not at all.

    Raises:
        InvalidParameterError: the directory cannot be made or written to.
        StorageError: the disk is full, or refuses.
    """
    tensors = {f"{_WEIGHTS}{name}": value for name, value in generator.state_dict().items()}
    tensors |= {f"shown.{name}": value for name, value in shown.items()}
    content = {
        **record,
        "generator": {
            "shape": generator.shape.describe(),
            "conditioning": generator.conditioning.name,
            "classes": generator.conditioning.count,
            "temperature": generator.conditioning.temperature,
        },
        "curve": list(curve),
    }
    return write_sealed(KIND, directory, KIND.name, tensors, content)


def load_generator(
    directory: str | Path,
) -> tuple[Generator, Curve, dict[str, Any], tuple[Tensor, Tensor, Tensor] | None]:
    """The generator, its curve, its record and a few samples.

    Raises:
        ResultFormatError: files missing, broken, or of a newer version.
    """

    def made(
        record: dict[str, Any], tensors: dict[str, Tensor]
    ) -> tuple[Generator, Curve, dict[str, Any], tuple[Tensor, Tensor, Tensor] | None]:
        generator = _generator(record.pop("generator"), tensors)
        curve = tuple(
            {str(key): float(value) for key, value in row.items()} for row in record.pop("curve")
        )
        for name in ("format", "sha256"):
            del record[name]
        _check(record, generator)
        return generator, curve, record, _samples(tensors, generator)

    return read_sealed(KIND, directory, made)


def _generator(about: dict[str, Any], tensors: dict[str, Tensor]) -> Generator:
    """The layers by what the record says, with weights that fit them."""
    weights = {
        name.removeprefix(_WEIGHTS): value
        for name, value in tensors.items()
        if name.startswith(_WEIGHTS)
    }
    shape, count = Shape(**about["shape"]), about["classes"]
    if type(count) is not int:
        raise ValueError(f"classes is {count!r}")
    told, _ = conditioning(about["conditioning"], count)
    if told.soft:
        told, _ = conditioning(about["conditioning"], count, about["temperature"])
    with torch.device("meta"):
        generator = Generator(shape, told)
    if not all(bool(one.isfinite().all()) for one in weights.values()):
        raise ValueError("some of its weights are not finite")
    if any(
        one.dtype not in (torch.float32, torch.float64, torch.int64) for one in weights.values()
    ):
        raise ValueError("its weights are of another type than it was made with")
    generator.load_state_dict(weights, assign=True)
    return generator.eval().requires_grad_(False)


def _check(record: dict[str, Any], generator: Generator) -> None:
    """Whether the record has what is made use of, each of its kind."""
    count = generator.conditioning.count
    if len(record["labels"]) != count or not all(type(one) is str for one in record["labels"]):
        raise ValueError("labels are not one name for each class")
    if not all(type(one) is str for one in record["notes"]):
        raise ValueError("notes are not sentences")
    classes = record["classes"]
    if not classes or not all(type(one) is int and 0 <= one < count for one in classes):
        raise ValueError(f"classes are {classes!r}")
    if len(set(classes)) != len(classes):
        raise ValueError("a class is there twice")
    judged, settings = record["judged"], record["settings"]
    numbers: Sequence[Any] = [
        *(judged[name] for name in ("pictures", "accuracy", "confidence", "kl", "spread")),
        *settings["weights"].values(),
        settings["batch_size"],
        record["steps"],
        record["shape"]["dropout"],
    ]
    if not all(type(one) in (int, float) and math.isfinite(one) for one in numbers):
        raise ValueError("a number of the record is none")
    if not all(type(one) is str for one in judged.get("collapsed", [])):
        raise ValueError("collapsed are no names of classes")
    for name in ("model", "model_sha256", "preset"):
        if type(record[name]) is not str:
            raise ValueError(f"{name} is no text")
    if type(settings["conditioning"]) is not str:
        raise ValueError("conditioning is no text")


def _samples(
    tensors: dict[str, Tensor], generator: Generator
) -> tuple[Tensor, Tensor, Tensor] | None:
    if "shown.images" not in tensors:
        return None
    images, classes, codes = (tensors[f"shown.{name}"] for name in _SHOWN)
    shape, count, many = generator.shape, generator.conditioning.count, len(images)
    if images.shape != (many, shape.channels, shape.height, shape.width):
        raise ValueError(f"samples are of shape {tuple(images.shape)}")
    if classes.shape != (many,) or codes.shape != (many, count):
        raise ValueError("samples and their classes do not fit")
    if classes.dtype != torch.int64 or not bool(((classes >= 0) & (classes < count)).all()):
        raise ValueError("samples are of classes that there are not")
    if not images.is_floating_point() or not bool(((images >= 0) & (images <= 1)).all()):
        raise ValueError("samples are no pictures")
    return images, classes, codes
