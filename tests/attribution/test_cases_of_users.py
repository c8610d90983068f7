"""What users of other libraries ran into: each case with the outcome that is right.

The addresses are those of public trackers. Where none stands, the case was found by measuring.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.gradients.randomised import with_random_weights
from tests.attribution.cases import (
    FIRST_ORDER,
    LABELS,
    assert_rows_are_singles,
    classifier,
    maps,
    pictures,
    seeded,
    tensors_left,
)
from tests.attribution.toys import CLASSES, Do, conv, network
from tests.attribution.zoo import specimen, toy

# Integrated gradients, SmoothGrad


@pytest.mark.parametrize("points", [1, 2, 10, 50])
def test_06_integrated_gradients_of_a_linear_network_are_exact(points: int) -> None:
    """Weights of a trapezoid that add up to (n-1)/n scale every map."""
    layer = nn.Linear(192, CLASSES)
    model = classifier(nn.Sequential(nn.Flatten(), layer))
    baseline = torch.full((3, 8, 8), 0.25)
    found = maps(model, "integrated-gradients", pictures(), points=points, baseline=baseline)
    weights = layer.weight.detach()[LABELS].view(3, 3, 8, 8)
    torch.testing.assert_close(found, weights * (pictures() - baseline), atol=1e-6, rtol=1e-5)


def test_07_more_points_bring_completeness() -> None:
    """The error rose with the steps, and nobody was told: pytorch/captum#1334."""
    case = toy("gelu")

    def errors(**options: Any) -> Tensor:
        return fs.attribute(
            case.model, case.images, LABELS, method="integrated-gradients", **options
        ).error

    few, some, many = (float(errors(points=points).max()) for points in (1, 4, 16))
    assert many < some < few
    assert float(errors(tolerance=1e-4).max()) <= 1e-4


def test_33_smoothgrad_has_noise_of_its_own_for_each_row() -> None:
    """Only the first row of a batch was right: albermax/innvestigate#246."""
    model = toy("gelu").model
    assert_rows_are_singles(model, "smoothgrad", samples=5)
    twice = pictures(1).repeat(2, 1, 1, 1)
    one, other = maps(model, "smoothgrad", twice, samples=5, classes=0)
    assert not torch.allclose(one, other)


# Class activation maps


def test_15_a_relu_in_place_behind_the_layer_changes_nothing() -> None:
    """The map was zero on the processor: pytorch/captum#914, pytorch/pytorch#61519."""
    torch.manual_seed(0)
    parts = [conv(3), nn.ReLU(), conv()]
    head = network(first=nn.Sequential(*parts))[-1]
    found = [
        maps(
            classifier(nn.Sequential(*parts, nn.ReLU(inplace=inplace), nn.Flatten(), head)),
            "grad-cam", pictures(), layer="2",
        )
        for inplace in (False, True)
    ]  # fmt: skip
    assert bool((found[0].abs().amax((1, 2, 3)) > 0).any())
    torch.testing.assert_close(*found)


def test_20_layers_asked_for_backwards_are_theirs() -> None:
    """Activations were paired with another layer's gradient: jacobgil/pytorch-grad-cam#57."""
    case = toy("average-pool")
    forwards = {name: maps(case.model, "grad-cam", case.images, layer=name) for name in ("0", "3")}
    backwards = {name: maps(case.model, "grad-cam", case.images, layer=name) for name in ("3", "0")}
    assert all(torch.equal(forwards[name], backwards[name]) for name in forwards)
    assert not torch.allclose(forwards["0"], forwards["3"])


def test_21_a_layer_of_a_transformer_gives_a_map_or_says_why_not() -> None:
    """Users gave up on it: jacobgil/pytorch-grad-cam#426, #511, #513."""
    case = specimen("timm:vit_tiny_patch16_224")
    found = maps(case.model, "hires-cam", case.images, classes=[0, 1], layer="blocks.11.norm1")
    assert found.shape == (2, 1, 64, 64)
    assert bool((found.abs().amax((1, 2, 3)) > 0).all())
    with pytest.raises(fs.FluoroscopeError, match=r"blocks\.11\.norm2"):
        maps(case.model, "grad-cam", case.images, classes=[0, 1], layer="blocks.11.norm2")


def test_23_a_map_that_is_the_same_everywhere_is_finite() -> None:
    """Scaling it by its range gave NaN: jacobgil/pytorch-grad-cam#584."""
    model = seeded(lambda: network(Do(lambda x: x.mean((2, 3), keepdim=True).expand_as(x))))
    for name in ("grad-cam", "layer-cam", "eigen-cam", "score-cam"):
        found = maps(model, name, torch.full((2, 3, 8, 8), 0.5), layer="1")
        assert bool(found.isfinite().all())


def test_34_a_layer_that_does_not_exist_has_near_names() -> None:
    """Some tools do nothing."""
    with pytest.raises(fs.FluoroscopeError, match=r"did you mean '?blocks\.1\.norm1"):
        maps(
            specimen("timm:vit_tiny_patch16_224").model, "grad-cam",
            specimen("timm:vit_tiny_patch16_224").images, classes=0, layer="blocks.1.norm_1",
        )  # fmt: skip


# What every method is asked


@pytest.mark.parametrize("method", FIRST_ORDER)
def test_11_a_network_in_training_mode_stays_in_it_and_is_read_as_in_evaluation(
    method: str,
) -> None:
    """Batch norms moved their statistics and mixed the batch."""
    case = toy("in-place-addition")
    expected = maps(case.model, method, case.images)
    case.model.module.train()
    try:
        state = {name: value.clone() for name, value in case.model.module.state_dict().items()}
        found = maps(case.model, method, case.images)
        assert all(part.training for part in case.model.module.modules())
        for name, value in case.model.module.state_dict().items():
            assert torch.equal(value, state[name])
    finally:
        case.model.module.eval()
    assert torch.equal(found, expected)


