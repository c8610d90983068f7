"""Where the reproductions' pictures and networks come from, and where their tables go."""

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

import fluoroscope as fs

PAGE = Path("docs/reproductions.md")
SHARED = Path("../shared")
IMAGENET = SHARED / "data" / "imagenet_sample"
NETWORKS = {
    "MobileNet v1 0.75": SHARED / "models" / "mobilenet_v1_0.75_224",
    "MobileNet v2 1.0": SHARED / "models" / "mobilenet_v2_1.0_224",
}


@cache
def mnist(split: str, limit: int | None = None) -> tuple[Tensor, Tensor]:
    """Pictures ``(N, 1, 28, 28)`` and labels ``(N,)`` of MNIST; it fits into memory."""
    images = fs.load_images(SHARED / "data" / "mnist", split, channels=1)
    if limit is not None:
        images = images.take(limit, first=True)
    batches = list(images.batches(1000))
    return torch.cat([b.images for b in batches]), torch.cat([b.labels for b in batches])


def imagenet(model: fs.Classifier, label: str) -> Tensor:
    """The sample's picture of a class, ``(C, H, W)`` as the network sees it."""
    index = model.find_class(label)
    sample = fs.open_image(f"{IMAGENET}:validation:{index}", channels=model.channels)
    return model.fit(sample.image)


def held(fact: bool) -> str:
    """Whether a gate holds, for a table."""
    return "yes" if fact else "**no**"
