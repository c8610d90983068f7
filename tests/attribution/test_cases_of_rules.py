"""What users of other libraries ran into with DeepLIFT, LRP and guided backpropagation.

Each case with the outcome that is right. The addresses are those of public trackers. Where none
stands, the case was found by measuring.
"""

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from tests.attribution.cases import (
    FIRST_ORDER,
    LABELS,
    assert_rows_are_singles,
    classifier,
    maps,
    pictures,
    seeded,
)
from tests.attribution.toys import Do, HandAttention, Skip, network
from tests.attribution.zoo import specimen, toy

# DeepLIFT


@pytest.mark.parametrize("order", ["relu-pool", "pool-relu"])
def test_01_deeplift_is_complete_beside_a_pool(order: str) -> None:
    """Two non-linear modules touch, the baseline is not zero: pytorch/captum#1104."""
    parts = [nn.ReLU(), nn.MaxPool2d(2)]
    model = seeded(lambda: network(*(parts if order == "relu-pool" else parts[::-1])))
    baseline = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(2))
    found = fs.attribute(model, pictures(), LABELS, method="deeplift", baseline=baseline)
    with torch.no_grad():
        rows = torch.arange(3)
        difference = model(pictures())[rows, LABELS] - model(baseline[None])[0, LABELS]
    torch.testing.assert_close(found.maps.sum((1, 2, 3)), difference, atol=1e-5, rtol=1e-4)
    assert float(found.error.max()) < 1e-4


def test_02_a_max_pool_looks_at_each_row_of_a_batch() -> None:
    """Rows fell back to the gradient of the first one: pytorch/captum#1276."""
    assert_rows_are_singles(toy("overlapping-max-pool").model, "deeplift")


def test_03_a_softmax_is_normalised_in_each_row() -> None:
    """The rule took the sum over the batch: pytorch/captum#1367."""
    assert_rows_are_singles(toy("softmax-head").model, "deeplift", baseline="noise")


@pytest.mark.parametrize("name", ["relu6", "gelu", "silu"])
def test_04_deeplift_is_complete_with_any_activation(name: str) -> None:
    """Types were looked up exactly, others passed as the gradient: pytorch/captum#1085."""
    case = toy(name)
    found = fs.attribute(case.model, case.images, LABELS, method="deeplift")
    assert float(found.error.max()) < 1e-4


@pytest.mark.parametrize("method", FIRST_ORDER)
def test_05_a_relu_used_twice_is_two_relus(method: str) -> None:
    """A reused module was refused: pytorch/captum#578, shap/shap#3725."""
    case = toy("reused-relu")
    reused = case.model.module[1]
    twin = nn.Sequential(
        case.model.module[0], reused.first, nn.ReLU(), reused.second, nn.ReLU(), nn.Flatten(),
        case.model.module[-1],
    )  # fmt: skip
    expected = maps(classifier(twin), method, case.images)
    assert torch.equal(maps(case.model, method, case.images), expected)


def test_25_a_large_set_of_baselines_stays_within_the_batch() -> None:
    """All baselines went through the network at once: pytorch/captum#1179."""
    largest = 0

    def seen(x: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, len(x))
        return x

    model = seeded(lambda: network(Do(seen), nn.ReLU()))
    baselines = torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    found = fs.attribute(
        model, pictures(2), LABELS[:2], method="deeplift", baseline=baselines, batch_size=8
    )
    assert float(found.error.max()) < 1e-4
    assert largest <= 16  # a picture and its baseline go through side by side


