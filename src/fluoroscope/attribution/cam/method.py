"""What class activation maps share: the layer they are read at, and the way back to the picture."""

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, SupportsIndex

import torch
from torch import Tensor

from fluoroscope.attribution.cam.layers import Place, find_place
from fluoroscope.attribution.method import (
    Found,
    Method,
    Probing,
    SumOfProbes,
    Sums,
    added,
    with_values,
)
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.stream import Samples
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier


@dataclass(frozen=True, kw_only=True)
class CAM(Method):
    """A method that reads a layer.

    Args:
        objective: the number to explain.
        layer: the layer's name, as ``model.module.named_modules()`` has it; found by itself if
            ``None``.
        call: of a layer that is used several times in a pass, which use, from 0; by default the
            last.
    """

    layer: str | None = None
    call: int | None = None
    settled: Place | None = field(default=None, init=False, repr=False, compare=False)
    """The layer of the network that is explained."""

    of_gradient: ClassVar[bool] = True
    """Whether it is made of a gradient at the layer."""

    def __post_init__(self) -> None:
        if self.layer is not None:  # on the command line 4 is a number
            object.__setattr__(self, "layer", str(self.layer))
        if self.call is not None:
            object.__setattr__(self, "call", _whole("call", self.call, 0))
            if self.layer is None:
                raise InvalidParameterError(
                    f"call is {self.call} without a layer; expected layer= as well, by its name"
                )

    def on(self, network: Classifier, images: Tensor) -> Self:
        """The method with its layer found."""
        place = find_place(network, images, self.layer, self.call, gradient=self.of_gradient)
        made = replace(self, layer=place.layer, call=place.call)
        object.__setattr__(made, "settled", place)
        return made

    def facts(self) -> dict[str, Any]:
        """The layer."""
        return {"layer": self.place.describe()}

    def remarks(self, error: Tensor) -> list[str]:
        """The layer, and how coarse it is."""
        return [self.place.note()]

    @property
    def place(self) -> Place:
        """The layer of the network that is explained."""
        assert self.settled is not None, "on() comes first"
        return self.settled

    def over_pictures(self, maps: Tensor, images: Tensor) -> Tensor:
        """Maps ``(n, 1, h, w)`` of the layer's places as maps ``(n, 1, H, W)`` of the pictures."""
        size = (images.shape[2], images.shape[3])
        return self.place.over(self.place.seen(maps, size), size)


@dataclass(frozen=True, kw_only=True)
class OneProbe(CAM, SumOfProbes):
    """A map made of what the layer gives out for the picture, and of the gradient there."""

    @abstractmethod
    def made(self, activation: Tensor, gradient: Tensor | None) -> Tensor:
        """The map ``(n, h, w)`` of the layer's maps ``(n, K, h, w)`` and the gradient there."""

    def wants_gradient(self, state: Sums, owners: Tensor, numbers: Tensor) -> bool:
        """At the layer."""
        return self.of_gradient

    def probes(self, state: Sums) -> Tensor:
        """One: the picture."""
        return torch.ones_like(state.number)

    def images(self, state: Sums, owners: Tensor, numbers: Tensor) -> Tensor:
        """The pictures."""
        return state.samples.images[owners]

    def zero(self, samples: Samples) -> Tensor:
        """A number for each place."""
        grid = self.place.grid
        kind = samples.images.dtype
        return torch.zeros(
            (len(samples.images), 1, grid.height, grid.width),
            dtype=kind,
            device=samples.images.device,
        )

    def ask_within(self, state: Sums, room: int) -> Probing:
        """At the layer."""
        place = self.place
        return replace(super().ask_within(state, room), layer=place.layer, call=place.call)

    def add(self, state: Sums, query: Probing, answer: Answer) -> Sums:
        """The map of the places."""
        assert answer.objective is not None
        made = self.made(*read(self.place, answer, state.samples.images.dtype))
        return replace(
            state,
            total=added(state.total, query.whose, made[:, None]),
            values=with_values(state.values, query.whose, 0, answer.objective),
        )

    def finish(self, state: Sums) -> Found:
        """The map over the picture."""
        maps = self.over_pictures(state.total, state.samples.images)
        value = state.values[:, 0]
        return Found(maps, value, torch.full_like(value, torch.nan))


def read(place: Place, answer: Answer, kind: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """The layer's maps ``(n, K, h, w)`` and the gradient there, in that type.

    Raises:
        InvalidParameterError: they are not finite.
    """
    assert answer.activation is not None
    maps = place.grid.maps(answer.activation).to(kind)
    if not bool(torch.isfinite(maps).all()):
        raise InvalidParameterError(
            f"the layer {place.layer!r} gives out NaN or infinite numbers; expected finite ones: "
            "choose another layer"
        )
    slopes = answer.activation_gradient
    return maps, None if slopes is None else place.grid.maps(slopes).to(kind)


def _whole(name: str, value: SupportsIndex, least: int) -> int:
    from operator import index

    try:
        number = least - 1 if isinstance(value, bool) else index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise InvalidParameterError(
            f"{name} is {value!r}; expected a whole number, {least} or more"
        )
    return number
