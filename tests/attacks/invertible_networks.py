"""A small invertible network, for tests of every attack: one of them needs an inverse."""

import torch

import fluoroscope as fs
from fluoroscope.models.invertible.network import InvertibleNetwork, Shape


def invertible(channels: int, side: int, classes: int = 3) -> fs.Classifier:
    """One of random weights whose head tells classes apart."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = Shape(channels, side, side, classes, scales=1, blocks=2, hidden=4)
        network = InvertibleNetwork(shape)
        torch.nn.init.normal_(network.head.weight)
    return fs.Classifier(network.eval(), channels=channels, input_size=side)
