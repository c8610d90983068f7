"""Twelve networks as strangers have them. All but the last look where a picture is bright.

Pictures are 8×8 and grey; the classes are the sides of the picture that are bright.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

import fluoroscope as fs

SIDES = ("east", "north", "south", "west")


class Sides(nn.Module):
    """Right by construction: the mean of each quarter, weighed for each side."""

    def __init__(self, before: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__()
        self.before = before
        self.quarters = nn.AvgPool2d(4)
        self.head = nn.Linear(4, 4)
        with torch.no_grad():
            # Quarters go row by row: north-west, north-east, south-west, south-east.
            east, north = torch.tensor([-1.0, 1, -1, 1]), torch.tensor([1.0, 1, -1, -1])
            self.head.weight.copy_(4 * torch.stack((east, north, -north, -east)))
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.quarters(self.before(x)).flatten(1))


class OneOutput(Sides):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :1]


class Probabilities(Sides):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class NotANumber(Sides):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.nan


class BatchesOfFour(Sides):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.view(4, 1, 8, 8))


class WritesBuffers(Sides):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return super().forward(x)


class Untrained(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def scaled(x: Tensor) -> Tensor:
    """As batch norm without statistics of its own: an answer depends on the whole batch."""
    return x / x.mean() * 0.45


def raising(x: Tensor) -> Tensor:
    return x.view(len(x), 3, 5)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "logits": Sides,
    "one output": OneOutput,
    "probabilities": Probabilities,
    "bfloat16": lambda: Sides().to(torch.bfloat16),
    "depends on the batch": lambda: Sides(scaled),
    "draws at random": lambda: Sides(lambda x: nn.functional.dropout(x, 0.2)),
    "gradient 0": lambda: Sides(lambda x: (x * 4).round() / 4),
    "gradient not finite": lambda: Sides(lambda x: (x ** (1 / 2.2)) ** 2.2),
    "raises": lambda: Sides(raising),
    "batches of four": BatchesOfFour,
    "not a number": NotANumber,
    "untrained": Untrained,
}


def network(name: str) -> fs.Classifier:
    """The network as a user would wrap it."""
    return fs.Classifier(NETWORKS[name]().eval(), channels=1, input_size=8, labels=SIDES, name=name)


def __getattr__(name: str) -> Callable[[], nn.Module]:
    """The same for names of the form ``python:tests.your_own_network.networks:one_output``."""
    try:
        return NETWORKS[name.replace("_", " ")]
    except KeyError:
        raise AttributeError(name) from None
