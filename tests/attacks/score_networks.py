"""Small networks for attacks that read scores, and what such an attack looked at."""

import math
from typing import Any

import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.result import AttackResult
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.stream import Samples, Step


class NoWayBack(torch.autograd.Function):
    """Gives its input, and no gradient to anyone."""

    @staticmethod
    def forward(_: Any, logits: Tensor) -> Tensor:
        return logits.clone()

    @staticmethod
    def backward(_: Any, *__: Tensor) -> Tensor:
        raise AssertionError("a gradient was asked for")


class Watched(nn.Module):
    """A network that counts the images it is shown, and has no gradient to give."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.shown = module, 0

    def forward(self, images: Tensor) -> Tensor:
        assert images.min() >= 0
        assert images.max() <= 1
        self.shown += len(images)
        found: Tensor = NoWayBack.apply(self.module(images))
        return found


def network(shape: tuple[int, ...] = (3, 5, 4), classes: int = 4, seed: int = 0) -> fs.Classifier:
    generator = torch.Generator().manual_seed(seed)
    size = math.prod(shape)
    module = nn.Sequential(nn.Flatten(), nn.Linear(size, 24), nn.Tanh(), nn.Linear(24, classes))
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 2
    return fs.Classifier(Watched(module.double()), channels=shape[0])


def pictures(count: int, shape: tuple[int, ...] = (3, 5, 4), seed: int = 0) -> Tensor:
    """With pixels at exactly 0 and 1 among them."""
    generator = torch.Generator().manual_seed(seed)
    return (1.4 * torch.rand(count, *shape, generator=generator) - 0.2).clamp(0, 1).double()


def paths(
    attack: Method, model: fs.Classifier, images: Tensor, classes: Tensor, **how: Any
) -> tuple[AttackResult, list[Tensor]]:
    """The result, and what each sample was evaluated at, ``[(evaluations, C, H, W), ...]``."""
    seen: list[list[Tensor]] = [[] for _ in images]

    def note(step: Step) -> None:
        for index, image in zip(step.indices.tolist(), step.images, strict=True):
            seen[index].append(image)

    result = attack(model, images, classes, on_step=note, **how)
    return result, [torch.stack(path) if path else images[:0] for path in seen]


def begin(attack: Any, images: Tensor, seed: int = 0, towards: float = -1.0) -> Any:
    """The first state of searches on these images, away from class 0."""
    number = torch.arange(len(images))
    signs, keys = torch.full((len(images),), towards), randomness.keys(seed, number)
    return attack.start(Samples(images, 0 * number, signs, number, keys, 0 * number))


def told(attack: Any, state: Any, values: list[float] | Tensor) -> Any:
    """The state after these objectives; the logits read nothing as wanted."""
    logits = torch.tensor([[1.0, 0.0]]).expand(len(values), -1)
    return attack.tell(state, Answer(logits, torch.as_tensor(values).double()))


def art_estimator(model: fs.Classifier, *, probabilities: bool = False) -> Any:
    """The built-in network of digits as ART wants it."""
    from art.estimators.classification import PyTorchClassifier

    module = model.module.eval()
    module = nn.Sequential(module, nn.Softmax(1)) if probabilities else module
    return PyTorchClassifier(
        module, nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0, 1), device_type="cpu"
    )
