"""Units removed for real: as the slow way has it, in closed form, and as Captum's conductance."""

from typing import Any

import captum.attr
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.layers import find_layer
from fluoroscope.neurons.reading.units import find_units
from fluoroscope.neurons.tracing.ablation import (
    Ablation,
    Put,
    as_put,
    class_numbers,
    single_effects,
)
from fluoroscope.neurons.tracing.approximations import (
    approximate,
    rank_correlation,
    top_agreement,
)
from fluoroscope.neurons.tracing.closed import closed_effects
from fluoroscope.neurons.tracing.sets import smallest_set


class Small(nn.Module):
    """Maps, pooled for a linear layer; an in-place activation."""

    def __init__(self, between: nn.Module | None = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 5, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(5, 6, 3, padding=1)
        self.last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), between or nn.Identity())
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.head(self.last(self.relu(self.second(self.relu(self.first(images))))))
        return found


def small(between: nn.Module | None = None) -> fs.Classifier:
    torch.manual_seed(3)
    return fs.Classifier(Small(between).eval(), input_size=8, channels=1)


IMAGE = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(2))


def slowly(model: fs.Classifier, layer: str, wanted: int, put: Tensor) -> Tensor:
    """Margin, logit and probability lost without each unit: whole passes, a hook, no batches."""

    def numbers() -> Tensor:
        with torch.no_grad():
            logits = model(IMAGE)[0].double()
        others = torch.cat([logits[:wanted], logits[wanted + 1 :]])
        return torch.stack([logits[wanted] - others.max(), logits[wanted],
                            logits.softmax(0)[wanted]])  # fmt: skip

    now, found = numbers(), []
    for unit in range(len(put)):

        def without(module: nn.Module, given: object, output: Tensor, unit: int = unit) -> Tensor:
            output = output.clone()
            output[:, unit] = put[unit]
            return output

        hook = find_layer(model, layer).register_forward_hook(without)
        found.append(now - numbers())
        hook.remove()
    return torch.stack(found)


def ablation(model: fs.Classifier, layer: str, put: Any = "zero", **options: Any) -> Ablation:
    units = find_units(model, layer)
    return Ablation(model, IMAGE, units, as_put(model, units, put), **options)


@pytest.mark.parametrize("layer", ["first", "second", "last.1", "head"])
@pytest.mark.parametrize("batch_size", [None, 1, 4])
def test_effects_are_those_of_the_slow_way(layer: str, batch_size: int | None) -> None:
    model = small()
    put = torch.linspace(-0.5, 0.5, find_units(model, layer).count)
    made = ablation(model, layer, put, batch_size=batch_size)
    found = single_effects(made, class_numbers(made.model, 2))
    torch.testing.assert_close(found, slowly(model, layer, 2, put), atol=1e-6, rtol=0)
    assert made.passes == len(put)


@pytest.mark.parametrize(
    ("layer", "between", "closed"),
    [("second", None, False), ("relu", None, True), ("last.0", None, True),
     ("last.1", None, True), ("first", None, False), ("relu", nn.Sigmoid(), True),
     ("relu", nn.LayerNorm(6), False)],
)  # fmt: skip
def test_the_closed_form_is_taken_where_it_is_right_and_nowhere_else(
    layer: str, between: nn.Module | None, closed: bool
) -> None:
    model = small(between)
    found = closed_effects(ablation(model, layer, 0.25), class_numbers(model, 1))
    assert (found is not None) == (closed or layer == "second")  # a ReLU tells units apart, too
    if found is not None and layer != "relu":
        put = torch.full((6,), 0.25)
        torch.testing.assert_close(found, slowly(model, layer, 1, put), atol=1e-5, rtol=0)


def test_memory_that_runs_out_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ablation(small(), "second", batch_size=6)
    rest, asked = made.rest._by_twin, []

    def scarce(twin: fs.Classifier, copies: Tensor, *, spare: bool) -> Tensor:
        asked.append(len(copies))
        if len(copies) > 2:
            raise torch.OutOfMemoryError
        return rest(twin, copies, spare=spare)

    monkeypatch.setattr(made.rest, "_by_twin", scarce)
    with pytest.warns(fs.FluoroscopeWarning, match="memory ran out with 6 images at once"):
        found = single_effects(made, class_numbers(made.model, 2))
    assert asked == [6, 3, 1, 1, 1, 1, 1, 1]
    torch.testing.assert_close(
        found, slowly(small(), "second", 2, torch.zeros(6)), atol=1e-6, rtol=0
    )


def test_what_stands_in_a_units_place() -> None:
    model = small()
    units = find_units(model, "second")
    many = torch.rand(70, 1, 8, 8)
    with torch.no_grad():
        inner = model.module
        seen = inner.second(inner.relu(inner.first(many)))  # type: ignore[operator]
    found = as_put(model, units, "mean", many)
    torch.testing.assert_close(found.value, seen.mean((0, 2, 3)), atol=1e-6, rtol=0)
    assert found.name == "its mean over 70 pictures"
    assert as_put(model, units, 2).value.tolist() == [2.0] * 6
    for wrong in ("meen", torch.zeros(5), True, float("nan"), 1e40, 10**400, torch.zeros(6).long()):
        with pytest.raises(InvalidParameterError, match="put "):
            as_put(model, units, wrong)
    with pytest.raises(InvalidParameterError, match="no pictures"):
        as_put(model, units, "mean")


