"""The built-in networks: readers of handwritten digits, their weights in the package.

``fluoroscope train`` made the weights from MNIST; beside each file lies the record of how. What it
makes by ``--recipe exclude`` has one output more, and says so in the file of its weights.
"""

from importlib.resources import as_file
from pathlib import Path

from torch import nn

from fluoroscope.errors import ModelFormatError
from fluoroscope.models.checkpoints import load_checkpoint, stated_labels
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.labels import NONE_OF_THESE
from fluoroscope.models.names import UNTRAINED, WEIGHTS, not_built_in
from fluoroscope.models.preprocessing import Preprocessing
from fluoroscope.notices import tell

STATED_BY = "fluoroscope"
"""Who states the preprocessing of these networks, which learnt white ink on black."""
DIGITS = tuple("0123456789")


def build_architecture(name: str, outputs: int = len(DIGITS)) -> nn.Module:
    """An untrained network, from grey 28×28 images to ten logits, or so many.

    Raises:
        UnknownModelError: no built-in network has that name.
    """
    match name:
        case "digits-linear":
            return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, outputs))
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
                nn.Linear(64, outputs),
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
                nn.Linear(128, outputs),
            )
        case _:
            raise not_built_in(name)


def digits_classifier(name: str, module: nn.Module, labels: tuple[str, ...] = DIGITS) -> Classifier:
    """A network of a built-in architecture with its labels and preprocessing."""
    seen = Preprocessing(input_size=(28, 28), channels=1, stated_by=STATED_BY)
    return Classifier(module, labels=labels, name=name, preprocessing=seen)


def load_builtin(name: str, checkpoint: str | Path | None = None) -> Classifier:
    """A trained network of the package, in evaluation mode and without parameter gradients.

    For a ``checkpoint`` of the same architecture that knows a class for what is none of the digits,
    it is one of as many outputs, still without weights.

    Of ``invertible``, of which the package has no weights, it is one of the shape that the
    checkpoint states.

    Raises:
        UnknownModelError: no built-in network has that name.
        ModelFormatError: the package's file is missing or damaged, or the checkpoint cannot be
            read.
    """
    if name in UNTRAINED:
        if checkpoint is None:
            raise ModelFormatError(
                f"{name} has no weights in the package; expected the file that `fluoroscope train "
                f"{name}` wrote as checkpoint="
            )
        from fluoroscope.models.invertible.stated import stated_classifier

        return stated_classifier(checkpoint)
    if checkpoint is not None and stated_labels(checkpoint) == (*DIGITS, NONE_OF_THESE):
        tell(
            f"{checkpoint} has an eleventh class, {NONE_OF_THESE!r}, for pictures that show no "
            "digit; what is predicted as it counts as misclassified where a digit was shown"
        )
        module = build_architecture(name, len(DIGITS) + 1)
        return digits_classifier(name, module, (*DIGITS, NONE_OF_THESE))
    module = build_architecture(name)
    with as_file(WEIGHTS / f"{name}.safetensors") as path:
        load_checkpoint(module, path)
    return digits_classifier(name, module.eval().requires_grad_(False))
