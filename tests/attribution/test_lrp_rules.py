"""Each rule of relevance against a loop over its formula, on layers small enough for one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import fluoroscope as fs
from fluoroscope.attribution.lrp import LRP
from fluoroscope.attribution.rules.lrp.context import How
from fluoroscope.attribution.rules.lrp.mode import Relevance
from fluoroscope.attribution.rules.mode import Coverage
from fluoroscope.attribution.rules.table import rules_of
from fluoroscope.errors import InvalidParameterError

GAMMA, EPSILON = 0.4, 0.05


def handed_back(
    function: Callable[[Tensor], Tensor], x: Tensor, relevance: Tensor, **rules: object
) -> Tensor:
    """The relevance of ``x`` under the rules, for some of what a function makes of it.

    A ReLU of leaky slope 1 in front of the function makes it no first layer.
    """
    how = {
        "first": "epsilon", "conv": "epsilon", "depthwise": "epsilon", "dense": "epsilon",
        "epsilon": EPSILON, "gamma": GAMMA, "held": True,
    } | rules  # fmt: skip
    pixels = x.clone().requires_grad_()
    with Relevance(rules_of("lrp"), How(**how), Coverage()):  # type: ignore[arg-type]
        inner = pixels if rules.get("first") else F.leaky_relu(pixels, 1.0)
        found = function(inner)
    slope = torch.where(found == 0, 0, relevance / found).detach()
    (handed,) = torch.autograd.grad(found, pixels, slope)
    return handed


def by_formula(
    weights: Tensor,
    bias: Tensor,
    x: Tensor,
    relevance: Tensor,
    share: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Relevance ``(i)`` of ``x (i)`` under ``y_j = sum_i w_ji x_i + b_j``, output by output."""
    total = torch.zeros_like(x)
    for j in range(len(weights)):
        total += share(weights[j] * x, bias[j]) * relevance[j]
    return total


def epsilon(c: Tensor, bias: Tensor) -> Tensor:
    y = c.sum() + bias
    added = EPSILON * (1 if y >= 0 else -1)
    return (c + c.abs() / c.abs().sum() * (bias + added)) / (y + added)


def z_plus(c: Tensor, bias: Tensor) -> Tensor:
    positive = c.clamp(min=0)
    if positive.sum() == 0:
        positive = c
    return positive / positive.sum()


def gamma(c: Tensor, bias: Tensor) -> Tensor:
    favoured = c.clamp(min=0) if c.sum() >= 0 else c.clamp(max=0)
    return (c + GAMMA * favoured) / (c + GAMMA * favoured).sum()


def signed(c: Tensor, bias: Tensor) -> Tensor:
    favoured = c.clamp(min=0) if c.sum() >= 0 else c.clamp(max=0)
    return favoured / favoured.sum()


RULES = {"epsilon": epsilon, "z-plus": z_plus, "gamma": gamma, "signed": signed}


