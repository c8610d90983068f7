"""Networks without a gradient: told which plan to take, and searched by one that reads none."""

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import NoGradientError
from fluoroscope.evaluation.plan import Plan, Stage, black_box


class Cut(nn.Module):
    """A linear network whose pixels come in whole steps, without a gradient; or only its winner."""

    def __init__(self, *, winner_only: bool = False) -> None:
        super().__init__()
        self.winner_only = winner_only
        self.linear = nn.Linear(64, 3)
        generator = torch.Generator().manual_seed(1)
        self.linear.weight.data = torch.randn(3, 64, generator=generator)
        self.linear.bias.data.zero_()

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            logits = self.linear((255 * images.flatten(1)).round() / 255)
            if self.winner_only:
                return nn.functional.one_hot(logits.argmax(1), 3).to(logits)
            return logits


IMAGES = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("plan", ["standard", "fast", "curve", "rand"])
def test_plans_that_read_gradients_name_the_one_that_does_not(plan: str) -> None:
    model = fs.Classifier(Cut(), channels=1, input_size=8)
    labels = fs.predict(model, IMAGES).winners
    with pytest.raises(NoGradientError, match=r"the plan \S+ reads .* take the plan black-box"):
        fs.evaluate(model, IMAGES, labels, threat="linf:0.1", plan=plan)


def test_the_black_box_plan_finds_what_scores_show() -> None:
    model = fs.Classifier(Cut(), channels=1, input_size=8)
    labels = fs.predict(model, IMAGES).winners
    verdict = fs.evaluate(model, IMAGES, labels, threat="linf:0.2", plan="black-box", trust=True)
    assert verdict.robust_accuracy == 0
    assert verdict.backwards == 0


def test_where_scores_say_nothing_decisions_do() -> None:
    model = fs.Classifier(Cut(winner_only=True), channels=1, input_size=8)
    labels = fs.predict(model, IMAGES).winners
    square, _, last = black_box(fs.L2(1.5)).stages
    stages = tuple(
        Stage(stage.name, fs.attack(stage.name, eps=1.5, norm="l2", queries=count))
        for stage, count in ((square, 100), (last, 600))
    )
    verdict = fs.evaluate(model, IMAGES, labels, threat="l2:1.5", plan=Plan("shorter", stages))
    scores, decisions = verdict.components
    assert decisions.fooled >= 2
    assert scores.fooled + decisions.fooled == 4 - round(4 * verdict.robust_accuracy)


@pytest.mark.parametrize("threat", [fs.Linf(0.1), fs.L2(1), fs.L1(5)])
def test_no_stage_reads_a_gradient(threat: fs.Linf) -> None:
    assert {stage.attack.access for stage in black_box(threat).stages} == {"score", "decision"}
