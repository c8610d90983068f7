"""What is known of the pictures that a network is for, before one is made.

Mean, spread and colour root fix the scale on which a portrait is painted; the magnitudes are those
of :mod:`.portraits.parameterisations` that hold them; layer statistics are for the priors that
compare with real pictures. :func:`.prior_fitting.fit_prior` measures all this.
"""

from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fluoroscope.engine.inside import Place
from fluoroscope.files import user_path
from fluoroscope.sealed_files import Kind, read_sealed, write_sealed

_KIND = Kind("prior", "prior", "priors")


@dataclass(frozen=True)
class LayerStatistics:
    """Of the channels at one place in a network, over pictures and places; both ``(K,)``."""

    place: Place
    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class DataPrior:
    """Statistics of real pictures in ``[0, 1]``; all tensors are float32 on the CPU."""

    name: str
    """Where it comes from, such as ``natural`` or a data set's name."""
    mean: Tensor
    """``(C,)``, of each channel."""
    gain: float
    """The standard deviation of the pixels."""
    colour: Tensor
    """``(C, C)``, root of the covariance of the channels within a picture, whose longest column has
    length 1: colours are ``colour @ t`` of decorrelated ``t``."""
    decay: float = 1.0
    """How the mean magnitude of a frequency ``f`` falls: as ``f ** -decay``."""
    magnitude: Tensor | None = None
    """``(C, H, W // 2 + 1)``, the mean of ``|rfft2|`` (orthonormal) of decorrelated channels, which
    are ``inverse(colour) @ (picture - mean)``, at the network's own size."""
    size: tuple[int, int] | None = None
    """``(H, W)`` of the pictures that the magnitudes are of."""
    layers: tuple[LayerStatistics, ...] = ()
    """What layers of a network make of the pictures."""
    record: dict[str, Any] = field(default_factory=dict)
    """Of which pictures, how many, and which network's layers these are."""

    def save(self, path: str | Path) -> list[Path]:
        """Write ``path`` as ``.json`` and ``.safetensors``; each appears whole or not at all.

        Raises:
            InvalidParameterError: nothing can be written there.
            StorageError: the disk is full, or refuses.
        """
        target = user_path(path)
        name = target.stem if target.suffix in (".json", ".safetensors") else target.name
        tensors = {each: getattr(self, each) for each in ("mean", "colour")}
        if self.magnitude is not None:
            tensors["magnitude"] = self.magnitude
        for number, layer in enumerate(self.layers):
            tensors[f"layer {number} mean"] = layer.mean
            tensors[f"layer {number} variance"] = layer.variance
        record = {
            "name": self.name,
            "gain": self.gain,
            "decay": self.decay,
            "size": self.size,
            "layers": [[layer.place.layer, layer.place.given] for layer in self.layers],
            "record": self.record,
        }
        return write_sealed(_KIND, target.parent, name, tensors, record)

    @classmethod
    def load(cls, path: str | Path) -> "DataPrior":
        """What was saved there.

        Raises:
            ResultFormatError: files missing, broken, or of a newer version.
        """
        there = user_path(path)
        bare = there.suffix not in (".json", ".safetensors")
        if not there.is_dir() and there.suffix != ".json" and not (bare and there.is_file()):
            stem = there if bare else there.with_suffix("")
            there = stem.with_name(f"{stem.name}.json")
        return read_sealed(_KIND, there, _made)


def _made(record: dict[str, Any], tensors: dict[str, Tensor]) -> DataPrior:
    """A prior of what a file holds, if it can be one."""
    tensors = {name: found.float() for name, found in tensors.items()}
    size, magnitude = record["size"], tensors.get("magnitude")
    prior = DataPrior(
        str(record["name"]),
        tensors["mean"],
        float(record["gain"]),
        tensors["colour"],
        float(record["decay"]),
        magnitude,
        None if size is None else (int(size[0]), int(size[1])),
        tuple(
            LayerStatistics(
                Place(str(layer), bool(given)),
                tensors[f"layer {number} mean"],
                tensors[f"layer {number} variance"],
            )
            for number, (layer, given) in enumerate(record["layers"])
        ),
        dict(record["record"]),
    )
    _check(prior, tensors)
    return prior


def _check(prior: DataPrior, tensors: dict[str, Tensor]) -> None:
    channels = len(prior.mean)
    wanted: dict[str, tuple[int, ...]] = {"mean": (channels,), "colour": (channels, channels)}
    if prior.magnitude is not None:
        if prior.size is None:
            raise ValueError("magnitudes of no size")
        wanted["magnitude"] = (channels, prior.size[0], prior.size[1] // 2 + 1)
    for number, layer in enumerate(prior.layers):
        many = layer.mean.shape[:1]
        wanted |= {f"layer {number} mean": many, f"layer {number} variance": many}
    for name, shape in wanted.items():
        if tuple(tensors[name].shape) != shape or not channels:
            raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}")
    if not all(bool(found.isfinite().all()) for found in tensors.values()):
        raise ValueError("it holds numbers that are not finite")
    if not (0 < prior.gain < inf and 0 <= prior.decay < inf):
        raise ValueError(f"gain is {prior.gain} and decay {prior.decay}")
    if not bool(((prior.mean >= 0) & (prior.mean <= 1)).all()):
        raise ValueError("its mean is not within 0 and 1")
    held = [layer.variance for layer in prior.layers]
    held += [] if prior.magnitude is None else [prior.magnitude]
    if any(bool((found < 0).any()) for found in held):
        raise ValueError("it holds magnitudes or variances below 0")
    if float(torch.linalg.svdvals(prior.colour)[-1]) == 0:
        raise ValueError("its colours are not all there")
