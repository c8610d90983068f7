"""Small networks of every kind that a report must cope with."""

import torch
from torch import nn

import fluoroscope as fs

MARKUP = '<script>alert("1")</script> & <b>bold</b>'


def small(
    classes: int, *, channels: int = 3, side: int = 16, labels: list[str] | None = None
) -> tuple[fs.Classifier, torch.Tensor, torch.Tensor]:
    """A network that reads its own pictures right, mostly, and those pictures with labels."""
    torch.manual_seed(classes)
    module = nn.Sequential(
        nn.Conv2d(channels, 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * (side // 2) ** 2, classes),
    ).eval()
    model = fs.Classifier(
        module, input_size=side, channels=channels, labels=labels, name=f"small-{classes}"
    )
    images = torch.rand(24, channels, side, side)
    read = fs.predict(model, images).winners
    wrong = (read + 1) % classes
    return model, images, torch.where(torch.arange(24) % 8 == 0, wrong, read)