def test_conductance_is_captums() -> None:
    model = small().to(dtype=torch.float64)
    image = IMAGE.double()
    units = find_units(model, "second")
    made = Ablation(model, image, units, as_put(model, units, "zero"))
    found = approximate(made, 1, ("conductance",), steps=400).values["conductance"]

    # Few steps do, as the slope at both ends of each counts.
    few = approximate(made, 1, ("conductance",), steps=12).values["conductance"]
    change = class_numbers(model, 1)(model(torch.cat([image, 0 * image])).detach())[:, 0]
    assert float(few.sum()) == pytest.approx(float(change[0] - change[1]), abs=1e-4)

    class Margin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model.module

        def forward(self, images: Tensor) -> Tensor:
            logits = self.inner(images)
            others = logits[:, [0, 2, 3]].amax(1)
            return (logits[:, 1] - others)[:, None]

    margin = Margin().eval()
    inner = margin.inner.second
    assert isinstance(inner, nn.Module)
    peer = captum.attr.LayerConductance(margin, inner)
    there = peer.attribute(image, torch.zeros_like(image), target=0, n_steps=400,
                           attribute_to_layer_input=False)  # fmt: skip
    torch.testing.assert_close(found, there.sum((2, 3))[0], atol=2e-4, rtol=2e-2)
    # As it is defined, by the gradient at the pixels: one neuron after the other.
    neuron = captum.attr.NeuronConductance(margin, inner)
    own = sum(
        neuron.attribute(image, (2, y, x), torch.zeros_like(image), target=0, n_steps=100).sum()
        for y in range(8) for x in range(8)
    )  # fmt: skip
    torch.testing.assert_close(found[2], own, atol=1e-3, rtol=5e-2)


def test_cheap_ones_are_exact_where_nothing_bends() -> None:
    """Of a layer that only linear ones follow, with one rival, the first order is all there is."""
    torch.manual_seed(1)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.Linear(7, 2)).eval()
    model = fs.Classifier(module, input_size=8, channels=1)
    units = find_units(model, "1")
    for put in (0.0, 0.3):
        made = Ablation(model, IMAGE, units, as_put(model, units, put))
        exact = single_effects(made, class_numbers(made.model, 0))[:, 0]
        found = approximate(made, 0).values
        torch.testing.assert_close(found["activation-x-gradient"], exact, atol=1e-6, rtol=0)
    assert set(found) == {"activation", "activation-x-gradient", "relevance", "conductance"}


def test_agreement_is_spearmans() -> None:
    one, other = torch.rand(40).double(), torch.rand(40).double().round(decimals=1)  # ties
    expected = scipy.stats.spearmanr(one.numpy(), other.numpy()).statistic
    assert rank_correlation(one, other) == pytest.approx(expected)
    assert rank_correlation(one, torch.zeros(40)) is None
    assert top_agreement(torch.arange(20.0), torch.arange(20.0).roll(5), 10) == 0.5
    with pytest.raises(InvalidParameterError, match="approximations hold 'relevence'"):
        approximate(ablation(small(), "second"), 0, ("relevence",))


def planted() -> Ablation:
    """Class 0 stands on units 0 to 3; only without 1 and 3 does class 1 win."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Linear(6, 2)).eval()
    with torch.no_grad():
        module[1].weight.zero_()
        module[1].bias.copy_(torch.tensor([1.0, 3.0, 0.5, 4.0, 1.0, 1.0]))
        module[2].weight.copy_(torch.tensor([[1.0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]))
        module[2].bias.zero_()
    model = fs.Classifier(module, input_size=8, channels=1)
    units = find_units(model, "1")
    return Ablation(model, IMAGE, units, Put(torch.zeros(6), "0"))


@pytest.mark.parametrize("rounds", ["exact", "batches"])
def test_the_smallest_set_of_a_planted_network(rounds: str) -> None:
    found = smallest_set(planted(), rounds)
    assert (found.decision, found.becomes, found.size) == (0, 1, 2)
    assert found.order.tolist() == [3, 1]
    assert found.curve.tolist() == [6.5, 2.5, -0.5]
    assert found.random_curves.shape == (5, len(found.random_counts))
    assert found.random_curves[:, 0].tolist() == [6.5] * 5
    assert found.random_curves[:, -1].tolist() == [0.0] * 5  # nothing is left
    assert found.rounds == rounds
    firsts = [next(int(n) for n, at in zip(found.random_counts, row, strict=True) if at <= 0)
              for row in found.random_curves]  # fmt: skip
    assert found.random_sizes == sorted(firsts)
    assert found.random_size == sorted(firsts)[2]
    again = smallest_set(planted(), rounds)
    assert torch.equal(found.random_curves, again.random_curves)


def test_a_decision_that_does_not_change() -> None:
    found = smallest_set(planted(), most=1)
    assert (found.becomes, found.size, found.order.tolist()) == (None, None, [3])
    with pytest.raises(InvalidParameterError, match="rounds is 'all'"):
        smallest_set(planted(), "all")
