"""Dead ReLUs at the start: what is let through, for whom, and what is said where nothing helps."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fluoroscope as fs
from fluoroscope.errors import NoGradientError
from fluoroscope.inversion.portraits.warm_up import opened


def _in_place(x: Tensor) -> Tensor:
    return x.clone().relu_()


@pytest.mark.parametrize(
    ("act", "high"),
    [
        (nn.ReLU(), float("inf")),
        (nn.ReLU(inplace=True), float("inf")),
        (F.relu, float("inf")),
        (_in_place, float("inf")),
        (lambda x: x.clamp(min=0), float("inf")),
        (nn.ReLU6(), 6.0),
        (nn.ReLU6(inplace=True), 6.0),
        (lambda x: torch.clamp(x, 0, 6), 6.0),
    ],
)
def test_where_nothing_would_pass_what_leads_inside_does(act: nn.Module, high: float) -> None:
    # Dead and early; dead and late; alive; dead above where there is an end.
    given = torch.tensor([[-1.0, -2, -3], [-1, -2, -3], [-1, 2, -3], [-1, 8, 9]])
    slope = torch.tensor([[1.0, -1, 2], [1, -1, 2], [1, -1, 2], [-1, -1, 2]])
    early = torch.tensor([True, False, True, True])
    x = given.clone().requires_grad_()
    with opened(early)():
        answer = act(x * 1.0)
    torch.testing.assert_close(answer.detach(), given.clamp(0, high))
    (found,) = torch.autograd.grad(answer, x, slope)
    last = [0.0, -1, 2] if high > 6 else [0.0, -1, 0]
    expected = torch.tensor([[1.0, 0, 2], [0, 0, 0], [0, -1, 0], last])
    torch.testing.assert_close(found, expected)


def _dead(bias: float) -> fs.Classifier:
    """A network whose ReLU no picture excites before it has moved."""
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 4, 3)
    nn.init.constant_(conv.bias, bias)  # type: ignore[arg-type]
    linear = nn.Linear(4 * 36, 3)
    return fs.Classifier(
        nn.Sequential(conv, nn.ReLU(), nn.Flatten(), linear).double(), channels=1, input_size=8
    )


def test_a_dead_start_is_led_out_and_without_that_it_is_said() -> None:
    model = _dead(-0.8)
    how = {"method": "pixels", "steps": 40, "seed": 0}
    without = fs.portrait(model, [1], warm_up=0, **how)  # type: ignore[arg-type]
    assert float(without.transparency.sum()) == 0
    assert any("zero from the network at every step" in note for note in without.notes)
    assert any("warm_up=16" in note for note in without.notes)
    led = fs.portrait(model, [1], **how)  # type: ignore[arg-type]
    assert float(led.logits[0, 1]) > float(without.logits[0, 1]) + 0.005
    assert not any("every step" in note for note in led.notes)


def test_what_nothing_can_excite_is_said_to_be_no_portrait() -> None:
    found = fs.portrait(_dead(-50.0), [0, 1], method="pixels", steps=20, warm_up=3)
    assert any("half of the steps or more" in note for note in found.notes)


class _Broken(nn.Module):
    """Sound answers, and a gradient that is NaN everywhere: of all pictures, or of the lighter."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.whole = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), whole

    def forward(self, x: Tensor) -> Tensor:
        rows = [x] if self.whole else x.split(1)  # a NaN would go back to all of a batch
        return torch.cat([self._answer(row) for row in rows])

    def _answer(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        broken = self.whole or bool(x.mean() > 0.5)
        return torch.where(y > 1e6, y * float("nan"), y) if broken else y


@pytest.mark.filterwarnings("ignore::fluoroscope.errors.FluoroscopeWarning")
def test_a_gradient_that_is_nan_everywhere_is_not_called_zero() -> None:
    model = fs.Classifier(_Broken(True), channels=1, input_size=8)
    with pytest.raises(NoGradientError, match="NaN or infinite at every pixel"):
        fs.portrait(model, [0, 1], method="pixels", steps=4)
    with pytest.raises(NoGradientError, match="NaN or infinite at every pixel"):
        fs.invert(model, steps=2, batch_size=4)
    # Where some portraits are led, those that are not are told of, with the true cause.
    start = torch.stack([torch.full((1, 8, 8), value) for value in (0.2, 0.9)])
    some = fs.Classifier(_Broken(False), channels=1, input_size=8)
    found = fs.portrait(some, [0, 1], start=start, method="pixels", steps=4)
    (said,) = [note for note in found.notes if "at every step" in note]
    assert said.startswith("portrait 1 (from 0) got a gradient that is zero, NaN or infinite")
    assert "exactly zero" not in said


def test_where_relus_are_alive_nothing_changes() -> None:
    model = fs.load_model("digits-cnn")
    found = [fs.portrait(model, [3], method="pixels", steps=6, warm_up=w) for w in (0, 16)]
    assert torch.equal(found[0].images, found[1].images)
    assert found[1].notes == found[0].notes
