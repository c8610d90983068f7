"""Sparse-RS (Croce, Andriushchenko, Singh, Flammarion, Hein 2022): random search over ``k`` pixels.

``k`` pixels, the bound of the threat model, have a colour of 0s and 1s. A candidate gives up a
share ``alpha`` of them, drawn at random, for as many others of random such colours, and takes their
place if its loss is lower. The loss is the margin of the true class; for a wanted class, its
cross-entropy. ``alpha`` is ``alpha_init`` divided by 2, 4, 5, 6, 8, 10, 12, 15 and 20, in turn up
to queries 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 of 10,000 and beyond, rescaled to the
budget.

Where this differs: which pixels are given up belongs to the sample (in the authors' code all of a
batch share the draw); a colour that is the pixel's own, and so would change nothing, becomes the
opposite one; a search goes on after a success if the engine lets it.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attacks.attack import Access, Method
from fluoroscope.attacks.sparse.pixels import paint
from fluoroscope.engine import randomness
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import LOG_PROBABILITY, MARGIN, Objective
from fluoroscope.engine.stream import Query, Samples
from fluoroscope.engine.threats import Threat
from fluoroscope.errors import InvalidParameterError

_ENDS = (50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_DIVISORS = (2, 4, 5, 6, 8, 10, 12, 15, 20)


@dataclass(frozen=True)
class SparseRSState:
    """Where ``n`` searches are."""

    samples: Samples
    """What the searches began from, their classes and their randomness."""
    places: Tensor
    """``(n, k)``, the best pixels so far, all different, counted along the rows."""
    colours: Tensor
    """``(n, C, k)``, their colours."""
    value: Tensor
    """``(n,)``, minus the loss there."""
    new_places: Tensor
    """``(n, k)``, to be evaluated next."""
    new_colours: Tensor
    """``(n, C, k)``"""
    queries: Tensor
    """``(n,)``, evaluations made."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class SparseRS(Method):
    """Sparse-RS: ``queries`` evaluations, the first of which change a share of ``alpha_init / 2``.

    The authors take 0.3 for it, and 0.1 towards a wanted class.
    """

    threat: Threat
    queries: int = 10_000
    alpha_init: float = 0.3

    can_mask: ClassVar[bool] = False
    paper: ClassVar[str] = "Croce et al. 2022 (2006.12834)"
    access: ClassVar[Access] = "score"
    norms: ClassVar[tuple[str, ...]] = ("l0",)
    cost: ClassVar[str] = "1 forward"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(1, "queries")
        if not 0 < self.alpha_init <= 2:
            raise InvalidParameterError(
                f"alpha_init is {self.alpha_init}; expected above 0, at most 2 (it is halved first)"
            )

    def start(self, samples: Samples) -> SparseRSState:
        """With random pixels of random colours."""
        count, size = int(self.threat.eps), samples.images[0, 0].numel()
        if count >= size:
            raise InvalidParameterError(
                f"eps is {count} pixels; expected fewer than the {size} of the image, "
                "or there are none to exchange"
            )
        places = randomness.uniform(samples.keys, 0, (size,)).topk(count, dim=1).indices
        draws = randomness.uniform(samples.keys, 1, (samples.images.shape[1], count))
        colours = _colours(samples.images, places, draws)
        none = torch.zeros_like(samples.classes)
        return SparseRSState(
            samples=samples,
            places=places,
            colours=colours,
            value=torch.full_like(none, -math.inf, dtype=torch.double),
            new_places=places,
            new_colours=colours,
            queries=none,
            done=none > 0,
        )

    def ask(self, state: SparseRSState) -> Query:
        """The candidates."""
        minus_loss = Objective(
            "log-probability or minus margin",
            lambda z, c: torch.where(
                state.samples.towards > 0, LOG_PROBABILITY(z, c), -MARGIN(z, c)
            ),
        )
        images = paint(state.samples.images, state.new_places, state.new_colours)
        return Query(images, False, minus_loss, state.samples.classes)

    def tell(self, state: SparseRSState, answer: Answer) -> SparseRSState:
        """Keep the better of best and candidate, and draw the next exchange."""
        assert answer.objective is not None
        value = answer.objective.to(state.value.dtype)
        better = value > state.value
        places = torch.where(better[:, None], state.new_places, state.places)
        colours = torch.where(better[:, None, None], state.new_colours, state.colours)
        queries = state.queries + 1
        new_places, new_colours = self._exchange(
            state.samples.images, places, colours, state.samples.keys, queries
        )
        return replace(
            state,
            places=places,
            colours=colours,
            value=torch.where(better, value, state.value),
            new_places=new_places,
            new_colours=new_colours,
            queries=queries,
            done=queries >= self.queries,
        )

    def _exchange(
        self, original: Tensor, places: Tensor, colours: Tensor, keys: Tensor, queries: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Some of the pixels exchanged for others, with their colours."""
        _, channels, height, width = original.shape
        count, size = places.shape[1], height * width
        leaving = self._leaving(queries, count).clamp(max=size - count)
        most = int(leaving.max())
        draws = randomness.uniform(keys, queries + 1, (count + size + channels * most,))
        slots = draws[:, :count].topk(most, dim=1).indices
        free = draws[:, count : count + size].scatter(1, places, -1)
        others = free.topk(most, dim=1).indices
        # Pixel by pixel, so that how many others exchange does not change a sample's colours.
        by_pixel = draws[:, count + size :].view(-1, most, channels).transpose(1, 2)
        other_colours = _colours(original, others, by_pixel)
        kept = torch.arange(most, device=keys.device) >= leaving[:, None]
        others = torch.where(kept, places.gather(1, slots), others)
        slots_of_channels = slots[:, None].expand_as(other_colours)
        other_colours = torch.where(
            kept[:, None], colours.gather(2, slots_of_channels), other_colours
        )
        return (
            places.scatter(1, slots, others),
            colours.scatter(2, slots_of_channels, other_colours),
        )

    def _leaving(self, queries: Tensor, count: int) -> Tensor:
        """How many of ``count`` pixels are exchanged after so many queries, at least one."""
        at = queries * 10_000 // self.queries
        ends = torch.tensor(_ENDS, device=at.device)
        divisors = torch.tensor(_DIVISORS, device=at.device, dtype=torch.double)
        share = self.alpha_init / divisors[torch.bucketize(at, ends)]
        return (share * count).long().clamp(min=1)


def _colours(original: Tensor, places: Tensor, draws: Tensor) -> Tensor:
    """Colours ``(n, C, k)`` of 0s and 1s by numbers in ``[0, 1)``, none the pixel's own."""
    own = original.flatten(2).gather(2, places[:, None].expand_as(draws))
    colours = (draws < 0.5).to(original.dtype)
    return torch.where((colours == own).all(1, keepdim=True), 1 - colours, colours)
