"""What a search does beside its passes is counted in operations, which no busy machine bends."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import fluoroscope as fs


class _Counted(TorchDispatchMode):
    """How many operations there were, and how many that gave out something of a shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.all, self.large = shape, 0, 0

    def __torch_dispatch__(self, called, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        found = called(*args, **(kwargs or {}))
        # A view costs next to nothing, whatever its size.
        self.all += 1
        views = ("detach", "view", "expand", "alias", "t", "unsqueeze", "squeeze")
        name = called.overloadpacket.__name__
        made = isinstance(found, Tensor) and name not in views
        self.large += made and tuple(found.shape) == self.shape
        return found


def _counts(work: Callable[[], object], shape: tuple[int, ...]) -> tuple[int, int]:
    with _Counted(shape) as counted:
        work()
    return counted.all, counted.large


@pytest.mark.parametrize(
    ("name", "options", "most", "pixels"),
    [("pgd", {"step_size": 0.01}, 57, 4), ("apgd", {}, 107, 16)],
)
def test_a_step_does_little_beside_its_passes(
    name: str, options: dict[str, float], most: int, pixels: int
) -> None:
    """One forward and one backward pass, so many operations, and so few of the images' size."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 3)
    ).eval()
    model = fs.Classifier(module.requires_grad_(False), input_size=8)
    images = torch.rand(5, 1, 8, 8)
    shape, classes = tuple(images.shape), model(images).argmax(1)

    def search(steps: int) -> Callable[[], object]:
        attack = fs.attack(name, eps=1e-4, steps=steps, **options)
        return lambda: attack(model, images, classes, keep="last")

    def bare() -> None:
        pixels = images.detach().requires_grad_()
        torch.autograd.grad(module(pixels).sum(), pixels)

    search(1)()  # the network is looked at
    one, other, floor = (_counts(work, shape) for work in (search(23), search(24), bare))
    all_of_them, large = (b - a - c for a, b, c in zip(one, other, floor, strict=True))
    assert all_of_them <= most
    assert large <= pixels