@pytest.mark.parametrize("method", FIRST_ORDER)
def test_13_half_precision_gives_maps_of_float32(method: str) -> None:
    """Each method had its own type, and some none: it is that of the logits here."""
    case = toy("max-pool-after-relu")
    half = case.model.to(dtype=torch.bfloat16)
    found, exact = maps(half, method, case.images), maps(case.model, method, case.images)
    assert found.dtype == torch.float32
    similar = F.cosine_similarity(found.flatten(1), exact.flatten(1))
    assert float(similar.min()) > 0.95


@pytest.mark.parametrize("method", FIRST_ORDER)
def test_17_one_class_is_meant_for_all_pictures(method: str) -> None:
    """The second picture's map was zero."""
    case = toy("relu-module")
    found = maps(case.model, method, case.images, classes=1)
    assert torch.equal(found, maps(case.model, method, case.images, classes=[1, 1, 1]))
    assert bool((found.abs().amax((1, 2, 3)) > 0).all())


@pytest.mark.parametrize("method", FIRST_ORDER)
def test_18_a_class_out_of_range_is_refused(method: str) -> None:
    """It was printed, and swallowed."""
    with pytest.raises(fs.FluoroscopeError, match="99"):
        maps(toy("relu-module").model, method, pictures(), classes=99)


@pytest.mark.parametrize("method", FIRST_ORDER)
def test_19_frozen_weights_and_no_grad_change_nothing(method: str) -> None:
    """A RuntimeError: jacobgil/pytorch-grad-cam#80, #187, #254."""
    case = toy("relu-module")
    expected = maps(case.model, method, case.images)
    case.model.module.requires_grad_(False)
    try:
        with torch.no_grad():
            found = maps(case.model, method, case.images)
        with torch.inference_mode():
            inside = maps(case.model, method, case.images.clone())
    finally:
        case.model.module.requires_grad_(True)
    assert torch.equal(found, expected)
    assert torch.equal(inside, expected)


def test_24_many_maps_leave_no_tensor_behind() -> None:
    """Memory grew with the calls: pytorch/captum#866, shap/shap#4839."""
    case = toy("in-place-addition")

    def some() -> None:
        for _ in range(3):
            for method in FIRST_ORDER:
                maps(case.model, method, case.images)

    assert tensors_left(some) == 0


def test_26_a_saturated_softmax_is_named() -> None:
    """Everything was zero, and nothing said why: pytorch/captum#1225."""
    torch.manual_seed(0)
    module = nn.Sequential(network(nn.ReLU()), Do(lambda x: 1e4 * x), nn.Softmax(dim=1))
    with pytest.warns(fs.FluoroscopeWarning) as told:
        fs.attribute(classifier(module), pictures(), 0, method="gradient")
    assert any("probabilities" in str(one.message) for one in told)


def test_35_no_option_is_taken_and_ignored() -> None:
    """Documented, and unused: shap/shap#3263."""
    case = toy("relu-module")
    with pytest.raises(fs.FluoroscopeError, match="check_additivity"):
        maps(case.model, "gradient", case.images, check_additivity=True)


# Judging


def test_27_there_is_a_verdict() -> None:
    """How do I know that this is correct? pytorch/captum#795."""
    case = toy("relu6")
    found = fs.audit(
        case.model, case.images, LABELS, randomisation=False, faithfulness=False,
        methods=["gradient", "integrated-gradients", "captum:guided-backprop"],
    )  # fmt: skip
    assert found.of("integrated-gradients").verdict.word == "valid"
    assert found.of("captum:guided-backprop").verdict.words == "the same map as gradient"


def test_30_the_network_itself_is_no_random_one() -> None:
    """Its correlation of 1 was counted in: understandable-machine-intelligence-lab/Quantus#358."""
    case = toy("relu-module")
    found = fs.audit(case.model, case.images, LABELS, methods=["gradient"], faithfulness=False).of(
        "gradient"
    )
    assert all(one.share > 0 for one in found.random)
    assert all(one.spearman is not None and one.spearman < 0.999 for one in found.random)


def test_31_a_map_is_sized_before_it_is_compared() -> None:
    """Absolute values after scaling, another denominator: Quantus#110, #288."""
    case = toy("relu-module")
    plain = maps(case.model, "gradient", case.images)
    metric = fs.attribution.metrics.metric("sparseness")
    scores = metric(case.model, case.images, LABELS, plain)
    torch.testing.assert_close(scores, metric(case.model, case.images, LABELS, -7 * plain))


def test_32_every_kind_of_parameter_is_drawn_anew_and_apart() -> None:
    """One seed for each layer made equal weights; attention kept its: dilyabareeva/quanda#18."""
    case = specimen("timm:vit_tiny_patch16_224")
    twin = with_random_weights(case.model, case.images, seed=1)
    old, new = case.model.module.state_dict(), twin.module.state_dict()
    assert [name for name in old if torch.equal(old[name], new[name])] == []
    first, second = new["blocks.0.attn.qkv.weight"], new["blocks.1.attn.qkv.weight"]
    assert not torch.allclose(first, second)


def test_36_the_gradient_of_a_linear_network_has_no_infidelity() -> None:
    """It needed an option: pytorch/captum#613."""
    model = classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES)))
    plain = maps(model, "gradient", pictures())
    scores = fs.attribution.metrics.metric("infidelity")(model, pictures(), LABELS, plain)
    assert float(scores.abs().max()) < 1e-6
