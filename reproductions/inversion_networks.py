"""Three CIFAR-10 networks of true batch norm for the inversion: plain, robust, and a judge.

The plain and the robust one are of one architecture and seed, so that what differs between their
pictures is what they were trained on. The judge, which is asked about pictures that were made on
the others, is of another architecture and seed. They are trained when they are first asked for and
kept as those of ``cifar.py`` are; ``python -m reproductions.inversion_networks [NAME ...]`` trains
them without measuring anything, and goes on where it was stopped.
"""

import sys
from dataclasses import replace

import torch
from torch import Tensor, nn

import fluoroscope as fs
from benchmarks.page import Section
from fluoroscope.engine.threats import Linf
from fluoroscope.training.losses.adversarial import PGDLoss
from fluoroscope.training.trainer.recipe import Recipe
from reproductions.cifar import (
    ATTACKED,
    EPS,
    SHIFT,
    Training,
    augment,
    cifar,
    cifar_network,
    rate,
    record,
)
from reproductions.sources import PAGE


class Residual(nn.Module):
    """A convolution whose answer is added to what it was given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = _convolution(width, width)

    def forward(self, images: Tensor) -> Tensor:
        """``(N, width, H, W)``, as given."""
        return images + self.convolution(images)


def strided(outputs: int = 10) -> nn.Module:
    """Strides make it small, the mean is taken at the end; 289,418 weights."""
    return nn.Sequential(
        *(_convolution(3, 32, 4, 2), Residual(32)),
        *(_convolution(32, 64, 3, 2), Residual(64)),
        *(_convolution(64, 128, 3, 2), Residual(128)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, outputs)),
    )


def pooled() -> nn.Module:
    """The largest of each square makes it small, and is taken at the end; 280,138 weights."""
    return nn.Sequential(
        *(_convolution(3, 32, 4, 2), _convolution(32, 64), nn.MaxPool2d(2), Residual(64)),
        *(_convolution(64, 128), nn.MaxPool2d(2), Residual(128)),
        *(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(128, 10)),
    )


_PLAIN = Recipe(epochs=8, learning_rate=5e-3, weight_decay=0.02, augment=augment)
_ROBUST = replace(_PLAIN, epochs=5, weight_decay=0.0)
TRAININGS = {
    "inversion-plain": Training(_PLAIN, make=strided, seed=1),
    "inversion-robust": Training(
        _ROBUST, PGDLoss(threat=Linf(EPS), steps=1, ramp=0.4), make=strided, seed=1
    ),
    "inversion-judge": Training(replace(_PLAIN, epochs=7), make=pooled, seed=2),
}


def plain() -> fs.Classifier:
    """Trained on clean pictures."""
    return network("inversion-plain")


def robust() -> fs.Classifier:
    """Trained on pictures moved by PGD within ``EPS``."""
    return network("inversion-robust")


def judge() -> fs.Classifier:
    """Trained on clean pictures, of another architecture, order and start than the other two."""
    return network("inversion-judge")


def network(name: str) -> fs.Classifier:
    """One of :data:`TRAININGS`, trained now if it was not before."""
    return cifar_network(name, TRAININGS[name])


def section() -> Section:
    """How they were made, and how good they are."""
    page = Section(PAGE, "inversion-networks", "Three CIFAR-10 networks to look into")
    images, labels = cifar("test")
    images = images / 255
    rows = []
    for name in TRAININGS:
        model, noted = network(name), record(name)
        right = int((fs.predict(model, images, batch_size=500).winners == labels).sum())
        pgd = fs.attack("pgd", eps=EPS, steps=50)(model, images[:ATTACKED], labels[:ATTACKED])
        stood = int((~pgd.success).sum())
        rows.append(
            [f"`{name}`", f"{noted['parameters']:,}", noted["training"]["recipe"]["epochs"],
             f"{noted['seconds']:.0f}", rate(right, len(images)), rate(stood, ATTACKED)]
        )  # fmt: skip
    page.text(
        "Convolutions with batch norm, trained on all 50,000 training pictures (mirrored, moved by "
        f"up to {SHIFT} pixels) with one thread: `inversion-plain` on clean pictures; "
        "`inversion-robust`, of the same layers and seed, on what one step from a random start "
        f"within {EPS} makes of them; `inversion-judge`, of other layers and another seed, on "
        "clean pictures. Their batch norms hold the statistics of what they were trained on. They "
        f"are as good as minutes on a processor core allow. PGD makes 50 steps within {EPS} on the "
        f"first {ATTACKED:,} test pictures; in brackets the 95 % interval of Wilson."
    )
    page.table(
        ["network", "weights>", "epochs>", "seconds>", "clean accuracy, 10,000 test pictures>",
         "robust accuracy>"],
        rows,
    )  # fmt: skip
    return page


def _convolution(before: int, after: int, side: int = 3, stride: int = 1) -> nn.Module:
    convolution = nn.Conv2d(before, after, side, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in sys.argv[1:] or TRAININGS:
        network(each)
