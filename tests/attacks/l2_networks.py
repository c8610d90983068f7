"""Small networks on which the closest success in L2 is known or can be watched."""

import math
from typing import Any

import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.stream import Step


def linear(
    classes: int, shape: tuple[int, ...], count: int, scale: float = 1.0, *, least: float
) -> tuple[fs.Classifier, Tensor, Tensor, Tensor]:
    """Images, the class each is predicted as, and its distance to every other ``(count, classes)``.

    The nearest is at least ``least`` away, and so near that its border lies in the box.
    """
    generator = torch.Generator().manual_seed(1)
    size = math.prod(shape)
    layer = nn.Linear(size, classes)
    layer.weight.data = scale * torch.randn(classes, size, generator=generator)
    layer.bias.data = -layer.weight.data.sum(1) / 2
    images = 0.3 + 0.4 * torch.rand(100, *shape, generator=generator)
    model = fs.Classifier(nn.Sequential(nn.Flatten(), layer), channels=shape[0])
    logits = model(images).detach()
    own = logits.argmax(1)
    normals = layer.weight.detach()[own][:, None] - layer.weight.detach()
    gaps = logits.gather(1, own[:, None]) - logits
    distance = (gaps / normals.norm(dim=2)).scatter(1, own[:, None], torch.inf)
    nearest = distance.amin(1)
    rows = ((nearest > least) & (nearest < 0.25)).nonzero().squeeze(1)[:count]
    assert len(rows) == count
    return model, images[rows], own[rows], distance[rows]


def curved(seed: int = 0, classes: int = 4) -> tuple[fs.Classifier, Tensor, Tensor]:
    """A small network, images with pixels at exactly 0 and 1, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, classes))
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    images = (1.4 * torch.rand(6, 3, 2, 2, generator=generator) - 0.2).clamp(0, 1).double()
    model = fs.Classifier(module.double())
    return model, images, model(images).detach().argmax(1)


def path(attack: Any, model: fs.Classifier, images: Tensor, classes: Tensor, **how: Any) -> Any:
    """The images each sample was evaluated at, ``[(evaluations, C, H, W), ...]``."""
    seen: list[list[Tensor]] = [[] for _ in images]

    def note(step: Step) -> None:
        for index, image in zip(step.indices.tolist(), step.images, strict=True):
            seen[index].append(image)

    result = attack(model, images, classes, on_step=note, **how)
    return result, [torch.stack(one) for one in seen]
