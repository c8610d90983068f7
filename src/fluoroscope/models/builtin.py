"""The built-in networks: readers of handwritten digits, their weights in the package.

``fluoroscope train`` made the weights from MNIST; beside each file lies the record of how.
"""

from importlib.resources import as_file

from torch import nn

from fluoroscope.models.checkpoints import load_checkpoint
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.names import WEIGHTS, not_built_in
from fluoroscope.models.preprocessing import Preprocessing

STATED_BY = "fluoroscope"
"""Who states the preprocessing of these networks, which learnt white ink on black."""


def build_architecture(name: str) -> nn.Module:
    """An untrained network, from grey 28×28 images to ten logits.

    Raises:
        UnknownModelError: no built-in network has that name.
    """
    match name:
        case "digits-linear":
            return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))
        case "digits-cnn":
            return nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Conv2d(32, 64, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(64 * 7 * 7, 64),
                nn.ReLU(),
                nn.Linear(64, 10),
            )
        case "digits-robust":
            return nn.Sequential(
                nn.Conv2d(1, 16, 4, stride=2, padding=1),
                nn.ReLU(),
                nn.Conv2d(16, 32, 4, stride=2, padding=1),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(32 * 7 * 7, 128),
                nn.ReLU(),
                nn.Linear(128, 10),
            )
        case _:
            raise not_built_in(name)


def digits_classifier(name: str, module: nn.Module) -> Classifier:
    """A network of a built-in architecture with its labels and preprocessing."""
    seen = Preprocessing(input_size=(28, 28), channels=1, stated_by=STATED_BY)
    return Classifier(module, labels=tuple("0123456789"), name=name, preprocessing=seen)


def load_builtin(name: str) -> Classifier:
    """A trained network of the package, in evaluation mode and without parameter gradients.

    Raises:
        UnknownModelError: no built-in network has that name.
        ModelFormatError: the package's file is missing or damaged.
    """
    module = build_architecture(name)
    with as_file(WEIGHTS / f"{name}.safetensors") as path:
        load_checkpoint(module, path)
    return digits_classifier(name, module.eval().requires_grad_(False))
