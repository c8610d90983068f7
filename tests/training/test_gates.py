"""Class-specific gates: the two paths, the schedule, the projection, and what is left behind."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.threats import Linf
from fluoroscope.errors import FluoroscopeWarning, InvalidParameterError, ResultFormatError
from fluoroscope.training.gates.gates import ClassGates, RunningGates, projected
from fluoroscope.training.gates.judging import agreement
from fluoroscope.training.gates.matrix import GateMatrix, load_gates
from fluoroscope.training.losses.adversarial import PGDLoss
from fluoroscope.training.trainer.fitting import fit, fit_stream
from fluoroscope.training.trainer.preprocessed import as_learner
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import Moment

pytestmark = pytest.mark.filterwarnings("ignore:gates are open to")  # few steps close few gates
CLASSES, FILTERS = 3, 5
LABELS = torch.arange(48) % CLASSES
IMAGES = torch.rand(48, 1, 6, 6, generator=torch.Generator().manual_seed(0))
SHORT = Recipe(epochs=3, batch_size=16, learning_rate=0.02)


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, FILTERS, 3, bias=False),
            nn.BatchNorm2d(FILTERS), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(FILTERS * 4),
            nn.Linear(FILTERS * 4, CLASSES),
        )  # fmt: skip


def moment(epoch: int = 1) -> Moment:
    return Moment(torch.arange(16), epoch, 0.5, 0)


def begun(module: nn.Module, settings: ClassGates) -> RunningGates:
    running = settings.begin(module, CLASSES)
    running.meet(module, IMAGES[:1])
    return running


def at_once(**options: Any) -> ClassGates:
    return ClassGates(warm_up=0, every=1, **options)


def test_gated_path_is_the_filters_times_the_row_of_the_class() -> None:
    module = network().eval()
    running = begun(module, at_once())
    running.gates.data = torch.rand(CLASSES, FILTERS, generator=torch.Generator().manual_seed(1))
    terms, logits = running(module, IMAGES[:16], LABELS[:16], moment())
    torch.testing.assert_close(logits, module(IMAGES[:16]))
    rows = []
    for image, label in zip(IMAGES[:16], LABELS[:16].tolist(), strict=True):
        maps = module[:5](image[None]).clone()
        for k in range(FILTERS):
            maps[0, k] *= running.gates[label, k]
        rows.append(module[5:](maps))
    assert isinstance(terms, dict)
    torch.testing.assert_close(terms["gated"], F.cross_entropy(torch.cat(rows), LABELS[:16]))
    torch.testing.assert_close(terms["standard"], F.cross_entropy(logits, LABELS[:16]))
    assert list(terms) == ["standard", "gated", "density penalty"]


def test_density_penalty_and_its_gradient() -> None:
    running = begun(network(), at_once(density=0.2, weight=0.01))
    running.gates.data.fill_(0.5)
    terms, _ = running(network(), IMAGES[:16], LABELS[:16], moment())
    assert isinstance(terms, dict)
    assert terms["density penalty"].item() == pytest.approx(0.01 * (0.5 - 0.2) * CLASSES * FILTERS)
    [slope] = torch.autograd.grad(terms["density penalty"], [running.gates])
    torch.testing.assert_close(slope, torch.full((CLASSES, FILTERS), 0.01))
    running.gates.data.fill_(0.1)  # below the density nothing is asked
    terms, _ = running(network(), IMAGES[:16], LABELS[:16], moment())
    assert isinstance(terms, dict)
    assert terms["density penalty"].item() == 0


_GATES = st.lists(
    st.lists(st.floats(-3, 3, width=32), min_size=3, max_size=3), min_size=1, max_size=5
)


@given(_GATES)
def test_projection_opens_every_filter_to_some_class(columns: list[list[float]]) -> None:
    gates = torch.tensor(columns).T
    found = projected(gates)
    assert bool((found >= 0).all())
    assert bool((found <= 1).all())
    assert found.amax(0).tolist() == [1.0] * len(columns)
    assert torch.equal(projected(found), found)
    first = gates.amax(0) > 1e-6  # there the proportions of what is above zero stay
    expected = (gates[:, first] / gates[:, first].amax(0)).clamp(min=0)
    torch.testing.assert_close(found[:, first], expected)


def test_which_batches_are_gated_and_that_the_gates_are_projected_after_them() -> None:
    module, settings = network(), ClassGates(warm_up=1, every=3)
    running = settings.begin(module, CLASSES)
    gated = []
    for step in fit_stream(module, IMAGES, LABELS, SHORT, loss=running):  # 3 batches an epoch
        if step.terms:
            gated.append(step.number)
            torch.testing.assert_close(running.gates.amax(0), torch.ones(FILTERS))
        elif not gated:
            assert bool((running.gates == 0.5).all())
    assert gated == [6, 9]


def test_the_network_keeps_no_hook_and_its_statistics_are_of_the_ungated_path() -> None:
    module, plain = network(), network()
    running = begun(module, at_once())
    running.gates.data = torch.rand(CLASSES, FILTERS)
    for one, loss in ((module, running), (plain, None)):
        one.train()
        if loss is None:
            one(IMAGES[:16])
        else:
            loss(one, IMAGES[:16], LABELS[:16], moment())
    for name, buffer in module.named_buffers():
        torch.testing.assert_close(buffer, dict(plain.named_buffers())[name], msg=name)
    assert not any(part._forward_hooks for part in module.modules())
    assert all(part.track_running_stats for part in (module[3], module[6]))


def test_hook_comes_off_when_a_pass_fails() -> None:
    module = network()
    running = begun(module, at_once())
    with pytest.raises(IndexError):
        running(module, IMAGES[:16], LABELS[:16] + 7, moment())
    with pytest.raises(RuntimeError), running._open_for(module, LABELS[:16]):
        module(IMAGES[:3])
    assert not any(part._forward_hooks for part in module.modules())


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.relu(x + self.second(self.relu(self.first(x))))
        return found


def residual() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), _Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)
    )


@pytest.mark.parametrize(
    ("module", "layer"),
    [(network(), "4"), (residual(), "1"), (fs.load_model("digits-cnn").module, "5")],
)
def test_layer_is_where_the_last_convolutions_maps_end(module: nn.Module, layer: str) -> None:
    running = ClassGates().begin(module, 10)
    running.meet(module, torch.zeros(1, 1, *((28, 28) if layer == "5" else (6, 6))))
    assert running.layer == layer


def test_of_a_layer_used_twice_the_last_use_is_gated() -> None:
    module = residual()
    running = begun(module, at_once(layer="1.relu"))
    running.gates.data = torch.rand(CLASSES, 4)
    with running._open_for(module, LABELS[:2]):
        found = module(IMAGES[:2])
    maps = module[:2](IMAGES[:2]) * running.gates[LABELS[:2]][:, :, None, None]
    torch.testing.assert_close(found, module[2:](maps))


def test_gates_of_a_network_behind_its_preprocessing() -> None:
    model = fs.Classifier(network(), channels=1, input_size=6, mean=[0.5], std=[0.2])
    module = as_learner(model)
    running = begun(module, at_once())
    assert running.layer == "4"
    fit(module, IMAGES, LABELS, SHORT, loss=running)
    assert running.matrix().values.amax(0).tolist() == [1.0] * FILTERS


def test_a_training_that_was_broken_off_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole, running = network(), ClassGates(warm_up=1, every=2).begin(network(), CLASSES)
    fit(whole, IMAGES, LABELS, SHORT, loss=running)
    first, second = network(), network()
    settings = ClassGates(warm_up=1, every=2)
    for step in fit_stream(first, IMAGES, LABELS, SHORT, loss=settings, checkpoint=tmp_path / "c"):
        if step.number == 7:  # within an epoch: what is on disk is the end of the second
            break
    again = settings.begin(second, CLASSES)
    fit(second, IMAGES, LABELS, SHORT, loss=again, checkpoint=tmp_path / "c")
    assert torch.equal(again.gates, running.gates)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_filters_come_to_serve_few_classes() -> None:
    running = at_once(weight=0.01, rate=30).begin(network(), CLASSES)
    fit(network(), IMAGES, LABELS, Recipe(epochs=30, batch_size=16), loss=running)
    assert running.matrix().density < 0.5
    assert running.matrix().classes_per_filter < 2


def test_ungated_path_against_attacks() -> None:
    module = network()
    adversarial = PGDLoss(threat=Linf(0.05), steps=2)
    running = begun(module, at_once(adversarial=adversarial))
    terms, logits = running(module, IMAGES[:16], LABELS[:16], moment())
    expected, moved = adversarial(network(), IMAGES[:16], LABELS[:16], moment())
    assert isinstance(terms, dict)
    assert isinstance(expected, dict)
    torch.testing.assert_close(logits, moved)
    torch.testing.assert_close(terms["adversarial"], expected["adversarial"])
    assert list(terms) == ["adversarial", "gated", "density penalty"]


@pytest.mark.parametrize(
    ("settings", "module", "words"),
    [
        (ClassGates(), nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), "has no convolution"),
        (ClassGates(layer="5"), network(), "gives out .20,. for a picture"),
        (ClassGates(layer="nowhere"), network(), "'nowhere', which"),
        (ClassGates(), nn.Sequential(nn.Conv2d(1, 1, 6), nn.Flatten()), "1 class apart"),
    ],
)
def test_refused_before_anything_is_learnt(
    settings: ClassGates, module: nn.Module, words: str
) -> None:
    before = [weight.clone() for weight in module.parameters()]
    with pytest.raises(InvalidParameterError, match=words):
        fit_stream(module, IMAGES, LABELS * 0, SHORT, loss=settings)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "value"),
    [("density", -0.1), ("density", 1.1), ("weight", -1), ("weight", float("nan")), ("start", 0),
     ("start", 2), ("warm_up", -1), ("every", 0), ("rate", 0), ("rate", float("inf"))],
)  # fmt: skip
def test_settings_outside_their_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidParameterError, match=f"^{name} is {value}; expected"):
        ClassGates(**{name: value})  # type: ignore[arg-type]


def test_says_so_where_no_batch_was_gated() -> None:
    with pytest.warns(FluoroscopeWarning, match="no batch was gated"):
        fit(network(), IMAGES, LABELS, Recipe(epochs=1, batch_size=16), loss=ClassGates())


def test_says_so_where_filters_still_serve_many_classes() -> None:
    with pytest.warns(FluoroscopeWarning, match="gates are open to .* 33.3.% was asked for"):
        fit(network(), IMAGES, LABELS, Recipe(epochs=2, batch_size=16), loss=ClassGates())


def some_gates() -> GateMatrix:
    values = torch.tensor([[1.0, 0.0, 0.25, 0.5], [0.0, 1.0, 1.0, 1.0]])
    return GateMatrix(values, "4", ("cat", "$dog"))


def test_matrix_in_numbers() -> None:
    gates = some_gates()
    assert gates.density == pytest.approx(4.75 / 8)
    assert gates.classes_per_filter == 1.0  # half open is not open
    assert gates.filters_of == [[0], [1, 2, 3]]
    assert gates.describe()["filters_of_class"] == [1, 3]


def test_matrix_comes_back_from_its_file(tmp_path: Path) -> None:
    gates = some_gates()
    found = load_gates(gates.save(tmp_path / "net.gates.safetensors"))
    assert torch.equal(found.values, gates.values)
    assert (found.layer, found.classes) == (gates.layer, gates.classes)


def test_harmed_or_other_files_are_refused(tmp_path: Path) -> None:
    path = some_gates().save(tmp_path / "net.gates.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ResultFormatError, match="damaged"):
        load_gates(path)
    with pytest.raises(ResultFormatError, match="cannot be read as gates"):
        load_gates(tmp_path / "none")
    odd = GateMatrix(torch.full((2, 4), 1.5), "4", ("a", "b")).save(tmp_path / "odd")
    with pytest.raises(ResultFormatError, match="not all from 0 to 1"):
        load_gates(odd)


def test_picture_has_filters_in_the_order_of_their_classes() -> None:
    [axes, _] = some_gates().figure().axes
    shown = np.asarray(axes.images[0].get_array())
    assert shown.tolist() == [[1.0, 0.0, 0.25, 0.5], [0.0, 1.0, 1.0, 1.0]]
    turned = GateMatrix(some_gates().values.flip(1), "4", ("cat", "$dog")).figure().axes[0]
    assert [label.get_text() for label in turned.get_xticklabels()] == ["3", "0", "1", "2"]


def test_agreement_stands_beside_its_chance_level() -> None:
    """Gates that are open to all classes agree with any, and that says nothing."""
    related = torch.rand(6, 4, generator=torch.Generator().manual_seed(0)).numpy()
    related[5] = float("nan")  # a dead filter goes with no class
    opened = GateMatrix(torch.ones(4, 6), "0", tuple("abcd"))
    assert agreement(opened, related) == pytest.approx((5 / 6, 5 / 6))
    one_each = torch.zeros(4, 6)
    one_each[related[:5].argmax(1), torch.arange(5)] = 1
    one_each[:2, 5] = 1
    found = agreement(GateMatrix(one_each, "0", tuple("abcd")), related)
    assert found == pytest.approx((5 / 6, 5 / 6 / 4))