# LRP


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_08_lrp_conserves_through_skips(blocks: int) -> None:
    """The sum was 1.5 to 19 times the output: pytorch/captum#1035, #342, #546."""
    model = seeded(lambda: network(nn.ReLU(), *[Skip() for _ in range(blocks)]))
    found = fs.attribute(model, pictures(), LABELS, method="lrp")
    torch.testing.assert_close(found.maps.sum((1, 2, 3)).double(), found.values, rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", ["odd-containers", "upsampling", "one-and-three-dimensions"])
def test_09_lrp_takes_every_linear_layer(name: str) -> None:
    """A TypeError at Identity, Upsample, Flatten and the like: pytorch/captum#792, #712, #1223."""
    case = toy(name)
    attributes = [dict(vars(part)) for part in case.model.module.modules()]
    found = fs.attribute(case.model, case.images, LABELS, method="lrp")
    torch.testing.assert_close(found.maps.sum((1, 2, 3)).double(), found.values, rtol=1e-3, atol=0)
    assert [dict(vars(part)) for part in case.model.module.modules()] == attributes


def test_10_an_attribute_of_the_users_is_nobodys_business() -> None:
    """``layer.rule`` of the user's was deleted by the first call, so the second differed."""
    model = seeded(lambda: network(nn.ReLU()))
    rule = object()
    model.module[0].rule = rule
    first, second = (maps(model, "lrp", pictures()) for _ in range(2))
    assert torch.equal(first, second)
    assert model.module[0].rule is rule


def test_28_lrp_conserves_on_a_resnet_of_timm() -> None:
    """256 where 1 is right, without a word."""
    case = specimen("timm:resnet18")
    found = fs.attribute(case.model, case.images, method="lrp")
    torch.testing.assert_close(found.maps.sum((1, 2, 3)).double(), found.values, rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", ["batch-norm-out-of-order", "batch-norm-no-affine"])
def test_29_batch_norms_stand_where_they_like(name: str) -> None:
    """Merged into the wrong layer, they changed the answer; without weights they crashed."""
    case = toy(name)
    before = case.model(case.images)
    lrp = fs.attribute(case.model, case.images, LABELS, method="lrp")
    deeplift = fs.attribute(case.model, case.images, LABELS, method="deeplift")
    torch.testing.assert_close(lrp.maps.sum((1, 2, 3)).double(), lrp.values, rtol=1e-3, atol=0)
    assert float(deeplift.error.max()) < 1e-4
    assert torch.equal(case.model(case.images), before)


# Guided backpropagation


@pytest.mark.parametrize("name", ["relu-function", "relu-of-torch", "relu-method-in-place"])
def test_14_guided_backpropagation_sees_functions(name: str) -> None:
    """It came out as the plain gradient: kazuto1011/grad-cam-pytorch#2."""
    case = toy(name)
    guided, plain = (
        maps(case.model, each, case.images) for each in ("guided-backprop", "gradient")
    )
    assert not torch.allclose(guided, plain)
    head, body = case.model.module[-1], case.model.module
    twin = nn.Sequential(body[0], nn.ReLU(), body[2], nn.ReLU(), nn.Flatten(), head)
    torch.testing.assert_close(guided, maps(classifier(twin), "guided-backprop", case.images))


def test_16_a_second_map_leaves_the_first_alone() -> None:
    """The second was twice the first, and the first had become it, too."""
    case = toy("relu-module")
    relus = [part for part in case.model.module.modules() if isinstance(part, nn.ReLU)]
    first = maps(case.model, "guided-backprop", case.images)
    kept = first.clone()
    second = maps(case.model, "guided-backprop", case.images)
    assert torch.equal(first, kept)
    assert torch.equal(second, kept)
    after = [part for part in case.model.module.modules() if isinstance(part, nn.ReLU)]
    assert [id(part) for part in relus] == [id(part) for part in after]


def test_attention_by_hand_and_in_one_call_have_the_same_map() -> None:
    """The very weights: hila-chefer/Transformer-Explainability PR #53."""
    case = toy("attention-by-hand")
    hand = case.model.module[1].parts[0]
    twin = HandAttention(fused=True)
    twin.load_state_dict(hand.state_dict())
    fused = toy("attention-fused").model.to()
    fused.module.load_state_dict(case.model.module.state_dict())
    for method in ("gradient", "deeplift", "lrp"):
        torch.testing.assert_close(
            maps(fused, method, case.images), maps(case.model, method, case.images),
            atol=1e-5, rtol=1e-3,
        )  # fmt: skip
