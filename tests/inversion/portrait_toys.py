"""Small networks whose every number can be told, and the views of portraits as goals see them."""

import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.inside import Place, Seen
from fluoroscope.inversion.portraits.objectives.goal import Views


def views(
    outputs: dict[str, Tensor] | dict[Place, Tensor] | None = None,
    *,
    logits: Tensor | None = None,
    classes: list[int] | None = None,
    copies: int = 1,
    towards: list[int] | None = None,
) -> Views:
    """Views as a network would have seen them."""
    outputs = outputs or {}
    some = [*outputs.values(), *([] if logits is None else [logits])]
    count = len(some[0])
    kind = some[0].dtype
    named = {each if isinstance(each, Place) else Place(each): o for each, o in outputs.items()}
    asked = torch.tensor([-1] * count if classes is None else classes)
    return Views(
        Seen(torch.zeros(count, 3, dtype=kind) if logits is None else logits, asked, named),
        torch.arange(count) // copies,
        copies,
        torch.tensor([1] * count if towards is None else towards, dtype=kind),
    )


def normed(seed: int = 0, channels: int = 3) -> fs.Classifier:
    """A network of true batch norm, in float64."""
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 5, 3, stride=2), nn.BatchNorm2d(5), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3),
    )  # fmt: skip
    module.train()
    for _ in range(5):
        module(torch.rand(16, channels, 8, 8))
    return fs.Classifier(module.double().eval(), channels=channels, input_size=8)
