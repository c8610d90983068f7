"""What corrupting pictures costs beside the network that looks at them."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import fluoroscope as fs
from benchmarks.page import PAGE, Scale, Section
from benchmarks.peers import SHARED
from benchmarks.timing import interleaved
from fluoroscope.evaluation.corruptions.catalogue import (
    FIFTEEN,
    SEVERITIES,
    corrupted,
    suitable_scale,
)

_LARGE = "mobilenet_v1_0.75_224"


def corruptions(scale: Scale) -> Section:
    """All fifteen at five severities, over the network's answers to what comes of them."""
    section = Section(PAGE, "corruptions", "Corruptions")
    section.text(
        "Each of the fifteen common corruptions at its five severities, on one thread: seconds "
        "over those that the network takes for as many pictures."
    )
    beds = [("`digits-cnn`", fs.load_model("digits-cnn"), scale.limit or 100)]
    if (SHARED / "models" / _LARGE).is_dir():
        beds.append((f"`{_LARGE}`", fs.load_model(SHARED / "models" / _LARGE), scale.limit or 20))
    columns: list[dict[str, str]] = []
    for _, model, count in beds:
        images = _smooth(count, model.channels, model.input_size or (224, 224))
        ways: dict[str, Callable[[], object]] = {
            name: partial(_all, images, name) for name in FIFTEEN
        }
        ways["network"] = partial(_answers, model, images)
        timing = interleaved(ways, scale.repeats or 3, threads=1)
        found = {name: timing.ratio(name, "network") for name in FIFTEEN}
        columns.append(
            {name: f"{ratio:.2f}" for name, ratio in found.items()}
            | {"*mean*": f"{sum(found.values()) / len(found):.2f}"}
        )
    section.table(
        ["", *(f"{name}, {count} pictures>" for name, _, count in beds)],
        [[name, *(column[name] for column in columns)] for name in columns[0]],
    )
    return section


def _smooth(count: int, channels: int, size: tuple[int, int]) -> Tensor:
    coarse = torch.rand(count, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)


def _all(images: Tensor, name: str) -> None:
    scale = suitable_scale(images.shape[2:])
    for _ in corrupted(images, name, SEVERITIES, scale=scale, seed=0, numbers=None):
        pass


def _answers(model: fs.Classifier, images: Tensor) -> None:
    for _ in SEVERITIES:
        fs.predict(model, images)
