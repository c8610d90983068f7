"""Backward pass differentiable approximation: a gradient through what has none.

Athalye, Carlini and Wagner 2018, "Obfuscated Gradients Give a False Sense of Security", 1802.00420:
where a part ``g`` of a network cannot be differentiated, or hides its gradient, the pass forward
goes through ``g`` and the pass back through a differentiable ``h`` with ``h(x) ≈ g(x)``. For a
``g`` that repairs its input, such as quantisation or JPEG, the identity does (the straight-through
estimator).
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.layers import find_layer, sharing_twin
from fluoroscope.models.wrappers.around import Around, Asking
from fluoroscope.models.wrappers.randomised import Transform

Layer = Callable[..., Tensor]
"""A differentiable stand-in for a layer: takes what the layer takes."""


class BPDA(Around):
    """A network whose gradient goes around parts that have none; its answers are unchanged.

    The transformation counts as a part of the network: ``plain`` has it too. Where it is random as
    well, take the expectation around it: ``EOT(BPDA(model, transform))``. The network itself is
    left alone; weights changed later are seen here too.

    Args:
        model: the network behind the transformation, or around the layers.
        transform: a change of images ``(N, C, H, W)`` in ``[0, 1]``, before the network's own
            preprocessing; it need not be differentiable, nor done in torch.
        backward: the differentiable one that is gone back through; by default the identity.
        layers: inner layers by name, as in ``module.named_modules()``, each with the module or
            function that is gone back through in its place, given the same input.

    Raises:
        ModelFormatError: the model is no classifier.
        InvalidParameterError: nothing to replace, something that cannot be called, or a layer that
            the network does not have. At the first gradient: shapes that differ.
    """

    def __init__(
        self,
        model: Classifier | nn.Module,
        transform: Transform | None = None,
        backward: Transform | None = None,
        *,
        layers: Mapping[str, Layer] | None = None,
    ) -> None:
        model = as_classifier(model)
        layers = dict(layers or {})
        _check(model, transform, backward, layers)
        super().__init__(model, _Through, 1, transform=transform, backward=backward, layers=layers)


class _Through(Asking):
    def __init__(
        self,
        model: Classifier,
        transform: Transform | None,
        backward: Transform | None,
        layers: Mapping[str, Layer],
    ) -> None:
        super().__init__(sharing_twin(model) if layers else model)
        self.transform, self.backward = transform, backward
        self.replacements = nn.ModuleList(
            layer for layer in layers.values() if isinstance(layer, nn.Module)
        )
        for name, layer in layers.items():
            _StandIn(find_layer(self.model, name), layer, f"the layer {name!r}")

    def forward(self, images: Tensor) -> Tensor:
        if self.transform is not None:
            images = _around(self.transform, self.backward or nn.Identity(), "transform", images)
        return self.model(images)


class _StandIn:
    """Put in place of a module's ``forward``, which keeps all its other attributes."""

    def __init__(self, module: nn.Module, layer: Layer, what: str) -> None:
        self._forward, self._layer, self._what = module.forward, layer, what
        module.forward = self

    def __call__(self, *given: Any, **named: Any) -> Tensor:
        return _around(self._forward, self._layer, self._what, *given, **named)


def _around(there: Layer, back: Layer, what: str, *given: Any, **named: Any) -> Tensor:
    """The value of ``there``, whose gradient is that of ``back``."""
    if not torch.is_grad_enabled():
        return there(*given, **named)
    with torch.no_grad():
        # Copies, for it may work in place.
        value = there(*map(_copied, given), **{name: _copied(v) for name, v in named.items()})
    slope = back(*given, **named)
    for found, whose in ((value, what), (slope, f"what is gone back through for {what}")):
        if not isinstance(found, Tensor):
            raise InvalidParameterError(
                f"{whose} returned a {type(found).__name__}; expected one tensor"
            )
    if value.shape != slope.shape:
        raise InvalidParameterError(
            f"{what} returned the shape {tuple(value.shape)}, and what is gone back through "
            f"{tuple(slope.shape)}; expected the same: pass a differentiable approximation of it"
        )
    return cast(Tensor, _Swap.apply(slope, [value]))


class _Swap(torch.autograd.Function):
    """One value forward, and back to where another came from."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, value: list[Tensor]) -> Tensor:
        # In a list, so that it counts as new and not as a view of something given.
        return value[0].to(slope.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _check(
    model: Classifier,
    transform: Transform | None,
    backward: Transform | None,
    layers: Mapping[str, Layer],
) -> None:
    if backward is not None and transform is None:
        raise InvalidParameterError(
            "backward was given without a transform; for a layer pass layers={name: replacement}"
        )
    if transform is None and not layers:
        raise InvalidParameterError(
            "BPDA was given neither a transform nor layers; expected what has no gradient"
        )
    named = {f"layers[{name!r}]": layer for name, layer in layers.items()}
    for what, part in ({"transform": transform, "backward": backward} | named).items():
        if not callable(part) and (part is not None or what in named):
            raise InvalidParameterError(
                f"{what} is a {type(part).__name__}; expected a module or a function of tensors"
            )
    if layers and model.plain is not model:
        raise InvalidParameterError(
            f"{model.name} was prepared, so its layers are not the named ones any more; expected "
            "the plain network: prepare(BPDA(model.plain, layers=...))"
        )
