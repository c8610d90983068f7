"""A classifier that asks another's network in a way of its own, and shares what is known of it."""

from fluoroscope.models.classifier import Classifier


class Likewise(Classifier):
    """The same network, labels and preprocessing as another classifier's; it is left alone.

    Args:
        model: the other one.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__(
            model.module,
            labels=model.labels if model.knows_classes else None,
            name=model.name,
            preprocessing=model.preprocessing,
            outputs=model.outputs,
        )
        self._found = model._found
        self._classes, self.passes = model._classes, model.passes
        self.log_probabilities = model.log_probabilities
        self.model = model
