"""Score-CAM: maps weighed by what the network says of the picture seen through each.

Wang et al. 2020 (1910.01279): ``relu(sum_k a_k A_k)`` with ``a = softmax_k y(x * s(U(A_k)))``;
``U`` makes a map as large as the picture and ``s`` brings it to [0, 1]. The score of a baseline,
which their increase of confidence takes away, is the same for all maps and so changes no weight. A
map that is the same everywhere has no ``s`` and gets no weight. Pictures are masked in [0, 1], so
what is hidden turns black.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fluoroscope.attribution.cam.method import CAM, _whole, read
from fluoroscope.attribution.method import Found, Probing
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.stream import Query, Samples, take
from fluoroscope.engine.vectors import crowd, wide


@dataclass(frozen=True)
class Scores:
    """What is known of ``n`` pictures."""

    samples: Samples
    maps: Tensor
    """``(n, K, h, w)``, what the layer gave out; 0 before."""
    order: Tensor
    """``(n, K)``, the maps that vary most come first."""
    asked: Tensor
    """``(n,)``, how many of these are asked about."""
    scores: Tensor
    """``(n, K)`` float64 in that order, the number to explain through each mask."""
    value: Tensor
    """``(n,)`` float64, the number to explain at the picture."""
    number: Tensor
    """``(n,)``, evaluations that lie behind."""
    done: Tensor
    """``(n,)`` booleans."""


@dataclass(frozen=True, kw_only=True)
class ScoreCAM(CAM):
    """A pass for the picture, and one for each of the layer's maps.

    Args:
        objective, layer, call: as for every class activation map.
        relu: whether only what is positive is kept.
        channels: how many of the layer's maps are asked about, those of the largest standard
            deviation over the picture; by default all that are not the same everywhere.
    """

    relu: bool = True
    channels: int | None = None

    name: ClassVar[str] = "score-cam"
    of_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels is not None:
            object.__setattr__(self, "channels", _whole("channels", self.channels, 1))

    def behind(self, state: Scores) -> Tensor:
        """The share of the masks that were asked about; at first nobody knows of how many."""
        return torch.where(state.done, 1.0, state.number / (1 + state.asked.clamp(min=1)))

    def start(self, samples: Samples) -> Scores:
        """Nothing known."""
        grid, images, none = self.place.grid, samples.images, torch.zeros_like(samples.indices)
        maps = torch.zeros(
            (len(images), grid.channels, grid.height, grid.width),
            dtype=images.dtype,
            device=images.device,
        )
        scores = torch.full_like(maps[:, :, 0, 0], -torch.inf, dtype=wide(images))
        value = torch.full_like(scores[:, 0], torch.nan)
        order = torch.zeros_like(scores, dtype=torch.long)
        return Scores(samples, maps, order, none, scores, value, none, none > 0)

    def ask_within(self, state: Scores, room: int) -> Probing:
        """The picture itself, and then as seen through its maps."""
        fresh = state.number == 0
        left = torch.where(fresh, 1, 1 + state.asked - state.number)
        owners, before = crowd(left.clamp(max=room))
        numbers = state.number[owners] + before
        samples = take(state.samples, owners)
        place = self.place
        reads = bool(fresh.any())
        return Probing(
            samples.images * self._masks(state, owners, numbers).to(samples.images),
            False,
            self.goal(samples.classes),
            samples.classes,
            owners=owners,
            numbers=numbers,
            layer=place.layer if reads else None,
            call=place.call if reads else None,
        )

    def _masks(self, state: Scores, owners: Tensor, numbers: Tensor) -> Tensor:
        """``(m, 1, H, W)`` in [0, 1]; 1 for the picture itself."""
        size = (state.samples.images.shape[2], state.samples.images.shape[3])
        which = state.order[owners, (numbers - 1).clamp(min=0)]
        maps = self.place.seen(state.maps[owners, which][:, None], size)
        least, most = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
        span = (most - least).where(most > least, torch.ones_like(most))
        masks = self.place.over((maps - least) / span, size)
        return torch.where((numbers == 0).view(-1, 1, 1, 1), torch.ones_like(masks), masks)

    def tell_all(self, state: Scores, query: Query, answer: Answer) -> Scores:
        """The layer's maps at first, then a score for each."""
        assert isinstance(query, Probing)
        assert answer.objective is not None
        whose, told = query.whose, answer.objective.to(state.scores.dtype)
        first = query.numbers == 0
        if bool(first.any()):
            state = self._begun(state, whose[first], answer, first, told[first])
        scores = state.scores.clone()
        later = ~first
        scores[whose[later], query.numbers[later] - 1] = told[later]
        number = state.number.index_add(0, whose, torch.ones_like(whose))
        return replace(state, scores=scores, number=number, done=number > state.asked)

    def _begun(
        self, state: Scores, whose: Tensor, answer: Answer, rows: Tensor, value: Tensor
    ) -> Scores:
        """With the maps of pictures that were just seen for the first time."""
        assert answer.activation is not None
        seen = replace(answer, activation=answer.activation[rows])
        maps, _ = read(self.place, seen, state.maps.dtype)
        flat = maps.flatten(2)
        spread = flat.std(2, correction=0)
        varies = flat.amax(2) > flat.amin(2)
        order = torch.where(varies, spread, -1).argsort(stable=True, dim=1, descending=True)
        asked = varies.sum(1)
        if self.channels is not None:
            asked = asked.clamp(max=self.channels)
        return replace(
            state,
            maps=state.maps.index_copy(0, whose, maps),
            order=state.order.index_copy(0, whose, order),
            asked=state.asked.index_copy(0, whose, asked),
            value=state.value.index_copy(0, whose, value),
        )

    def finish(self, state: Scores) -> Found:
        """The maps, weighed."""
        some = (state.asked > 0)[:, None]
        weights = torch.where(some, state.scores, 0.0).softmax(1) * some
        maps = state.maps.flatten(2).gather(
            1, state.order[:, :, None].expand(-1, -1, state.maps[0, 0].numel())
        )
        found = (weights[:, None].to(maps.dtype) @ maps).view(-1, 1, *state.maps.shape[2:])
        found = self.over_pictures(found.relu() if self.relu else found, state.samples.images)
        return Found(found, state.value, torch.full_like(state.value, torch.nan))
