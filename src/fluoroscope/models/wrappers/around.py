"""What classifiers around a classifier share: they ask it about other images, or several times.

Images are brought to the inner network's size once, here; it then sees all of what it is shown.
"""

import copy
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from fluoroscope.models.classifier import Classifier, as_classifier, tensor_bytes
from fluoroscope.models.wrappers.ensemble import uncropped


class Around(Classifier):
    """A classifier that asks another one.

    Args:
        model: the network to be asked; for speed a prepared one, since the copy that
            :func:`~fluoroscope.models.wrappers.prepared.prepare` makes is one of a plain network.
        asking: makes the :class:`Asking` from the network and the options.
        passes: how often one answer asks.
        options: the parameters, which :meth:`to` moves and the fingerprint covers.

    Raises:
        ModelFormatError: the model is no classifier and no module.
    """

    _asks = True

    def __init__(
        self,
        model: Classifier | nn.Module,
        asking: Callable[..., "Asking"],
        passes: int,
        **options: Any,
    ) -> None:
        kind = type(self).__name__
        model = as_classifier(model)
        super().__init__(
            asking(uncropped(model), **options),
            labels=model.labels if model.knows_classes else None,
            name=f"{kind} of {model.name}",
            # The model normalises; only the size is settled here, before anything else.
            preprocessing=replace(model.preprocessing, mean=None, std=None, channel_order="rgb"),
        )
        self.model = model
        """The network that is asked."""
        self.passes = passes * model.passes
        self.log_probabilities = model.log_probabilities
        self._asking, self._options = asking, options

    @property
    def plain(self) -> Classifier:
        """The same around the plain network, if this one's was prepared for speed."""
        plain = self.model.plain
        return self if plain is self.model else self._over(plain)

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """A copy on another device or in another precision; this one stays as it is."""

        def moved(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: moved(part) for name, part in value.items()}
            if isinstance(value, Tensor | nn.Module):
                return copy.deepcopy(value).to(device=device, dtype=dtype)
            return value

        return self._over(self.model.to(device, dtype), moved(self._options))

    def fingerprint(self) -> str:
        """SHA-256 of the network's own and of the parameters; a transformation's is its name."""
        text = f"{type(self).__name__} {_stated(self._options)} {self.model.fingerprint()}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _over(self, model: Classifier, options: dict[str, Any] | None = None) -> Self:
        """The same around another network."""
        twin = copy.copy(self)
        twin.model, twin._options = model, options or self._options
        twin.module = self._asking(uncropped(model), **twin._options)
        return twin


class Surrogate(Around):
    """A network to search with in place of another, which judges what is found."""

    @property
    def plain(self) -> Classifier:
        """The network's own plain one, which sees the pictures as they are."""
        return self.model.plain


class Asking(nn.Module):
    """Images ``(N, C, H, W)`` in ``[0, 1]`` to the answer, by asking ``model``."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.network = model.module  # registered, so that weights are found and moved
        self.model = model


def _stated(value: Any) -> str:
    if isinstance(value, dict):
        return str({name: _stated(part) for name, part in value.items()})
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {hashlib.sha256(tensor_bytes(value)).hexdigest()}"
    if isinstance(value, nn.Module) or not callable(value):
        return repr(value)
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"
