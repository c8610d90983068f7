"""Networks that not every method fits, in a studio without a server; and how jobs run there."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fluoroscope import load_images
from fluoroscope.models.classifier import Classifier
from fluoroscope.studio.jobs.job import Job
from fluoroscope.studio.kinds.registry import KINDS
from fluoroscope.studio.networks import Networks
from fluoroscope.studio.pictures import Pictures
from fluoroscope.studio.studio import Studio


class Functions(nn.Module):
    """ReLUs as functions, and a norm that is no batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, stride=2)
        self.norm, self.last = nn.GroupNorm(4, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.norm(self.two(F.relu(self.one(x)))))
        return self.last(F.relu(x).mean((2, 3)))


class Steps(nn.Module):
    """No gradient reaches the pixels, and there is no layer."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1)[:, 300:310] > 0.5).float()


class Transformer(nn.Module):
    """Patches as tokens, and a mean over them."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 16, 7, stride=7)
        self.block = nn.TransformerEncoderLayer(16, 2, 24, activation="gelu", batch_first=True)
        self.last = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.block(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


MAKERS: dict[str, Any] = {
    "functions": Functions,
    "few": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 4)),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
    "steps": Steps,
    "transformer": Transformer,
}


def studio(generator: Path | None = None) -> Studio:
    """All of them are on offer there, with digits."""

    def loader(name: str) -> Any:
        def load() -> Classifier:
            torch.manual_seed(0)
            return Classifier(MAKERS[name](), name=name, channels=1, input_size=(28, 28))

        return load

    given = {name: loader(name) for name in MAKERS}
    digits = load_images("digits", channels=1)
    return Studio(
        Networks(given), Pictures({"digits": lambda channels: digits}), generator=generator
    )


class Told(Job):
    """A job that keeps what it tells, and may be cancelled at an event."""

    def __init__(self, kind: str, asked: Any, cancel_at: str = "") -> None:
        super().__init__(kind, "somebody", asked)
        self.told: list[dict[str, Any]] = []
        self.cancel_at = cancel_at

    def tell(
        self, name: str, data: dict[str, Any], *, frames: dict[str, Any] | None = None,
        matters: bool = False,
    ) -> None:  # fmt: skip
        """Also keep it."""
        super().tell(name, data, frames=frames, matters=matters)
        self.told.append({"event": name, **data, **({"frames": frames} if frames else {})})
        if name == self.cancel_at:
            self.cancel()


def run(place: Studio, *, cancel_at: str = "", **asked: Any) -> list[dict[str, Any]]:
    """What a job tells; errors and its cancelling come through."""
    kind = next(one for one in KINDS if one.name == asked["kind"])
    request = kind.request.model_validate(asked)
    job = Told(kind.name, request, cancel_at)
    kind.work(place, job, request)
    return job.told
