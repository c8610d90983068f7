"""The loop: which samples are evaluated, how often, and what it hands on."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from fluoroscope.attacks.gradient.ascent import GradientAscent
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.first_look import first_look
from fluoroscope.engine.objectives import LOGIT
from fluoroscope.engine.run import run
from fluoroscope.engine.stream import Budget, Query, Samples, feed, stream
from fluoroscope.engine.threats import Unbounded
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier


class Counting(nn.Module):
    """Brightness as the logit of class 0; counts the images it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        bright = x.flatten(1).mean(1)
        return torch.stack([bright, 0.45 * torch.ones_like(bright)], dim=1)


@dataclass(frozen=True)
class Countdown:
    images: Tensor
    classes: Tensor
    left: Tensor

    @property
    def done(self) -> Tensor:
        return self.left < 0


class Patience:
    """Asks as many times as the first pixel says, in tenths, and never moves."""

    def start(self, samples: Samples) -> Countdown:
        left = torch.round(samples.images[:, 0, 0, 0] * 10)
        return Countdown(samples.images, samples.classes, left)

    def ask(self, state: Countdown) -> Query:
        return Query(state.images, gradient=False, objective=LOGIT, classes=state.classes)

    def tell(self, state: Countdown, answer: Answer) -> Countdown:
        return replace(state, left=state.left - 1)


def zeros(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.long)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_slots_are_refilled_and_finished_samples_cost_nothing(batch_size: int) -> None:
    module = Counting()
    waits = torch.tensor([0.3, 0.0, 0.1, 0.2, 0.0])
    images = waits.view(5, 1, 1, 1).repeat(1, 1, 2, 2)
    samples = feed(images, zeros(5))
    model = Classifier(module, channels=1)
    first_look(model, images)
    module.seen = 0
    sizes, seen = [], []
    for step in stream(model, Patience(), samples, batch_size=batch_size):
        sizes.append(len(step.indices))
        seen += step.indices.tolist()
        for row, index in enumerate(step.indices.tolist()):
            assert torch.equal(step.images[row], images[index])
    assert [seen.count(index) for index in range(5)] == [4, 1, 2, 3, 1]
    assert module.seen == 11
    assert max(sizes) == min(batch_size, 5)
    # Full as long as anything waits: only the tail is shorter.
    assert sizes == sorted(sizes, reverse=True)


def test_data_are_read_only_as_slots_become_free() -> None:
    taken = []

    source = feed(torch.full((6, 1, 2, 2), 0.2), zeros(6))

    def lazily(count: int) -> Samples | None:
        samples = source(count)
        if samples is not None:
            taken.extend(samples.indices.tolist())
        return samples

    steps = stream(Classifier(Counting(), channels=1), Patience(), lazily, batch_size=2)
    next(steps)
    assert taken == [0, 1]
    list(steps)
    assert taken == list(range(6))


def test_gradient_ascent_needs_one_gradient_a_step_and_one_look_at_the_end() -> None:
    attack = GradientAscent(steps=3, step_size=0.1, objective=LOGIT)
    images = torch.zeros(2, 1, 2, 2)
    model = Classifier(Counting(), channels=1)
    outcome = run(model, attack, images, zeros(2), Unbounded(), targeted=True, keep="last")
    assert outcome.forwards.tolist() == [5, 5]  # the clean look included
    assert outcome.backwards.tolist() == [3, 3]
    torch.testing.assert_close(outcome.images, torch.full((2, 1, 2, 2), 0.3))
    torch.testing.assert_close(outcome.logits[:, 0], torch.full((2,), 0.3))


def test_first_success_ends_each_sample_by_itself() -> None:
    attack = GradientAscent(steps=20, step_size=0.1, objective=LOGIT)
    images = torch.tensor([0.0, 0.3, 0.9]).view(3, 1, 1, 1).repeat(1, 1, 2, 2)
    model = Classifier(Counting(), channels=1)
    outcome = run(model, attack, images, zeros(3), Unbounded(), targeted=True)
    assert outcome.forwards.tolist() == [7, 4, 1]
    assert outcome.success.tolist() == [True, True, True]
    assert outcome.at_start.tolist() == [False, False, True]
    torch.testing.assert_close(outcome.images[:, 0, 0, 0], torch.tensor([0.5, 0.5, 0.9]))


def test_unfooled_samples_stay_as_they_were() -> None:
    attack = GradientAscent(steps=2, step_size=0.1, objective=LOGIT)
    images = torch.zeros(2, 1, 2, 2)
    model = Classifier(Counting(), channels=1)
    outcome = run(model, attack, images, zeros(2), Unbounded(), targeted=True)
    assert not outcome.success.any()
    assert torch.equal(outcome.images, images)
    assert outcome.distance.tolist() == [0, 0]
    best = run(model, attack, images, zeros(2), Unbounded(), targeted=True, keep="best")
    torch.testing.assert_close(best.images, torch.full((2, 1, 2, 2), 0.2))


def test_restarts_and_budgets_are_kept_for_each_sample() -> None:
    model = Classifier(Counting(), channels=1)
    images = torch.full((3, 1, 2, 2), 0.1)

    def calls(**options: object) -> list[int]:
        seen: list[int] = []
        for step in stream(model, Patience(), feed(images, zeros(3)), **options):
            seen += step.indices.tolist()
        return [seen.count(index) for index in range(3)]

    assert calls(restarts=3) == [6, 6, 6]
    assert calls(restarts=3, budget=Budget(forwards=5)) == [5, 5, 5]
    assert calls(restarts=3, budget=Budget(forwards=5), batch_size=2) == [5, 5, 5]
    with pytest.raises(InvalidParameterError, match="a whole number, 1 or more"):
        Budget(forwards=0)


def test_every_restart_has_other_chance() -> None:
    keys = []

    class Watching(Patience):
        def start(self, samples: Samples) -> Countdown:
            keys.append(samples.keys.tolist())
            return super().start(samples)

    images = torch.zeros(2, 1, 2, 2)
    list(stream(Classifier(Counting(), channels=1), Watching(), feed(images, zeros(2)), restarts=3))
    flat = [key for row in keys for key in row]
    assert len(flat) == len(set(flat)) == 6


def test_the_stream_can_be_dropped_at_any_time() -> None:
    module = Counting()
    attack = GradientAscent(steps=100, step_size=0.01, objective=LOGIT)
    samples = feed(torch.zeros(1, 1, 2, 2), zeros(1), targeted=True)
    model = Classifier(module, channels=1)
    first_look(model, torch.zeros(1, 1, 2, 2))
    module.seen = 0
    steps = stream(model, attack, samples)
    assert [int(next(steps).numbers) for _ in range(3)] == [0, 1, 2]
    steps.close()
    assert module.seen == 3


@pytest.mark.parametrize("direction", ["sign", "normalized", "raw"])
def test_a_step_goes_along_the_gradient_by_its_size(direction: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(8, 3)
    model = Classifier(nn.Sequential(nn.Flatten(), layer), channels=2)
    start = torch.full((2, 2, 2, 2), 0.5)
    attack = GradientAscent(1, 0.05, direction, LOGIT)
    wanted = torch.tensor([0, 2])
    outcome = run(model, attack, start, wanted, Unbounded(), targeted=True, keep="last")
    moved = outcome.images - start
    slope = layer.weight.detach()[[0, 2]].view(2, 2, 2, 2)
    expected = {
        "sign": 0.05 * slope.sign(),
        "raw": 0.05 * slope,
        "normalized": 0.05 * slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1),
    }[direction]
    torch.testing.assert_close(moved, expected, atol=1e-6, rtol=1e-5)
