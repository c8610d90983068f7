"""The average of the weights, against a loop by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fluoroscope.errors import InvalidParameterError
from fluoroscope.training.beside.averaging import WeightAverage
from fluoroscope.training.trainer.classification import accuracy
from fluoroscope.training.trainer.companion import Running
from fluoroscope.training.trainer.fitting import fit, fit_stream
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import Moment

IMAGES = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 2
RECIPE = Recipe(epochs=4, batch_size=8, learning_rate=0.05)


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)
        )


class Seen(Running):
    """The state after every update."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def after(self, module: nn.Module, moment: Moment) -> None:
        self.states.append({name: value.clone() for name, value in module.state_dict().items()})


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_is_what_a_loop_by_hand_averages(decay: float) -> None:
    module, seen = network(), Seen()
    average = {name: value.clone() for name, value in module.state_dict().items()}
    fit(module, IMAGES, LABELS, RECIPE, beside=[WeightAverage(decay), seen])
    assert len(seen.states) == 20
    for number, state in enumerate(seen.states, 1):
        keep = min(decay, (1 + number) / (10 + number))
        for name, value in state.items():
            if name.endswith("num_batches_tracked"):
                average[name] = value
            else:
                average[name] = keep * average[name] + (1 - keep) * value
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, average[name], msg=name)
    assert int(module[1].num_batches_tracked) == 20  # type: ignore[arg-type]
    # And the network learnt as it would have without.
    plain = network()
    fit(plain, IMAGES, LABELS, RECIPE)
    assert all(torch.equal(seen.states[-1][name], v) for name, v in plain.state_dict().items())
    assert not torch.equal(module[0].weight, plain[0].weight)


def test_epochs_are_judged_by_the_average() -> None:
    module, average = network(), WeightAverage(0.9).begin(network(), 2)
    held_out = (IMAGES, LABELS)
    judged = own = None
    for step in fit_stream(module, IMAGES, LABELS, RECIPE, held_out=held_out, beside=[average]):
        if step.number == 15:
            judged, own = step.held_out, accuracy(module, IMAGES, LABELS)
            before = {name: value.clone() for name, value in module.state_dict().items()}
            with average.judged(module):
                by_average = accuracy(module, IMAGES, LABELS)
            after = module.state_dict()
            assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert judged == by_average != own
    assert step.held_out == accuracy(module, IMAGES, LABELS)


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_decays_out_of_range(decay: Any) -> None:
    with pytest.raises(InvalidParameterError, match=r"decay is .*; expected"):
        WeightAverage(decay)


def test_two_averages_cannot_both_be_what_the_network_ends_with() -> None:
    module = network()
    before = module[0].weight.detach().clone()  # type: ignore[operator]
    says = r"decay=0\.9\).*decay=0\.99\), and each says .* expected one of them"
    with pytest.raises(InvalidParameterError, match=says):
        fit(module, IMAGES, LABELS, RECIPE, beside=[WeightAverage(0.9), WeightAverage(0.99)])
    assert torch.equal(module[0].weight, before)
