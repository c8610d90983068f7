"""Every line of DeepLIFT's table by itself: complete, the gradient at equal pictures, as the paper.

``CASES`` has at least one call for each operation with a rule; a line of the table without one is
red.
"""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fluoroscope.attribution.deeplift import AtBaseline, AtPicture, Tape
from fluoroscope.attribution.rules.mode import Coverage
from fluoroscope.attribution.rules.table import TABLE, rules_of

SHAPE = (2, 4, 5, 6)
Function = Callable[[Tensor], Any]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


class _Attention(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options
        torch.manual_seed(0)
        self.inner = nn.MultiheadAttention(4, 2, batch_first=True).double().eval()
        for weight in self.inner.parameters():
            weight.requires_grad_(False).normal_()

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(1, 2)
        answer, shares = self.inner(x, x, x, **self.options)
        return answer if shares is None else torch.cat([answer.flatten(1), shares.flatten(1)], 1)


def positive(f: Function) -> Function:
    return lambda x: f(x.square() + 0.1)


def rows(x: Tensor) -> Tensor:
    return x.flatten(2)


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    one, two = x.chunk(2, 1)
    return one, two


def vectors(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[0, 0, 0], x[0, 1, 0] + x[1, 1, 1]


CASES: dict[str, list[Function]] = {
    "relu": [F.relu, torch.relu, lambda x: (x * 1).relu_(), lambda x: F.relu(input=x)],
    "clamp": [
        lambda x: x.clamp(-0.3, 0.4),
        lambda x: torch.clip(x, max=0.2),
        lambda x: x.clamp(draw(*SHAPE, seed=1)),
    ],
    "clamp_min": [lambda x: x.clamp_min(0.1)],
    "clamp_max": [lambda x: x.clamp_max(0.1)],
    "relu6": [lambda x: F.relu6(4 * x)],
    "hardtanh": [F.hardtanh, nn.ReLU6()],
    "leaky_relu": [lambda x: F.leaky_relu(x, 0.2)],
    "rrelu": [lambda x: F.rrelu(x, training=False)],
    "prelu": [lambda x: F.prelu(x, draw(4).abs())],
    "elu": [F.elu, lambda x: F.elu(x * 1, inplace=True)],
    "selu": [F.selu],
    "celu": [F.celu],
    "gelu": [F.gelu, lambda x: F.gelu(x, approximate="tanh")],
    "silu": [F.silu],
    "mish": [F.mish],
    "hardswish": [lambda x: F.hardswish(3 * x)],
    "softplus": [F.softplus],
    "threshold": [lambda x: F.threshold(x, 0.1, 0.1)],
    "abs": [torch.abs],
    "sigmoid": [torch.sigmoid],
    "hardsigmoid": [lambda x: F.hardsigmoid(3 * x)],
    "log_sigmoid": [F.logsigmoid],
    "tanh": [torch.tanh],
    "softsign": [F.softsign],
    "tanhshrink": [F.tanhshrink],
    "hardshrink": [F.hardshrink],
    "softshrink": [F.softshrink],
    "erf": [torch.erf],
    "sin": [torch.sin],
    "cos": [torch.cos],
    "atan": [torch.atan],
    "expm1": [torch.expm1],
    "rpow": [lambda x: 2**x],
    "pow": [
        lambda x: x**2,
        lambda x: x.pow(3),
        positive(lambda x: x**0.75),
        positive(lambda x: x ** (-0.5)),
        positive(lambda x: x ** draw(*SHAPE)),
        lambda x: x**1,
    ],
    "square": [torch.square],
    "exp": [torch.exp],
    "log": [positive(torch.log)],
    "sqrt": [positive(torch.sqrt)],
    "rsqrt": [positive(torch.rsqrt)],
    "reciprocal": [positive(torch.reciprocal)],
    "mul": [lambda x: x * x.sigmoid(), lambda x: (x * 1).mul_(x.mean((2, 3), keepdim=True))],
    "div": [
        lambda x: x / (x.square() + 1),
        lambda x: torch.div(x, x.std()),
    ],
    "rdiv": [lambda x: 3 / (x.square() + 1)],
    "matmul": [lambda x: x @ x.transpose(2, 3)],
    "rmatmul": [lambda x: x.__rmatmul__(x.transpose(2, 3))],
    "bmm": [lambda x: torch.bmm(rows(x), rows(x).transpose(1, 2))],
    "mm": [lambda x: torch.mm(x[0, 0], x[1, 1].T)],
    "baddbmm": [lambda x: torch.baddbmm(rows(x)[:, :, :4], rows(x), rows(x).transpose(1, 2))],
    "addmm": [lambda x: torch.addmm(x[0, 1, :, :5], x[0, 0], x[1, 1].T)],
    "einsum": [lambda x: torch.einsum("nchw,ndhw->ncd", x, x)],
    "dot": [lambda x: torch.dot(*vectors(x))],
    "mv": [lambda x: torch.mv(x[0, 0], x[1, 1, 0])],
    "inner": [lambda x: torch.inner(*vectors(x))],
    "outer": [lambda x: torch.outer(*vectors(x))],
    "tensordot": [lambda x: torch.tensordot(x[0], x[1], dims=([1, 2], [1, 2]))],
    "linear": [lambda x: F.linear(rows(x)[0], rows(x)[1])],
    "bilinear": [lambda x: F.bilinear(x, x, draw(3, 6, 6))],
    "conv1d": [lambda x: F.conv1d(rows(x), rows(x)[:, :, :3])],
    "conv2d": [lambda x: F.conv2d(x, x[:, :, :3, :3], x.mean((1, 2, 3)))],
    "conv3d": [lambda x: F.conv3d(x[:, None], x[:, None, :2, :2, :2])],
    "conv_transpose1d": [lambda x: F.conv_transpose1d(rows(x), rows(x).transpose(0, 1)[:, :, :3])],
    "conv_transpose2d": [lambda x: F.conv_transpose2d(x, x.transpose(0, 1)[:, :, :2, :2])],
    "conv_transpose3d": [lambda x: F.conv_transpose3d(x[:, None], x[:1, None, :2, :2, :2])],
    "max_pool1d": [lambda x: F.max_pool1d(rows(x), 3, 2, 1)],
    "max_pool2d": [
        nn.MaxPool2d(3, 2, 1),
        lambda x: F.max_pool2d(x, (2, 3), ceil_mode=True),
        lambda x: torch.max_pool2d(x[0], 2),
    ],
    "max_pool3d": [lambda x: F.max_pool3d(x, 2)],
    "max_pool1d_with_indices": [lambda x: F.max_pool1d(rows(x), 3, return_indices=True)[0]],
    "max_pool2d_with_indices": [lambda x: F.max_pool2d(x, 2, return_indices=True)[0]],
    "max_pool3d_with_indices": [lambda x: F.max_pool3d(x, 2, return_indices=True)[0]],
    "adaptive_max_pool1d": [lambda x: F.adaptive_max_pool1d(rows(x), 4)],
    "adaptive_max_pool2d": [lambda x: F.adaptive_max_pool2d(x, (2, 3))],
    "adaptive_max_pool3d": [lambda x: F.adaptive_max_pool3d(x, 2)],
    "max": [
        lambda x: x.max(),
        lambda x: x.max(1).values,
        lambda x: x.max(dim=2, keepdim=True)[0],
        lambda x: torch.max(*halves(x)),
    ],
    "min": [lambda x: x.min(), lambda x: torch.min(x, 3)[0], lambda x: torch.min(*halves(x))],
    "amax": [lambda x: x.amax((2, 3)), lambda x: x.amax(-1, keepdim=True)],
    "amin": [lambda x: x.amin((2, 3))],
    "maximum": [
        lambda x: torch.maximum(*halves(x)),
        lambda x: torch.maximum(x, x.mean((2, 3), keepdim=True)),
    ],
    "minimum": [lambda x: torch.minimum(*halves(x)), lambda x: torch.minimum(x, torch.tensor(0.1))],
    "where": [
        lambda x: torch.where(x > 0, x, 0.3 * x),
        lambda x: torch.where(x > 0, x, 0.0),
        lambda x: x.where(x > 0.1, x[:, :1]),
    ],
    "layer_norm": [
        lambda x: F.layer_norm(x, (5, 6), draw(5, 6), draw(5, 6)),
        lambda x: F.layer_norm(x.exp(), [6], bias=draw(6)),
        lambda x: torch.native_layer_norm(x, (6,), None, None, 1e-5)[0],
    ],
    "rms_norm": [lambda x: F.rms_norm(x, (6,), draw(6)), lambda x: F.rms_norm(x, (5, 6))],
    "group_norm": [lambda x: F.group_norm(x, 2, draw(4), draw(4)), lambda x: F.group_norm(x, 4)],
    "instance_norm": [
        lambda x: F.instance_norm(x, None, None, draw(4), draw(4)),
        lambda x: torch.instance_norm(x, draw(4), draw(4), None, None, True, 0.1, 1e-5, False),
        lambda x: F.instance_norm(x, draw(4), draw(4).abs(), use_input_stats=False) * x,
    ],
    "softmax": [lambda x: x.softmax(1), lambda x: F.softmax(30 * x, dim=-1)],
    "log_softmax": [lambda x: x.log_softmax(1), lambda x: F.log_softmax(30 * x, dim=-1)],
    "logsumexp": [lambda x: x.logsumexp(1), lambda x: x.logsumexp(2, keepdim=True)],
    "linalg_vector_norm": [
        lambda x: torch.linalg.vector_norm(x, dim=(2, 3)),
        lambda x: torch.linalg.vector_norm(x, 1),
    ],
    "norm": [lambda x: x.norm(dim=1), lambda x: x.norm(1), lambda x: torch.norm(x, 2, 1, True)],
    "normalize": [F.normalize, lambda x: F.normalize(x, p=1, dim=-1)],
    "cosine_similarity": [lambda x: F.cosine_similarity(*halves(x), dim=1)],
    "var": [
        lambda x: x.var(),
        lambda x: x.var(1),
        lambda x: x.var((2, 3), correction=0),
        lambda x: x.var(False),
    ],
    "std": [lambda x: x.std(1, unbiased=False, keepdim=True)],
    "var_mean": [lambda x: torch.cat(torch.var_mean(x, 1))],
    "std_mean": [lambda x: torch.cat(torch.std_mean(x, dim=1, keepdim=True))],
    "local_response_norm": [lambda x: F.local_response_norm(x, 4, alpha=0.5, k=0.5)],
    "glu": [lambda x: F.glu(x, 1)],
    "softmin": [lambda x: F.softmin(x, dim=1)],
    "scaled_dot_product_attention": [
        lambda x: F.scaled_dot_product_attention(x, x.flip(2), x.cos()),
        lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True, scale=0.7),
        lambda x: F.scaled_dot_product_attention(x, x, x, draw(5, 5)),
        lambda x: F.scaled_dot_product_attention(x, x, x, draw(5, 5) < 0.5),
        lambda x: F.scaled_dot_product_attention(x, x[:, :2], x[:, :2], enable_gqa=True),
    ],
    "multi_head_attention_forward": [
        _Attention(need_weights=False),
        _Attention(),
        _Attention(need_weights=False, attn_mask=draw(30, 30) > 1),
        _Attention(need_weights=False, attn_mask=draw(30, 30)),
        lambda x: F.multi_head_attention_forward(
            *[x.flatten(2).permute(2, 0, 1)] * 3,
            4,
            2,
            draw(12, 4),
            None,
            None,
            None,
            False,
            0.0,
            draw(4, 4),
            None,
            training=False,
            need_weights=False,
            attn_mask=draw(30, 30) > 1,
        )[0],
    ],
}
CALLS = [(name, number) for name, calls in CASES.items() for number in range(len(calls))]


def lifted(function: Function, x: Tensor, base: Tensor) -> tuple[Tensor, Tensor, Tensor, Coverage]:
    """The picture as a leaf, the answers to it and to the baseline, and what was covered."""
    rules, coverage, tape = rules_of("deeplift"), Coverage(), Tape()
    x = x.clone().requires_grad_()
    with AtBaseline(rules, Coverage(), tape):
        other = function(base.clone().requires_grad_()).detach()
    with AtPicture(rules, coverage, tape):
        answer = function(x)
    return x, answer, other, coverage


@pytest.mark.parametrize(("name", "number"), CALLS)
def test_a_line_is_complete_and_at_equal_pictures_the_gradient(name: str, number: int) -> None:
    function = CASES[name][number]
    base, other = draw(*SHAPE, seed=2), draw(*SHAPE, seed=3)
    other[0, 0] = base[0, 0] + 1e-9 * other[0, 0]  # too near for a ratio
    other[:, 1, 0] = base[:, 1, 0]
    x, answer, then, coverage = lifted(function, other, base)
    assert coverage.handled[name] > 0
    assert not coverage.missed
    with torch.no_grad():
        torch.testing.assert_close(answer.detach(), function(other))
        torch.testing.assert_close(then, function(base))
    slope = torch.randn_like(answer)
    (multiplier,) = torch.autograd.grad(answer, x, slope, retain_graph=True)
    expected = ((answer - then) * slope).sum()
    torch.testing.assert_close((multiplier * (x - base)).sum(), expected, rtol=1e-10, atol=1e-10)
    x, answer, _, _ = lifted(function, other, other)
    (multiplier,) = torch.autograd.grad(answer, x, slope)
    plain = other.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(plain), plain, slope)
    torch.testing.assert_close(multiplier, gradient, rtol=1e-6, atol=1e-6)


