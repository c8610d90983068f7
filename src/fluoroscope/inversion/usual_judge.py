"""The second network where nobody names one: of a built-in one, another that comes with it."""

from fluoroscope.models.builtin import STATED_BY
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.loading import load_model

# Of another architecture or another training, each with its own seed.
OTHERS = {
    "digits-cnn": "digits-robust",
    "digits-robust": "digits-cnn",
    "digits-linear": "digits-cnn",
}


def usual_judge(model: Classifier) -> Classifier | None:
    """The other network, on the same device; nothing for a network that is not built in."""
    name = OTHERS.get(model.name) if model.preprocessing.stated_by == STATED_BY else None
    return None if name is None else load_model(name, device=str(model.device))
