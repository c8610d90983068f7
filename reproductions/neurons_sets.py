"""The adversarial sets that the reproductions of neurons look at, made against ensembles.

``python -m reproductions.neurons_sets [NAME ...]`` makes them without measuring anything, and goes
on where it was stopped; they are kept in a folder each under ``KEPT``.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

import fluoroscope as fs
from reproductions import inversion_networks
from reproductions.sources import IMAGENET, SHARED

KEPT = Path("out/reproductions/neurons")
CIFAR = SHARED / "data" / "cifar10"
MEMBERS = ("mobilenet_v1_0.75_224", "mobilenet_v2_1.0_224", "tf_efficientnet_lite0_224")


@dataclass(frozen=True)
class Making:
    """How a set is made."""

    pictures: int
    targets: int
    attack: fs.attacks.EnsembleOptimisation


MAKINGS = {
    "cifar": Making(300, 9, fs.attacks.EnsembleOptimisation()),
    "imagenet": Making(1000, 1, fs.attacks.EnsembleOptimisation(steps=5, step_size="3/255")),
}


def cifar_networks() -> list[fs.Classifier]:
    """Plain, robust, and a judge of another architecture."""
    return [inversion_networks.network(name) for name in inversion_networks.TRAININGS]


def imagenet_networks() -> list[fs.Classifier]:
    """Three networks of 224 pixels."""
    return [fs.load_model(str(SHARED / "models" / name)) for name in MEMBERS]


def real(name: str) -> fs.ImageSet:
    """The real pictures that an adversarial set is made of and held against."""
    if name == "cifar":
        return fs.load_images(CIFAR, "test")
    return fs.load_images(IMAGENET)


def adversarial(name: str) -> fs.ImageSet:
    """A set, made now as far as it was not before."""
    making = MAKINGS[name]
    networks = cifar_networks() if name == "cifar" else imagenet_networks()
    pictures = real(name).take(making.pictures, first=True)
    return fs.neurons.adversarial_set(
        networks, pictures, out=KEPT / "sets" / name, targets=making.targets, attack=making.attack,
        on_share=lambda share: print(f"\r{name} {share:.1%}", end="", flush=True),
    )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in sys.argv[1:] or MAKINGS:
        adversarial(each)
        print()
