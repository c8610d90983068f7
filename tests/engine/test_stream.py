"""The loop: which samples are evaluated, how often, and what it hands on."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from fluoroscope.attacks.ascent import GradientAscent
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.objectives import LOGIT, Objective
from fluoroscope.engine.stream import Query, run, stream
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
    left: Tensor

    @property
    def done(self) -> Tensor:
        return self.left < 0


class Patience:
    """Asks as many times as the first pixel says, in tenths, and never moves."""

    objective: Objective = LOGIT

    def start(self, images: Tensor) -> Countdown:
        return Countdown(images, torch.round(images[:, 0, 0, 0] * 10))

    def ask(self, state: Countdown) -> Query:
        return Query(state.images, gradient=False)

    def tell(self, state: Countdown, answer: Answer) -> Countdown:
        return replace(state, left=state.left - 1)


def test_finished_samples_cost_nothing_more() -> None:
    module = Counting()
    images = torch.tensor([0.3, 0.0, 0.1]).view(3, 1, 1, 1).repeat(1, 1, 2, 2)
    outcome = run(Classifier(module, channels=1), Patience(), images, torch.zeros(3).long())
    assert outcome.forwards.tolist() == [4, 1, 2]
    assert outcome.backwards.tolist() == [0, 0, 0]
    assert module.seen == 7
    assert torch.equal(outcome.images, images)


def test_gradient_ascent_needs_one_gradient_a_step_and_one_look_at_the_end() -> None:
    module = Counting()
    attack = GradientAscent(steps=3, step_size=0.1, objective=LOGIT)
    images = torch.zeros(2, 1, 2, 2)
    outcome = run(Classifier(module, channels=1), attack, images, torch.zeros(2).long())
    assert outcome.forwards.tolist() == [4, 4]
    assert outcome.backwards.tolist() == [3, 3]
    torch.testing.assert_close(outcome.images, torch.full((2, 1, 2, 2), 0.3))
    torch.testing.assert_close(outcome.logits[:, 0], torch.full((2,), 0.3))


def test_until_stops_each_sample_by_itself() -> None:
    attack = GradientAscent(steps=20, step_size=0.1, objective=LOGIT)
    images = torch.tensor([0.0, 0.3]).view(2, 1, 1, 1).repeat(1, 1, 2, 2)

    def fooled(answer: Answer, classes: Tensor) -> Tensor:
        return answer.logits.argmax(1) == classes

    model = Classifier(Counting(), channels=1)
    outcome = run(model, attack, images, torch.zeros(2).long(), until=fooled)
    assert outcome.forwards.tolist() == [6, 3]
    torch.testing.assert_close(outcome.images[:, 0, 0, 0], torch.tensor([0.5, 0.5]))


def test_the_stream_can_be_dropped_at_any_time() -> None:
    module = Counting()
    attack = GradientAscent(steps=100, step_size=0.01, objective=LOGIT)
    steps = stream(
        Classifier(module, channels=1), attack, torch.zeros(1, 1, 2, 2), torch.tensor([0])
    )
    assert [next(steps).number for _ in range(3)] == [0, 1, 2]
    steps.close()
    assert module.seen == 3


@pytest.mark.parametrize("direction", ["sign", "normalized", "raw"])
def test_a_step_goes_along_the_gradient_by_its_size(direction: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(8, 3)
    model = Classifier(nn.Sequential(nn.Flatten(), layer), channels=2)
    start = torch.full((2, 2, 2, 2), 0.5)
    attack = GradientAscent(1, 0.05, direction, LOGIT)
    moved = run(model, attack, start, torch.tensor([0, 2])).images - start
    slope = layer.weight.detach()[[0, 2]].view(2, 2, 2, 2)
    expected = {
        "sign": 0.05 * slope.sign(),
        "raw": 0.05 * slope,
        "normalized": 0.05 * slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1),
    }[direction]
    torch.testing.assert_close(moved, expected, atol=1e-6, rtol=1e-5)
