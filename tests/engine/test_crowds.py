"""Searches that ask about several images of a sample at once."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import LOGIT
from fluoroscope.engine.run import Outcome, run
from fluoroscope.engine.stream import Budget, Query, Samples, Step
from fluoroscope.engine.threats import L2
from fluoroscope.models.classifier import Classifier

ASKED = 20
MOST = 0.9


@dataclass(frozen=True)
class Row:
    images: Tensor
    classes: Tensor
    asked: Tensor

    @property
    def done(self) -> Tensor:
        return self.asked >= ASKED


class Brighter:
    """Asks about the picture brightened in steps, up to ``MOST`` and down again."""

    apart = False

    def __init__(self, gradient: bool = False) -> None:
        self.gradient = gradient
        self.one_by_one = 0
        """So many of the samples ask about one image at a time."""

    def start(self, samples: Samples) -> Row:
        return Row(samples.images, samples.classes, torch.zeros_like(samples.classes))

    def ask_within(self, state: Row, room: int) -> Query:
        count = (ASKED - state.asked).clamp(max=room)
        count[: self.one_by_one] = 1
        owners = torch.arange(len(count)).repeat_interleave(count)
        behind = torch.arange(len(owners)) - (count.cumsum(0) - count)[owners]
        level = 1 - ((state.asked[owners] + behind + 1) / ASKED * 2 - 1).abs()
        images = state.images[owners] + MOST * level.view(-1, 1, 1, 1)
        crowd = owners if len(owners) > len(count) else None
        return Query(images, self.gradient, LOGIT, state.classes[owners], owners=crowd)

    def tell_all(self, state: Row, query: Query, answer: Answer) -> Row:
        assert len(answer.logits) == len(query.images)
        one = query.owners is None
        count = 1 if one else query.owners.bincount(minlength=len(state.asked))  # type: ignore[union-attr]
        return replace(state, asked=state.asked + count)


class Bright(nn.Module):
    """Class 1 from a mean of a half on; remembers the batches it was shown."""

    def __init__(self, fits: int = 1000) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.fits = fits

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        if len(x) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        bright = x.flatten(1).mean(1)
        return torch.stack([0.5 - bright, bright - 0.5], 1)


def searched(
    network: Bright, count: int = 3, gradient: bool = False, **how: Any
) -> tuple[Outcome, list[Step]]:
    images = torch.arange(count).double().view(-1, 1, 1, 1) / 50 * torch.ones(1, 1, 2, 2).double()
    steps: list[Step] = []
    found = run(
        Classifier(network.double(), channels=1), Brighter(gradient), images,  # type: ignore[arg-type]
        torch.zeros(count).long(), L2(10.0), on_step=steps.append, **how,
    )  # fmt: skip
    return found, steps


def levels(steps: list[Step], index: int) -> list[float]:
    return [
        round(float(image[0, 0, 0]), 6)
        for step in steps
        for image in step.images[step.indices == index]
    ]


def test_what_is_found_and_counted_does_not_hang_on_the_room() -> None:
    """At most the batch goes through at once; the closest of a crowd is kept, as one by one."""
    alone, one_by_one = searched(Bright(), batch_size=3, keep="nearest")
    for size in (6, 7, 13, 60, 200):
        network = Bright()
        found, steps = searched(network, batch_size=size, keep="nearest")
        assert torch.equal(found.images, alone.images)
        assert torch.equal(found.distance, alone.distance)
        assert found.forwards.tolist() == alone.forwards.tolist() == [1 + ASKED] * 3
        assert found.finished.all()
        assert len(steps) < len(one_by_one)
        assert max(network.sizes) <= size
        for index in range(3):
            assert levels(steps, index) == levels(one_by_one, index)


def test_gradients_are_counted_for_each_image() -> None:
    for size in (3, 13, 60):
        found, _ = searched(Bright(), gradient=True, batch_size=size, keep="nearest")
        assert found.backwards.tolist() == [ASKED] * 3


def test_every_row_of_a_step_says_where_its_sample_was() -> None:
    _, [step] = searched(Bright(), batch_size=60, keep="nearest")
    assert step.indices.tolist() == [0] * ASKED + [1] * ASKED + [2] * ASKED
    assert step.numbers.tolist() == 3 * list(range(ASKED))
    assert step.forwards.tolist() == 3 * list(range(1, ASKED + 1))
    assert step.done.nonzero().squeeze(1).tolist() == [19, 39, 59]
    assert step.finished.nonzero().squeeze(1).tolist() == [19, 39, 59]
    ends = step.ends()
    assert ends.indices.tolist() == [0, 1, 2]
    assert ends.forwards.tolist() == [ASKED] * 3
    bright = step.images.flatten(1).mean(1) > 0.5
    assert torch.equal(step.reached, bright)


@pytest.mark.parametrize(
    "how",
    [{"keep": "first"}, {"keep": "nearest", "exact": True},
     {"keep": "nearest", "budget": Budget(forwards=5)}],
)  # fmt: skip
def test_one_at_a_time_where_more_would_cost_more_or_change_the_shape(how: Any) -> None:
    found, steps = searched(Bright(), batch_size=60, **how)
    assert all(len(step.indices) <= 3 for step in steps)
    alone, _ = searched(Bright(), batch_size=3, **how)
    assert torch.equal(found.images, alone.images)
    assert torch.equal(found.forwards, alone.forwards)
    if "budget" in how:
        assert (found.forwards == 1 + 5).all()
        assert not found.finished.any()


@pytest.mark.parametrize("fits", [40, 7, 2, 1])
def test_when_memory_runs_out_there_is_less_room(fits: int) -> None:
    alone, _ = searched(Bright(), batch_size=3, keep="nearest")
    network = Bright(fits)
    with pytest.warns(match="memory ran out"):
        found, _ = searched(network, batch_size=60, keep="nearest")
    assert torch.equal(found.images, alone.images)
    assert torch.equal(found.forwards, alone.forwards)
    assert found.finished.all()
    assert sum(size <= fits for size in network.sizes) > sum(size > fits for size in network.sizes)


def test_a_find_beside_others_crowds_ends_its_search() -> None:
    attack = Brighter()
    attack.apart, attack.one_by_one = True, 2
    images = torch.zeros(3, 1, 2, 2).double()
    images[2] = -50  # never bright enough
    network = Classifier(Bright().double(), channels=1)
    found = run(network, attack, images, torch.zeros(3).long(), L2(100.0), batch_size=12)  # type: ignore[arg-type]
    assert found.success.tolist() == [True, True, False]
    assert found.forwards[0] == found.forwards[1] < 1 + ASKED / 2
    assert found.forwards[2] == 1 + ASKED


def test_the_end_is_that_of_the_last_row() -> None:
    found, _ = searched(Bright(), batch_size=60, keep="last")
    alone, _ = searched(Bright(), batch_size=3, keep="last")
    assert torch.equal(found.images, alone.images)
    assert not found.success.any()


def test_a_search_that_is_cancelled_has_counted_its_crowd() -> None:
    found, steps = searched(Bright(), batch_size=30, keep="nearest", cancelled=lambda: True)
    assert len(steps) == 1
    assert found.forwards.tolist() == [1 + 10] * 3
