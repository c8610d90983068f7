"""What methods that hide parts of a picture have in common; mathematics of one each elsewhere."""

from abc import abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from fluoroscope.attribution.baselines import Given, as_baseline
from fluoroscope.attribution.method import Found, Probing, SumOfProbes, Sums, spread
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.stream import Samples
from fluoroscope.engine.vectors import column, wide
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier


@dataclass(frozen=True)
class Hidings(Sums):
    """What is known of pictures of which parts were hidden.

    ``total`` ``(n, 2, 1, H, W)`` is of what was hidden of each pixel, and of that times the number
    to explain; ``values`` of that number at the picture, and of its sum over all masks.
    """

    base: Tensor
    """``(n, C, H, W)``, what stands in the place of what is hidden."""


@dataclass(frozen=True, kw_only=True)
class Masked(SumOfProbes):
    """A method whose probes are the picture, and the picture with parts of it hidden.

    It reads the number to explain and no gradient, so it works on any network. Masks are made of
    their numbers when they are asked for and when they are answered, never kept.
    """

    baseline: Given = "black"

    gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        baseline = as_baseline(self.baseline)
        if baseline.is_set:
            raise InvalidParameterError(
                f"baseline is a set of {baseline.count} pictures; {self.name} shows one thing in "
                "place of what it hides: expected a single picture (C, H, W), such as their mean"
            )
        object.__setattr__(self, "baseline", baseline)

    @abstractmethod
    def count(self, state: Any) -> Tensor:
        """``(n,)``, how many masks each picture has."""

    @abstractmethod
    def hidden(self, state: Any, owners: Tensor, numbers: Tensor) -> Tensor:
        """``(m, 1, H, W)``, from 0 to 1: how much of each pixel the masks of those numbers hide."""

    def network(self, model: Classifier, images: Tensor, seed: int) -> Classifier:
        """The network itself; the baseline has to fit the images."""
        as_baseline(self.baseline).check(images)
        return model

    def start(self, samples: Samples) -> Hidings:
        """Nothing hidden yet."""
        sums = super().start(samples)
        known = {field.name: getattr(sums, field.name) for field in fields(sums)}
        known |= {"values": torch.zeros_like(sums.values)}
        return Hidings(**known, base=as_baseline(self.baseline).of(samples))

    def zero(self, samples: Samples) -> Tensor:
        """Two maps in float64: they are small, and their difference smaller."""
        like = samples.images
        shape = (len(like), 2, 1, *like.shape[2:])
        return torch.zeros(shape, dtype=wide(like), device=like.device)

    def probes(self, state: Any) -> Tensor:
        """The picture and its masks."""
        return 1 + self.count(state)

    def _hidden(self, state: Any, owners: Tensor, numbers: Tensor) -> Tensor:
        """Of the picture itself nothing."""
        found = self.hidden(state, owners, (numbers - 1).clamp(min=0))
        return torch.where(column(numbers == 0), 0.0, found)

    def images(self, state: Any, owners: Tensor, numbers: Tensor) -> Tensor:
        """The picture, where nothing is hidden, and its baseline."""
        images = spread(state.samples.images, owners)
        hidden = self._hidden(state, owners, numbers).to(images.dtype)
        return images.lerp(spread(state.base, owners), hidden)

    def add(self, state: Any, query: Probing, answer: Answer) -> Any:
        """What the number was while so much was hidden."""
        assert answer.objective is not None
        found = answer.objective.to(state.values.dtype)
        hidden = self._hidden(state, query.whose, query.numbers).to(found.dtype)
        place = (query.whose, (query.numbers > 0).long())
        # One product of matrices: much less is moved than by adding mask after mask.
        weights = found.new_zeros(len(state.done), 2, len(found))
        each = torch.arange(len(found), device=found.device)
        weights[query.whose, 0, each], weights[query.whose, 1, each] = 1, found
        parts = weights.flatten(0, 1) @ hidden.flatten(1)
        return replace(
            state,
            total=state.total + parts.view_as(state.total),
            values=state.values.index_put(place, found, accumulate=True),
        )

    def finish(self, state: Any) -> Found:
        """The mean drop over the masks that hide a pixel."""
        weight, sums = state.total.unbind(1)
        value = state.values[:, 0]
        drop = column(value) - sums / weight.where(weight > 0, 1.0)
        maps = torch.where(weight > 0, drop, 0.0)
        return Found(maps, value, torch.full_like(value, torch.nan))
