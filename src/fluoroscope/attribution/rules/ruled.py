"""A classifier whose way back follows rules: the same answers, another gradient."""

from collections.abc import Callable

import torch
from torch import Tensor

from fluoroscope.attribution.rules.graph import Graph, walk
from fluoroscope.attribution.rules.mode import Coverage, Rules
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.wrappers.likewise import Likewise


class Ruled(Likewise):
    """The network, evaluated inside a mode of rules; the network itself is left alone.

    Args:
        model: the network.
        rules: makes the mode of one evaluation, which notes what it covered in what it is given.

    Raises:
        InvalidParameterError: parts of the network run where no rule reaches them.
    """

    _asks = True

    def __init__(self, model: Classifier, rules: Callable[[Coverage], Rules]) -> None:
        _check(model)
        super().__init__(model)
        self._rules = rules
        self.coverage = Coverage()
        """What the last evaluation's operations had of rules."""
        self.graph: Graph | None = None
        """What the first one's graph holds of what is not linear, and has no rule."""

    @property
    def plain(self) -> Classifier:
        """The plain network: what a verdict is read from."""
        return self.model.plain

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``(N, classes)``, gone back through by rules."""
        self.coverage = Coverage()
        with self._rules(self.coverage):
            logits = self.model(images)
        if self.graph is None and logits.grad_fn is not None:
            self.graph = walk(logits)
        if self.graph is not None:
            self.coverage.unseen = self.graph.unknown
        return logits


def _check(model: Classifier) -> None:
    for part in model.module.modules():
        scripted = isinstance(part, torch.jit.ScriptModule)
        if scripted or hasattr(part, "_orig_mod"):
            raise InvalidParameterError(
                f"{model.name} is {'scripted' if scripted else 'compiled'}, so its operations run "
                "where no rule reaches them; expected plain PyTorch code: load the network from "
                "its Python code, or use a method that needs the gradient alone, such as "
                "integrated-gradients"
            )