def test_every_line_has_a_case() -> None:
    assert {name for name, line in TABLE.items() if line.deeplift is not None} == CASES.keys()


REFUSED: dict[str, Function] = {
    "einsum": lambda x: torch.einsum("nc,nd,ne->cde", *[x.flatten(1)] * 3),
    "div": lambda x: torch.div(x + 9, x + 10, rounding_mode="trunc") * x.relu(),
    "clamp": lambda x: x.clamp(min=x.mean()),
    "normalize": lambda x: F.normalize(x, p=3),
    "softmax": lambda x: F.softmax(x, None, _stacklevel=0),
    "layer_norm": lambda x: F.layer_norm(x, (6,), x[0, 0, 0]),
    "scaled_dot_product_attention": lambda x: F.scaled_dot_product_attention(
        x, x, x, dropout_p=0.5
    ),
    "lerp": lambda x: torch.lerp(x, x.relu(), 0.5),
}


@pytest.mark.filterwarnings("ignore:Implicit dimension")
@pytest.mark.parametrize("name", REFUSED)
def test_a_call_that_a_rule_is_not_for_is_said_to_be_missed(name: str) -> None:
    _, _, _, coverage = lifted(REFUSED[name], draw(*SHAPE), draw(*SHAPE, seed=1))
    assert coverage.missed[name] == 1
    assert name not in coverage.handled


