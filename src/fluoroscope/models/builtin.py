"""The built-in networks: readers of handwritten digits, their weights in the package.

``fluoroscope train`` made the weights from MNIST; beside each file lies the record of how.
"""

import json
from importlib.resources import as_file, files
from typing import Any

from torch import nn

from fluoroscope.errors import ModelFormatError, UnknownModelError
from fluoroscope.models.checkpoints import load_checkpoint
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.preprocessing import Preprocessing

BUILTIN: tuple[str, ...] = ("digits-linear", "digits-cnn", "digits-robust")

_WEIGHTS = files("fluoroscope.models") / "weights"


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
            raise UnknownModelError(
                f"no built-in network is called {name!r}; expected {' or '.join(BUILTIN)}"
            )


def digits_classifier(name: str, module: nn.Module) -> Classifier:
    """A network of a built-in architecture with its labels and preprocessing."""
    seen = Preprocessing(input_size=(28, 28), channels=1, stated_by="fluoroscope")
    return Classifier(module, labels=tuple("0123456789"), name=name, preprocessing=seen)


def load_builtin(name: str) -> Classifier:
    """A trained network of the package, in evaluation mode and without parameter gradients.

    Raises:
        UnknownModelError: no built-in network has that name.
        ModelFormatError: the package's file is missing or damaged.
    """
    module = build_architecture(name)
    with as_file(_WEIGHTS / f"{name}.safetensors") as path:
        load_checkpoint(module, path)
    return digits_classifier(name, module.eval().requires_grad_(False))


def builtin_record(name: str) -> dict[str, Any]:
    """How a network of the package was trained and what it reached, as plain values.

    Raises:
        UnknownModelError: no built-in network has that name.
        ModelFormatError: the package's file is missing or damaged.
    """
    if name not in BUILTIN:
        build_architecture(name)  # says which names there are
    try:
        record: dict[str, Any] = json.loads((_WEIGHTS / f"{name}.json").read_text("utf-8"))
    except (OSError, ValueError) as problem:
        raise ModelFormatError(
            f"the record of {name} cannot be read ({problem}); install fluoroscope again"
        ) from problem
    return record