@pytest.fixture
def layer() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    weights[2] = -weights[2].abs()  # an output without a positive part where inputs are positive
    bias = torch.randn(4, generator=generator, dtype=torch.float64)
    x = torch.randn(6, generator=generator, dtype=torch.float64)
    return weights, bias, x, torch.randn(4, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_a_layer_is_its_formula(
    layer: tuple[Tensor, Tensor, Tensor, Tensor], rule: str, positive: bool, kind: str
) -> None:
    weights, bias, x, relevance = layer
    x = x.abs() if positive else x
    expected = by_formula(weights, bias, x, relevance, RULES[rule])
    if kind == "dense":
        found = handed_back(
            lambda each: F.linear(each, weights, bias), x[None], relevance[None], dense=rule
        )[0]
    else:
        found = handed_back(
            lambda each: F.conv2d(each, weights[:, :, None, None], bias),
            x[None, :, None, None], relevance[None, :, None, None], conv=rule,
        ).flatten()  # fmt: skip
    torch.testing.assert_close(found, expected)


def test_epsilon_as_published() -> None:
    """Bach et al. 2015, equation 58, unit by unit: bias and epsilon keep what is theirs."""
    torch.manual_seed(1)
    first, second = torch.nn.Linear(6, 5).double(), torch.nn.Linear(5, 3).double()
    body = torch.nn.Sequential(torch.nn.Flatten(), first, torch.nn.ReLU(), second)
    model = fs.Classifier(body, channels=1, input_size=(2, 3))
    image = torch.rand(1, 1, 2, 3, dtype=torch.float64)
    x = image.flatten()
    middle = first(x)
    hidden, out = middle.relu(), second(middle.relu())
    relevance = torch.zeros(6, dtype=torch.float64)
    for j in range(5):
        share = hidden[j] * second.weight[1, j] / (out[1] + EPSILON * out[1].sign()) * out[1]
        for i in range(6):
            below = middle[j] + EPSILON * middle[j].sign()
            relevance[i] += x[i] * first.weight[j, i] / below * share
    options = {"composite": "epsilon", "epsilon": EPSILON, "bias": "absorbed"}
    found = fs.attribute(model, image, 1, method="lrp", **options)
    torch.testing.assert_close(found.maps.flatten(), relevance.detach())
    assert any("biases, shifts of norms and epsilon keep" in note for note in found.notes)
    shared = fs.attribute(model, image, 1, method="lrp", composite="epsilon", epsilon=EPSILON)
    assert float(shared.error) < 1e-9 < 1e-3 < float(found.error)


def test_absorbed_a_batch_norm_is_part_of_the_layer(
    layer: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    weights, bias, x, relevance = layer
    scale = torch.tensor([0.5, -2.0, -0.7, 1.5], dtype=torch.float64)
    shift = torch.tensor([1.0, -2.0, 0.5, -1.0], dtype=torch.float64)
    zero, one = torch.zeros_like(scale), torch.ones_like(scale)

    def both(each: Tensor) -> Tensor:
        return F.batch_norm(F.linear(each, weights, bias), zero, one, scale, shift, eps=0)

    found = handed_back(both, x[None], relevance[None], dense="epsilon", epsilon=0, absorbed=True)
    merged = by_formula(
        weights * scale[:, None], bias * scale + shift, x, relevance, lambda c, b: c / (c.sum() + b)
    )
    torch.testing.assert_close(found[0], merged)


@pytest.mark.parametrize("rule", ["z-plus", "gamma", "signed"])
@pytest.mark.parametrize("positive", [False, True])
def test_a_batch_norm_is_part_of_the_layer(
    layer: tuple[Tensor, Tensor, Tensor, Tensor], rule: str, positive: bool
) -> None:
    """And turned round by it an output without negative parts has no positive ones."""
    weights, _, x, relevance = layer
    x = x.abs() if positive else x
    weights = torch.cat([weights[:1], weights[1:2].abs(), weights[2:]])
    scale = torch.tensor([0.5, -2.0, -0.7, 1.5], dtype=torch.float64)
    shift = torch.tensor([1.0, -2.0, 0.5, -1.0], dtype=torch.float64)
    found = handed_back(
        lambda each: _normed(F.conv2d(each, weights[:, :, None, None]), scale, shift),
        x[None, :, None, None], relevance[None, :, None, None], conv=rule,
    )  # fmt: skip
    merged = by_formula(weights * scale[:, None], shift, x, relevance, RULES[rule])
    torch.testing.assert_close(found.flatten(), merged)


def _normed(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    zero, one = torch.zeros_like(scale), torch.ones_like(scale)
    return F.batch_norm(x, zero, one, scale, shift, eps=0)


def test_what_a_batch_norm_is_given_may_have_other_users(
    layer: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    """The relevance of what is normalised and of what goes around it add up at the layer."""
    weights, _, x, relevance = layer
    scale = torch.tensor([0.5, 2.0, 0.7, 1.5], dtype=torch.float64)
    shift = torch.tensor([1.0, -2.0, 0.5, -1.0], dtype=torch.float64)

    def network(each: Tensor) -> Tensor:
        made = F.conv2d(each, weights[:, :, None, None])
        return _normed(made, scale, shift) + made

    found = handed_back(
        network, x[None, :, None, None], relevance[None, :, None, None], conv="z-plus"
    )
    whole = by_formula(weights, shift, x, relevance, z_plus)
    torch.testing.assert_close(found.flatten(), whole)
    weights = torch.cat([torch.zeros(1, 6, dtype=torch.float64), weights[1:]])  # a dead output
    found = handed_back(
        network, x[None, :, None, None], relevance[None, :, None, None], conv="z-plus"
    )
    assert float(found.sum()) == pytest.approx(float(relevance.sum()))


def test_a_batch_norm_elsewhere_shares_its_shift() -> None:
    x, scale, shift, relevance = (
        torch.randn(4, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
        for n in range(4)
    )
    found = handed_back(
        lambda each: _normed(each[:, :, None, None], scale, shift).flatten(1),
        x[None], relevance[None],
    )  # fmt: skip
    slopes = relevance / (scale * x + shift)
    expected = scale * x * slopes + x.abs() / x.abs().sum() * (shift * slopes).sum()
    torch.testing.assert_close(found[0], expected)


@pytest.mark.parametrize("rule", RULES)
def test_what_a_bias_alone_made_goes_to_the_neighbours(
    layer: tuple[Tensor, Tensor, Tensor, Tensor], rule: str
) -> None:
    """Tokens, one of which is padding."""
    weights, bias, x, relevance = layer
    tokens = torch.stack([x, torch.zeros_like(x), -x])[None]
    given = relevance.repeat(1, 3, 1)
    found = handed_back(lambda each: F.linear(each, weights, bias), tokens, given, dense=rule)
    assert float(found.sum()) == pytest.approx(float(given.sum()))
    assert not found[0, 1].any()


def _image_layer() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn(3, 2, 3, 3, generator=generator, dtype=torch.float64)
    bias = torch.randn(3, generator=generator, dtype=torch.float64)
    x = torch.rand(1, 2, 5, 5, generator=generator, dtype=torch.float64)
    return weights, bias, x, torch.randn(1, 3, 3, 3, generator=generator, dtype=torch.float64)


def _loop_over_windows(
    weights: Tensor, x: Tensor, relevance: Tensor, parts: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """A first layer by stride 2 and padding 1: each output's relevance over its own window."""
    total = torch.zeros(2, 7, 7, dtype=x.dtype)
    padded = F.pad(x[0], (1, 1, 1, 1))
    inside = F.pad(torch.ones_like(x[0]), (1, 1, 1, 1))
    for j in range(3):
        for row in range(3):
            for column in range(3):
                at = (slice(None), slice(2 * row, 2 * row + 3), slice(2 * column, 2 * column + 3))
                share = parts(padded[at], weights[j]) * inside[at]
                total[at] += share / share.sum() * relevance[0, j, row, column]
    return total[None, :, 1:-1, 1:-1]


@pytest.mark.parametrize("padded_before", [False, True])
@pytest.mark.parametrize("first", ["flat", "box"])
def test_a_first_layer_is_its_formula(first: str, padded_before: bool) -> None:
    weights, bias, x, relevance = _image_layer()
    # Turned round: black is the highest that the layer sees.
    high = ((0 - torch.tensor([0.4, 0.5])) / -0.2)[:, None, None].double()
    low = ((1 - torch.tensor([0.4, 0.5])) / -0.2)[:, None, None].double()

    def network(pixels: Tensor) -> Tensor:
        mean = torch.tensor([0.4, 0.5], dtype=pixels.dtype)[:, None, None]
        inputs = (pixels - mean) / -0.2
        if padded_before:
            return F.conv2d(F.pad(inputs, (1, 1, 1, 1)), weights, bias, stride=2)
        return F.conv2d(inputs, weights, bias, stride=2, padding=1)

    def boxed(inputs: Tensor, w: Tensor) -> Tensor:
        return inputs * w - low * w.clamp(min=0) - high * w.clamp(max=0)

    parts = {"flat": lambda inputs, w: torch.ones_like(w), "box": boxed}[first]
    found = handed_back(network, x, relevance, first=first)
    normalised = (x - torch.tensor([0.4, 0.5]).double()[:, None, None]) / -0.2
    torch.testing.assert_close(found, _loop_over_windows(weights, normalised, relevance, parts),
                               rtol=1e-5, atol=1e-6)  # fmt: skip


def test_resizing_hands_on_by_weight() -> None:
    """Scaling changes nothing: what a pixel has is its weight in the resized one."""
    weights, _, x, _ = _image_layer()
    relevance = torch.rand(1, 3, 3, 3, dtype=x.dtype)

    def resized(pixels: Tensor) -> Tensor:
        return F.interpolate(pixels, size=(3, 3), mode="bilinear")

    found = handed_back(
        lambda pixels: F.conv2d(resized(pixels) * 3.0 - 1.0, weights[..., :1, :1]),
        x, relevance, first="flat",
    )  # fmt: skip
    pixels = x.clone().requires_grad_()
    alike = (relevance.sum(1, keepdim=True) / 2).expand(1, 2, 3, 3)
    (expected,) = torch.autograd.grad(resized(pixels), pixels, alike)
    torch.testing.assert_close(found, expected)
    assert found.sum() == pytest.approx(relevance.sum())


@pytest.mark.parametrize(
    "function", [F.gelu, F.silu, F.hardswish, F.relu6, F.elu, F.softplus, torch.tanh]
)
def test_an_activation_passes(function: Callable[[Tensor], Tensor]) -> None:
    x = torch.linspace(-3, 8, 23, dtype=torch.float64)[None] + 0.01
    relevance = torch.linspace(1, 2, 23, dtype=torch.float64)[None]
    found = handed_back(lambda each: function(each * 1.0), x, relevance)
    torch.testing.assert_close(found, relevance * (function(x) != 0))


def test_a_layer_norm_holds_its_deviation() -> None:
    generator = torch.Generator().manual_seed(1)
    x, weight, bias, relevance = (
        torch.randn(5, generator=generator, dtype=torch.float64) for _ in range(4)
    )
    found = handed_back(
        lambda each: F.layer_norm(each, (5,), weight, bias), x[None], relevance[None]
    )
    deviation = (x.var(correction=0) + 1e-5).sqrt()
    centre = torch.eye(5, dtype=torch.float64) - 0.2
    slopes = relevance / F.layer_norm(x, (5,), weight, bias)
    contributions = centre * (weight / deviation)[:, None] * x * slopes[:, None]
    expected = contributions.sum(0) + x.abs() / x.abs().sum() * (slopes * bias).sum()
    torch.testing.assert_close(found[0], expected)
    assert found.sum() == pytest.approx(relevance.sum())


def test_products_share_and_gates_get_nothing() -> None:
    x = torch.tensor([[0.5, -1.0, 2.0, 3.0]], dtype=torch.float64)
    relevance = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    shared = handed_back(lambda each: each[:, :2] * each[:, 2:], x, relevance)
    torch.testing.assert_close(shared, torch.tensor([[0.5, 1.0, 0.5, 1.0]]).double())
    held = handed_back(lambda each: each[:, :2] * each[:, 2:].sigmoid(), x, relevance)
    torch.testing.assert_close(held, torch.tensor([[1.0, 2.0, 0.0, 0.0]]).double())
    divided = handed_back(lambda each: each[:, :2] / each[:, 2:], x, relevance)
    torch.testing.assert_close(divided, torch.tensor([[1.0, 2.0, 0.0, 0.0]]).double())


@pytest.mark.parametrize("held", [True, False])
def test_attention(held: bool) -> None:
    """By the paper's rules the slope at q, k and v is a quarter, a quarter and a half."""
    generator = torch.Generator().manual_seed(2)
    q, k, v, relevance = (
        torch.randn(1, 3, 2, generator=generator, dtype=torch.float64) for _ in range(4)
    )
    leaves = [each.clone().requires_grad_() for each in (q, k, v)]
    weights = (leaves[0] @ leaves[1].transpose(1, 2) / 2**0.5).softmax(-1)
    plain = torch.autograd.grad(
        ((weights.detach() if held else weights) @ leaves[2]),
        leaves, relevance / (weights @ v).detach(), allow_unused=held,
    )  # fmt: skip
    parts = (0, 0, 1) if held else (0.25, 0.25, 0.5)
    expected = torch.stack(
        [
            each * part * slope if part else torch.zeros_like(each)
            for each, part, slope in zip((q, k, v), parts, plain, strict=True)
        ]
    )

    def by_hand(each: Tensor) -> Tensor:
        return (each[0] @ each[1].transpose(1, 2) / 2**0.5).softmax(-1) @ each[2]

    def fused(each: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(each[0], each[1], each[2])

    for function in (by_hand, fused):
        found = handed_back(function, torch.stack([q, k, v]), relevance, held=held)
        torch.testing.assert_close(found, expected)


def test_what_is_kept_is_not_what_was_written_into() -> None:
    """The ReLU in place writes into what the layer gave out; the sum into what went in."""
    weights = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.rand(1, 3, dtype=torch.float64) + 0.5

    def in_place(each: Tensor) -> Tensor:
        before = each * 1.0
        made = F.linear(before, weights).add_(1.0)
        before += made
        return before

    def apart(each: Tensor) -> Tensor:
        before = each * 1.0
        return before + (F.linear(before, weights) + 1.0)

    relevance = torch.ones(1, 3, dtype=torch.float64)
    rules = {"dense": "gamma"}
    torch.testing.assert_close(
        handed_back(in_place, x, relevance, **rules), handed_back(apart, x, relevance, **rules)
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"composite": "epsilon-plus"}, "did you mean epsilon-plus-flat"),
        ({"depthwise": "flat"}, "one of epsilon, z-plus"),
        ({"attention": "none"}, "held, shared"),
        ({"objective": "probability"}, "logit, margin"),
        ({"gamma": -1.0}, "gamma is -1.0"),
        ({"epsilon": float("nan")}, "epsilon is nan"),
    ],
)
def test_impossible_options_are_one_sentence(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidParameterError, match=words):
        LRP(**given)