numbers = st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0])


@given(st.lists(st.tuples(numbers, numbers), min_size=4, max_size=4))
def test_a_max_pool_is_split_as_by_hand(pairs: list[tuple[float, float]]) -> None:
    """Over one window, with ties and entries that stay, which are the hard cases."""
    picture, base = (
        torch.tensor(each).double().view(1, 1, 2, 2) for each in zip(*pairs, strict=True)
    )
    x, answer, then, _ = lifted(lambda x: F.max_pool2d(x, 2), picture, base)
    (multiplier,) = torch.autograd.grad(answer.sum(), x)
    m, before = answer.item(), then.item()
    assert (multiplier.detach() * (picture - base)).sum() == pytest.approx(m - before, abs=1e-12)
    assert multiplier.min() >= 0
    assert multiplier.max() <= 1
    top = max(m, before)
    expected = torch.zeros(4).double()
    apart = (picture - base).flatten()
    if m != before:
        own, other = int(picture.argmax()), int(base.argmax())
        if top > before:
            expected[own] += (top - before) / apart[own]
        if m < top:
            expected[other] += (m - top) / apart[other]
        torch.testing.assert_close(multiplier.flatten(), expected)


def test_products_of_any_order_are_shared_fairly() -> None:
    """A product's two factors are each given the mean over the two orders of changing them."""
    x, base = draw(2, 1, 1, 3), draw(2, 1, 1, 3, seed=1)

    def of_two(a: Tensor, b: Tensor) -> Tensor:
        return a * b

    leaf, answer, _, _ = lifted(lambda x: of_two(x[0], x[1]), x, base)
    (multiplier,) = torch.autograd.grad(answer.sum(), leaf)
    found = (multiplier * (x - base)).view(2, 3)
    expected = torch.zeros(2, 3).double()
    for order in itertools.permutations(range(2)):
        now = base.view(2, 3).clone()
        for which in order:
            before = of_two(*now)
            now[which] = x.view(2, 3)[which]
            expected[which] += (of_two(*now) - before) / 2
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("flat", ["picture", "baseline"])
def test_a_norm_of_what_is_flat_loses_no_digits(flat: str) -> None:
    """In float32, where one side has no variance, the other side's deviation is divided by."""
    x, base = draw(4, 64).float(), torch.full((4, 64), 0.25)
    if flat == "picture":
        x, base = base, x
    function: Function = lambda x: F.layer_norm(x, (64,))  # noqa: E731
    leaf, answer, then, _ = lifted(function, x, base)
    slope = draw(4, 64, seed=5).float()
    (multiplier,) = torch.autograd.grad(answer, leaf, slope)
    assert multiplier.abs().max() < 10
    total = (multiplier * (x - base)).double().sum(1)
    torch.testing.assert_close(
        total, ((answer - then) * slope).double().sum(1).detach(), rtol=1e-5, atol=1e-5
    )


