"""The selectivity loss of classifiers, against a slow loop; and what it does to units."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import fluoroscope as fs
from fluoroscope.errors import FluoroscopeWarning, InvalidParameterError
from fluoroscope.training.losses.adversarial import PGDLoss, TRADESLoss
from fluoroscope.training.losses.selective import SelectiveLoss, assignment, class_responses
from fluoroscope.training.trainer.fitting import cross_entropy, fit, fit_stream
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import Moment

LABELS = torch.arange(40) % 3
IMAGES = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(0)) * 0.5
for _label in range(3):
    IMAGES[_label == LABELS, :, 2 * _label : 2 * _label + 2] += 0.4
NOW = Moment(torch.arange(8), 1, 0.5, 0)


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 7, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(28, 3),
        )  # fmt: skip


def by_hand(activation: torch.Tensor, labels: list[int], classes: int) -> float:
    """The mean selectivity of the units for their assigned classes, number by number."""
    units, found, there = activation.shape[1], [], sorted(set(labels))
    for unit in range(units):
        own = int(unit / (units / classes))
        mean = {
            one: sum(
                activation[row, unit].abs().mean().item()
                for row, label in enumerate(labels)
                if label == one
            )
            / labels.count(one)
            for one in there
        }
        if own in mean and len(mean) > 1:
            rest = sum(value for one, value in mean.items() if one != own) / (len(mean) - 1)
            both = mean[own] + rest
            found.append((mean[own] - rest) / both if both else 0.0)
    return sum(found) / len(found)


@pytest.mark.parametrize("labels", [[0, 1, 2, 0, 1, 2, 2, 2], [0, 0, 0, 0, 2, 2, 2, 2]])
@pytest.mark.parametrize("layer", [None, "1", "5"])
def test_it_is_the_slow_loop(labels: list[int], layer: str | None) -> None:
    module = network()
    loss = SelectiveLoss(layer=layer, weight=0.5).begin(module, 3)
    terms, logits = loss(module, IMAGES[:8], torch.tensor(labels), NOW)
    assert isinstance(terms, dict)
    read = module[: int(layer or "2") + 1](IMAGES[:8]).detach()
    assert terms["selectivity penalty"].item() == pytest.approx(
        -0.5 * by_hand(read, labels, 3), rel=1e-5
    )
    plain, same = cross_entropy(module, IMAGES[:8], torch.tensor(labels))
    assert torch.equal(logits, same)
    assert terms["standard"].item() == plain.item()  # type: ignore[union-attr]


def test_in_adversarial_training_the_moved_pictures_are_read() -> None:
    module, labels = network(), LABELS[:8]
    base = PGDLoss(threat=fs.Linf(0.2), steps=2)
    loss = SelectiveLoss(base=base, layer="2", weight=1.0).begin(module, 3)
    terms, logits = loss(module, IMAGES[:8], labels, NOW)
    moved = base.moved(module, IMAGES[:8], labels, NOW)
    assert not torch.equal(moved, IMAGES[:8])
    read = module[:3](moved).detach()
    assert isinstance(terms, dict)
    assert terms["selectivity penalty"].item() == pytest.approx(
        -by_hand(read, labels.tolist(), 3), rel=1e-5
    )
    assert set(terms) == {"adversarial", "selectivity penalty"}
    torch.testing.assert_close(logits, module(moved))
    # Of several passes that of the moved pictures counts.
    trades = TRADESLoss(threat=fs.Linf(0.2), steps=1)
    both, _ = SelectiveLoss(base=trades, weight=1.0).begin(module, 3)(
        module, IMAGES[:8], labels, NOW
    )
    assert isinstance(both, dict)
    read = module[:3](trades.moved(module, IMAGES[:8], labels, NOW)).detach()
    assert both["selectivity penalty"].item() == pytest.approx(
        -by_hand(read, labels.tolist(), 3), rel=1e-5
    )
    assert set(both) == {"clean", "divergence", "selectivity penalty"}


def test_tokens_and_plain_units_are_read() -> None:
    values = torch.randn(4, 5, 6)
    labels = torch.tensor([0, 1, 1, 0])
    tokens, _ = class_responses(values, labels, 2)
    torch.testing.assert_close(tokens[:, 0], values[[0, 3]].abs().mean((0, 1)))
    flat, there = class_responses(values[:, 0], labels, 3)
    torch.testing.assert_close(flat[:, 1], values[[1, 2], 0].abs().mean(0))
    assert there.tolist() == [True, True, False]


def test_units_become_selective_for_their_own_class() -> None:
    own, many = assignment(7, 3), []
    for loss in (cross_entropy, SelectiveLoss(weight=1.0)):
        module = network()
        fit(module, IMAGES, LABELS, Recipe(12, 20, 0.02), loss=loss)
        with torch.no_grad():
            responses, _ = class_responses(module[:3](IMAGES), LABELS, 3)
        many.append(int((responses.argmax(1) == own).sum()))
    assert many[1] >= 6 > many[0]


def test_what_it_came_to_is_the_slow_loop_over_the_test_pictures() -> None:
    module = network()
    model = fs.Classifier(module, channels=1, input_size=6)
    running = SelectiveLoss().begin(module, 3)
    fit(module, IMAGES, LABELS, Recipe(12, 20, 0.02), loss=running)
    found = running.findings(model, IMAGES, LABELS)["selective"]
    with torch.no_grad():
        activation = module[:3](IMAGES)
    responses, _ = class_responses(activation, LABELS, 3)
    most = responses.argmax(1) == assignment(7, 3)
    assert found["selectivity"] == pytest.approx(by_hand(activation, LABELS.tolist(), 3), rel=1e-5)
    assert found["answer_most_to_their_own"] == int(most.sum()) < 7
    assert found["class_of_unit"] == [0, 0, 0, 1, 1, 2, 2]
    for unit in range(7):
        alone = responses[unit] / responses[unit].sum()
        own = float(alone[found["class_of_unit"][unit]])
        expected = (own - (1 - own) / 2) / (own + (1 - own) / 2)
        assert found["selectivity_of_unit"][unit] == pytest.approx(expected, rel=1e-4)
    shown = LABELS < 2
    part = running.findings(model, IMAGES[shown], LABELS[shown])["selective"]
    assert part["selectivity_of_unit"][5:] == [None, None]  # their class has no pictures
    json.dumps(part, allow_nan=False)


def test_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    recipe, loss = Recipe(epochs=3, batch_size=20), SelectiveLoss()
    whole, broken = network(), network()
    fit(whole, IMAGES, LABELS, recipe, loss=loss)
    for step in fit_stream(broken, IMAGES, LABELS, recipe, loss=loss, checkpoint=tmp_path / "c"):
        assert set(step.terms) == {"standard", "selectivity penalty"}
        if step.number == 4:
            break
    again = network()
    fit(again, IMAGES, LABELS, recipe, loss=loss, checkpoint=tmp_path / "c")
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not any(part._forward_hooks for part in whole.modules())


def test_mistakes_and_doubts_are_told() -> None:
    with pytest.raises(InvalidParameterError, match="weight is 0; expected a number above 0"):
        SelectiveLoss(weight=0)
    with pytest.raises(InvalidParameterError, match=r"layer is 'c9', which .* does not have"):
        fit(network(), IMAGES, LABELS, loss=SelectiveLoss(layer="c9"))
    linear = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    with pytest.raises(InvalidParameterError, match="no convolution"):
        fit(linear, IMAGES, LABELS, loss=SelectiveLoss())
    few = SelectiveLoss(layer="0").begin(network(), 5)
    with pytest.warns(FluoroscopeWarning, match="4 units for 5 classes"):
        few(network(), IMAGES[:8], LABELS[:8], NOW)
