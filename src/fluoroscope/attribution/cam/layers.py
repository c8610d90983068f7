"""The layer that a class activation map is read at: named by the user, or found by itself.

It is the last layer that gives out a map before a pooling, and whose places the logits still depend
on. What a layer gives out is seen in a traced pass, and whether the logits depend on it in a
gradient: names and types tell neither. In a vision transformer whose class token alone is read, the
last block's output has a gradient of zero at every place; its first norm has not. The picture that
is asked about is one of noise, so the layer is the same for all pictures of a size.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from fluoroscope.attribution.cam.grids import Grid, find_grid
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer, evaluate
from fluoroscope.engine.objectives import Objective
from fluoroscope.errors import InvalidParameterError, NoGradientError
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.layers import Use, find_layer, outputs_of, traced
from fluoroscope.models.preprocessing import Preprocessing
from fluoroscope.words import count

_POOLS = (
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._LPPoolNd,
    nn.FractionalMaxPool2d,
)


@dataclass(frozen=True)
class Place:
    """A layer with where in a picture its numbers lie."""

    layer: str
    call: int | None
    """Which use of it in a pass counts, from 0; ``None`` is the last."""
    calls: int
    """How often it is used in a pass."""
    chosen: bool
    """Whether it was found by itself."""
    grid: Grid
    preprocessing: Preprocessing
    """How pictures come before the network."""

    def seen(self, maps: Tensor, picture: tuple[int, int]) -> Tensor:
        """Maps ``(N, K, h, w)`` as large as what the network sees of pictures of a size."""
        size = self.preprocessing.seen(*picture)
        return F.interpolate(maps, size, mode="bilinear", align_corners=False)

    def over(self, maps: Tensor, picture: tuple[int, int]) -> Tensor:
        """Maps as large as what the network sees, laid over pictures of a size."""
        return self.preprocessing.unfit(maps, *picture)

    def describe(self) -> dict[str, object]:
        """As plain values."""
        return {
            "name": self.layer,
            "chosen": self.chosen,
            "call": self.call,
            "calls": self.calls,
            "places": [self.grid.height, self.grid.width],
            "channels": self.grid.channels,
            "layout": self.grid.layout,
            "tokens_of_no_place": self.grid.prefix,
        }

    def note(self) -> str:
        """What a reader of the maps should know of it; the same for all methods that read it."""
        grid = self.grid
        words = f"class activations were read at the layer {self.layer!r}"
        if self.chosen:
            words += ", the last with maps that the logits depend on"
        words += f": {grid.height}×{grid.width} places, and nothing finer"
        if self.calls > 1:
            which = "the last" if self.call is None else f"number {self.call} from 0"
            words += f"; of its {self.calls} uses in a pass {which} counts"
        if grid.prefix:
            words += f"; its first {count(grid.prefix, 'token')} of no place left out"
        return words


def find_place(
    model: Classifier, images: Tensor, layer: str | None, call: int | None, *, gradient: bool
) -> Place:
    """The layer to read, for pictures of the size of ``images`` ``(N, C, H, W)``.

    Args:
        model: the network.
        images: what is to be explained.
        layer: its name, or ``None`` to find one.
        call: which use of it, of a layer that is named.
        gradient: whether the logits must depend on its places differentiably.

    Raises:
        InvalidParameterError: no such layer, one that gives out no map, one whose places the logits
            do not depend on, or a network without any.
    """
    looking = _Looking(model, images)
    use, grid, call = (
        looking.choose(gradient) if layer is None else looking.named(layer, call, gradient)
    )
    calls = sum(other.name == use.name for other in looking.uses)
    return Place(use.name, call, calls, layer is None, grid, model.preprocessing)


_Read = tuple[Use, Grid]
_Found = tuple[Use, Grid, int | None]


class _Looking:
    """A network and the trace of one pass of a picture of noise, forward and back."""

    def __init__(self, model: Classifier, images: Tensor) -> None:
        self.model, self.images = model, images
        key = randomness.keys(0, torch.zeros(1, dtype=torch.long, device=images.device))
        self.noise = randomness.uniform(key, 0, tuple(images.shape[1:])).to(images)
        self.picture = model.preprocessing.seen(images.shape[2], images.shape[3])
        self.slopes: dict[Use, Tensor] | None = {}
        self._hooks: list[RemovableHandle] = []
        try:
            with traced(model, self._watch) as uses:
                self._answer(self.noise)
        except NoGradientError:  # at the pixels; perhaps there is one at a layer
            self.slopes = None
            with traced(model) as uses:
                evaluate(model, self.noise, look=False)
        finally:
            # A hook and the output that it is on hold each other, where no collector sees it.
            for hook in self._hooks:
                hook.remove()
        self.uses = uses
        self._reads_rows = any(_is_along_time(use.layer) for use in uses)

    def choose(self, gradient: bool) -> _Found:
        """The last layer that will do, by the outermost name of what it gives out."""
        candidates = self._candidates()
        if not candidates:
            parts = self.model.module.modules()
            scripted = any(isinstance(part, torch.jit.ScriptModule) for part in parts)
            raise InvalidParameterError(
                f"no layer of {self.model.name} that Python sees gives out maps of more than one "
                "place (N, K, h, w) before they are pooled, so there is none to read; "
                + ("load it from Python code, for it is scripted, or " if scripted else "")
                + "use a method that needs no layer, such as integrated-gradients or occlusion"
            )
        found = next((each for each in candidates if self._reached(*each)), None)
        if gradient and found is None:
            raise NoGradientError(
                f"the logits of {self.model.name} depend differentiably on none of its layers that "
                "give out maps; use a method that needs no gradient, such as eigen-cam"
            )
        use, grid = self._outside_attention(found or candidates[0], candidates)
        return use, grid, self._call(use)

    def _outside_attention(self, found: _Read, candidates: list[_Read]) -> _Read:
        """What keys or values are made of: they tell less than that."""
        use, _ = found
        if not isinstance(use.layer, nn.Linear):
            return found
        given = {id(one) for one in use.given}
        earlier = candidates[candidates.index(found) + 1 :]
        others = [each for each in earlier if not isinstance(each[0].layer, nn.Linear)]
        wanted = [each for each in others if id(each[0].output) in given] or others
        return next((each for each in wanted if self._reached(*each)), found)

    def named(self, layer: str, call: int | None, gradient: bool) -> _Found:
        """The layer of that name."""
        find_layer(self.model, layer)
        kept = [use.output for use in self.uses if use.name == layer]
        output = outputs_of(kept, layer, self.model.batch_size or 1, self.model, call)[0]
        use = next(use for use in self.uses if use.output is output and use.name == layer)
        shape = tuple(output.shape)
        grid = self._grid(output)
        if grid is None or grid.height * grid.width == 1:
            raise InvalidParameterError(
                f"the layer {layer!r} of {self.model.name} gives out {shape} for a picture of "
                f"{self.picture[0]}×{self.picture[1]}, in which no rows and columns of it can be "
                "told; expected maps (N, K, h, w), or tokens (N, T, K) in the picture's order: "
                "choose another layer, or none"
            )
        if gradient and not any(
            self._asked(use, grid, each) for each in (self.noise, self.images[:1])
        ):
            raise NoGradientError(
                f"the logits of {self.model.name} have a gradient of zero at every place of its "
                f"layer {layer!r}, for what is read after it is of no place (a class token); "
                f"choose an earlier layer, such as {self.choose(gradient)[0].name}"
            )
        return use, grid, call

    def _candidates(self) -> list[_Read]:
        """What gives out maps, the last first; of what is handed on as it is, the outermost."""
        lengths = {use.output.shape[1] for use in self.uses if use.output.dim() == 3}
        pooled = {id(use.output) for use in self.uses if _is_pool(use.layer)}
        found: dict[int, _Read] = {}
        for use in reversed(self.uses):
            output = use.output
            known = id(output) in pooled or id(output) in found
            rows = len(output) if output.dim() else 0
            if (
                known
                or isinstance(use.layer, nn.Identity)
                or rows not in (1, self.model.batch_size)
            ):
                continue
            # What has as many rows as there are tokens is attention, or queries and keys.
            attends = output.dim() == 4 and lengths & set(output.shape[2:]) - {1}
            grid = self._grid(output)
            if grid is None or grid.height * grid.width == 1 or attends:
                continue
            found[id(output)] = use, grid
        return list(found.values())

    def _grid(self, output: Tensor) -> Grid | None:
        """Where its numbers lie; of a picture read row by row they lie in no grid."""
        shape = tuple(output.shape[1:])
        if len(shape) == 2 and set(shape) & set(self.picture) and self._reads_rows:
            return None
        return find_grid(shape, self.picture)

    def _reached(self, use: Use, grid: Grid) -> bool:
        """Whether the logits of the noise have a gradient at any place of a layer."""
        if self.slopes is not None:
            slopes = self.slopes.get(use)
            if slopes is None or not bool(grid.maps(slopes).any()):
                return False
        try:
            return self._asked(use, grid, self.noise)  # it may be handed on beside the layer
        except NoGradientError:
            return False

    def _asked(self, use: Use, grid: Grid, picture: Tensor) -> bool:
        """The same of a picture, by asking the network about that layer."""
        found = self._answer(picture, layer=use.name, call=self._call(use)).activation_gradient
        assert found is not None
        return bool(grid.maps(found).any())

    def _answer(self, picture: Tensor, **at: Any) -> Answer:
        none = torch.zeros(1, dtype=torch.long, device=picture.device)
        return evaluate(self.model, picture, none, _ANY, gradient=True, look=False, **at)

    def _watch(self, use: Use) -> None:
        def note(slope: Tensor) -> None:
            if self.slopes is not None:
                self.slopes[use] = slope

        if use.output.requires_grad:
            self._hooks.append(use.output.register_hook(note))

    def _call(self, use: Use) -> int | None:
        last = max(other.call for other in self.uses if other.name == use.name)
        return None if use.call == last else use.call


def _is_pool(layer: nn.Module) -> bool:
    return isinstance(layer, _POOLS) or "pool" in type(layer).__name__.lower()


def _is_along_time(layer: nn.Module) -> bool:
    """Whether a layer reads a sequence step by step, and not patches side by side."""
    wide = isinstance(layer, nn.Conv1d) and layer.kernel_size != (1,)
    return wide or isinstance(layer, nn.RNNBase)


def _any_logit(logits: Tensor, classes: Tensor) -> Tensor:
    numbers = torch.arange(1, logits.shape[1] + 1, dtype=logits.dtype, device=logits.device)
    return (logits * numbers.cos()).sum(1)


# All logits at once, each with a weight of its own.
_ANY = Objective("any logit", _any_logit)