def test_a_softmax_far_apart_neither_overflows_nor_cancels() -> None:
    x, base = 100 * draw(3, 8).float(), 100 * draw(3, 8, seed=1).float()
    leaf, answer, then, _ = lifted(lambda x: x.softmax(1), x, base)
    slope = draw(3, 8, seed=2).float()
    (multiplier,) = torch.autograd.grad(answer, leaf, slope)
    total = (multiplier * (x - base)).sum(1)
    torch.testing.assert_close(
        total, ((answer - then) * slope).sum(1).detach(), rtol=1e-5, atol=1e-6
    )


def test_what_is_written_into_later_was_copied() -> None:
    """The baseline's and the picture's arguments are overwritten before the way back."""

    def function(x: Tensor) -> Tensor:
        x = x * 1
        y = F.gelu(x)
        x *= 0.5
        y += x
        z = y.relu_()
        z *= 2
        z[:, :1].mul_(0)
        return z

    base, other = draw(*SHAPE), draw(*SHAPE, seed=1)
    leaf, answer, then, _ = lifted(function, other, base)
    (multiplier,) = torch.autograd.grad(answer.sum(), leaf)
    assert (multiplier * (other - base)).sum().item() == pytest.approx(float((answer - then).sum()))


@pytest.mark.parametrize("name", ["leaky_relu", "hardshrink", "abs", "hardswish", "clamp"])
def test_a_bend_between_what_is_near_is_seen(name: str) -> None:
    """There the mean of the slopes would be wrong, and the ratio is what it is."""
    at = {"hardshrink": 0.5, "hardswish": 3.0, "clamp": 0.4}.get(name, 0.0)
    base = at - torch.tensor([1e-7, 2e-7, 3e-7]).double()
    x, answer, then, _ = lifted(CASES[name][0], base + 1e-6, base)
    if name == "hardswish":  # it stands behind a factor of 3
        x, answer, then, _ = lifted(F.hardswish, base + 1e-6, base)
    (multiplier,) = torch.autograd.grad(answer.sum(), x)
    torch.testing.assert_close(multiplier * (x - base), answer - then, rtol=1e-6, atol=0)


@pytest.mark.parametrize("flat", ["picture", "baseline"])
def test_a_norm_written_out_loses_no_digits_either(flat: str) -> None:
    x, base = draw(4, 64).float(), torch.full((4, 64), 0.25)
    if flat == "picture":
        x, base = base, x

    def function(x: Tensor) -> Tensor:
        return (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-6)

    leaf, answer, then, _ = lifted(function, x, base)
    slope = draw(4, 64, seed=5).float()
    (multiplier,) = torch.autograd.grad(answer, leaf, slope)
    assert multiplier.abs().max() < 10
    expected = ((answer - then) * slope).double().sum(1).detach()
    total = (multiplier * (x - base)).double().sum(1)
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)
