"""The units of a layer: what counts as one, where each lies in what the layer gives out.

A convolution's channel is a unit at many places; a linear layer's output is one at a single place;
of a transformer's tokens, and of what its feed-forward layers give out, a unit is one of the
numbers that each token has.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from fluoroscope.attribution.cam.grids import Grid, find_grid
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.layers import Layer, find_layer, list_layers
from fluoroscope.words import count

# The size of pictures where a network takes any and nobody says which.
_SIZE = (224, 224)


@dataclass(frozen=True)
class Units:
    """The ``K`` units of a layer, and how to find them in what it gives out."""

    layer: str
    """As in ``model.module.named_modules()``."""
    call: int | None
    """Which use of it in a pass counts, from 0; ``None`` is the last."""
    shape: tuple[int, ...]
    """Of what it gives out for a picture."""
    count: int
    """``K``."""
    axis: int
    """Of the output ``(N, ...)``: where its units are numbered."""
    grid: Grid | None
    """How its places lie over a picture; ``None`` where they do not, or there is only one."""

    @property
    def kind(self) -> str:
        """``channels``, ``units`` or ``tokens``."""
        if len(self.shape) == 1:
            return "units"
        return "channels" if len(self.shape) == 3 else "tokens"

    @property
    def counted(self) -> str:
        """``64 channels``, ``1 unit``."""
        return count(self.count, "channel" if self.kind == "channels" else "unit")

    def places(self, output: Tensor) -> Tensor:
        """What the layer gave out as ``(N, K, P)``, at all ``P`` places, tokens of none first."""
        return output.movedim(self.axis, 1).flatten(2) if output.dim() > 2 else output[:, :, None]

    def maps(self, output: Tensor) -> Tensor:
        """The same as ``(N, K, h, w)`` over the picture, without tokens of no place.

        Raises:
            InvalidParameterError: its places do not lie over the picture.
        """
        if self.grid is None:
            raise InvalidParameterError(
                f"the layer {self.layer!r} gives out {self.shape} for a picture, in which no rows "
                "and columns of it can be told; expected maps (N, K, h, w), or tokens (N, T, K)"
            )
        return self.grid.maps(output)

    def removed(self, output: Tensor, gone: Tensor, put: Tensor | float = 0.0) -> Tensor:
        """Copies of one picture's ``(1, ...)`` without some units, ``(B, ...)``.

        ``gone`` is ``(B, K)``, true at those that each copy is without; at all of their places
        stands what is ``put`` there: a number, or one for each unit ``(K,)``.
        """
        shape = [1] * output.dim()
        shape[self.axis] = self.count
        mask = gone.reshape(len(gone), *shape[1:])
        if isinstance(put, Tensor):
            put = put.to(output).reshape(shape)
        return torch.where(
            mask, torch.as_tensor(put, dtype=output.dtype, device=output.device), output
        )

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "layer": self.layer, "call": self.call, "kind": self.kind, "units": self.count,
            "shape": list(self.shape), "axis": self.axis,
            "grid": None if self.grid is None else asdict(self.grid),
        }  # fmt: skip

    @classmethod
    def described(cls, told: Mapping[str, Any]) -> "Units":
        """Those that :meth:`describe` told of.

        Raises:
            ValueError, LookupError, TypeError: it is no such description.
        """
        shape = tuple(int(each) for each in told["shape"])
        call, grid = told["call"], told["grid"]
        found = cls(
            str(told["layer"]), None if call is None else int(call), shape, int(told["units"]),
            int(told["axis"]), None if grid is None else Grid(**grid),
        )  # fmt: skip
        if not 1 <= found.axis <= len(shape) <= 3 or shape[found.axis - 1] != found.count:
            raise ValueError(f"it speaks of {found.count} units in {shape}")
        return found


def find_units(
    model: Classifier, layer: str, call: int | None = None, size: tuple[int, int] | None = None
) -> Units:
    """The units of a layer, by its name; one pass of a picture of noise.

    ``size`` is the pictures' ``(height, width)`` where the network takes any.

    Raises:
        InvalidParameterError: no such layer or call, or one whose output has no units.
    """
    find_layer(model, layer)
    answer = evaluate(model, noise(model, size), layer=layer, call=call, look=False)
    assert answer.activation is not None
    found = units_of(model, layer, tuple(answer.activation.shape[1:]), call, size)
    if found is None or not answer.activation.is_floating_point():
        raise InvalidParameterError(
            f"the layer {layer!r} of {model.name} gives out {tuple(answer.activation.shape[1:])} "
            f"of {str(answer.activation.dtype).removeprefix('torch.')} for a picture, in which no "
            "units can be told; expected channels (K, h, w), tokens (T, K) or units (K,)"
        )
    return found


def units_of(
    model: Classifier, layer: str, shape: tuple[int, ...], call: int | None = None,
    size: tuple[int, int] | None = None,
) -> Units | None:  # fmt: skip
    """The units of a layer that gives out such a shape for a picture; ``None`` if none is told."""
    if not 1 <= len(shape) <= 3 or 0 in shape:
        return None
    if len(shape) == 1:
        return Units(layer, call, shape, shape[0], 1, None)
    picture = model.input_size or size or _SIZE
    grid = find_grid(shape, model.preprocessing.seen(*picture))
    first = len(shape) == 3 if grid is None else grid.layout in ("maps", "tokens last")
    axis = 1 if first else len(shape)
    lies = grid if grid is not None and grid.height * grid.width > 1 else None
    return Units(layer, call, shape, shape[axis - 1], axis, lies)


def list_units(
    model: Classifier, size: tuple[int, int] | None = None
) -> list[tuple[Layer, Units | None]]:
    """All layers of a network with their units, where these can be told, in order; one pass."""
    return [
        (
            layer,
            None if layer.shape is None else units_of(model, layer.name, layer.shape, None, size),
        )
        for layer in list_layers(model, noise(model, size))
    ]


def noise(model: Classifier, size: tuple[int, int] | None = None) -> Tensor:
    """A picture of noise ``(1, C, H, W)``, of the network's size or another."""
    key = randomness.keys(0, torch.zeros(1, dtype=torch.long, device=model.device))
    shape = (model.channels, *(model.input_size or size or _SIZE))
    return randomness.uniform(key, 0, shape).to(model.device, model.dtype)
