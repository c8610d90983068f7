"""What the tests of users' cases share: small networks, pictures and the maps of them."""

import gc
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import fluoroscope as fs

LABELS = torch.tensor([0, 1, 2])
FIRST_ORDER = (
    "gradient",
    "gradient-x-input",
    "guided-backprop",
    "deconvolution",
    "deeplift",
    "lrp",
)
"""Methods of one pass back."""


def classifier(module: nn.Module, seed: int = 0) -> fs.Classifier:
    """A network that sees three colours of 8×8."""
    return fs.Classifier(module, channels=3, input_size=8)


def seeded(make: Callable[[], nn.Module]) -> fs.Classifier:
    torch.manual_seed(3)
    return classifier(make())


def pictures(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def maps(model: fs.Classifier | nn.Module, method: str, images: Tensor, **options: Any) -> Tensor:
    classes = options.pop("classes", LABELS[: len(images)])
    return fs.attribute(model, images, classes, method=method, **options).maps


def tensors_left(call: Callable[[], object]) -> int:
    """How many tensors a second call leaves behind that were not there before it.

    What was there is frozen, so that the collector has little to go through.
    """
    call()
    gc.freeze()
    try:
        call()
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())
    finally:
        gc.unfreeze()


def assert_rows_are_singles(model: fs.Classifier, method: str, **options: Any) -> None:
    images = pictures()
    together = maps(model, method, images, **options)
    for row in range(3):
        alone = maps(
            model, method, images[row : row + 1], classes=LABELS[row : row + 1],
            numbers=torch.tensor([row]), **options,
        )  # fmt: skip
        scale = float(together[row].abs().max())
        torch.testing.assert_close(together[row], alone[0], atol=1e-5 * scale, rtol=0)
