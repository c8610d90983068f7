"""The operators that a stranger's exported program may use.

Not every ATen operator looks at what it is given: some skip their checks by design, some trust
their callers, and read or write past the end of memory where a hand-made program bids them. So
there is a list of what is allowed: what exports of image networks hold (those of torchvision, timm
and transformers were looked through), and their neighbours that check. Those that networks need and
that do not check enough are checked here.
"""

import operator
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.fx import Proxy

_LIMIT = 2**63  # sizes are no larger, and numbers that grow without end are no sizes


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# These also where they work in place.
_ELEMENTWISE = _words("""
    abs acos acosh add addcdiv addcmul asin asinh atan atan2 atanh bitwise_and bitwise_not
    bitwise_or bitwise_xor ceil celu clamp clamp_max clamp_min copy copysign cos cosh div dropout
    elu eq erf erfc erfinv exp exp2 expm1 fill floor floor_divide fmod frac ge gelu gt hardsigmoid
    hardswish hardtanh le leaky_relu lerp log log10 log1p log2 logical_and logical_not logical_or
    logical_xor logit lt masked_fill mish mul nan_to_num ne neg pow reciprocal relu relu6 remainder
    round rsqrt selu sgn sigmoid sign silu sin sinc sinh sqrt square sub tan tanh threshold trunc
    xlogy zero
""")
_OTHERS = _words("""
    _local_scalar_dense _log_softmax _prelu_kernel _softmax _to_copy
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d
    _adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d addbmm addmm affine_grid_generator
    alias all alpha_dropout amax amin aminmax any arange argmax argmin argsort as_strided
    avg_pool1d avg_pool2d avg_pool3d baddbmm batch_norm bernoulli bilinear bmm broadcast_to cat
    channel_shuffle chunk clone col2im complex concat constant_pad_nd contiguous conv1d conv2d
    conv3d conv_transpose1d conv_transpose2d convolution cosine_similarity count_nonzero cumprod
    cumsum detach diagonal dot einsum embedding expand expand_as eye feature_dropout fft_fft
    fft_fft2 fft_fftn fft_ifft fft_ifft2 fft_ifftn fft_irfft fft_irfft2 fft_irfftn fft_rfft
    fft_rfft2 fft_rfftn flatten flip full full_like gather glu grid_sampler grid_sampler_2d
    group_norm hardshrink heaviside im2col imag index index_put index_select instance_norm isfinite
    isinf isnan item layer_norm lift_fresh_copy linalg_vector_norm linear linspace log_sigmoid
    log_softmax logaddexp logsumexp masked_scatter masked_select matmul max max_pool1d max_pool2d
    max_pool2d_with_indices max_pool3d maximum mean median meshgrid min minimum mm movedim mv narrow
    native_dropout native_group_norm native_layer_norm new_full new_ones new_zeros nonzero norm ones
    ones_like one_hot outer pad permute pixel_shuffle pixel_unshuffle prelu prod rand rand_like
    randint randn randn_like randperm real reflection_pad1d reflection_pad2d repeat
    replication_pad1d replication_pad2d reshape reshape_as rms_norm roll rot90 rrelu rsub
    scalar_tensor scatter scatter_add select select_scatter slice slice_scatter softmax softplus
    softshrink sort split split_with_sizes squeeze stack std std_mean sum swapaxes swapdims t
    take_along_dim tensordot tile to topk transpose tril triu type_as unbind unflatten unfold
    unsqueeze var var_mean view view_as view_as_complex view_as_real where zeros zeros_like
    sym_is_contiguous sym_numel sym_size sym_storage_offset sym_stride
    upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d
    _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact2d
""")
_NAMES = _ELEMENTWISE | {f"{name}_" for name in _ELEMENTWISE} | _OTHERS | {"index_put_", "detach_"}
# Its other forms take counts as a tensor.
_ALSO = {"repeat_interleave.self_int"}


def find_operator(name: str, overload: str) -> torch._ops.OpOverload | None:
    """The ATen operator of that name, if it is one of those allowed."""
    if name not in _NAMES and f"{name}.{overload}" not in {*_ALSO, *_CHECKED}:
        return None
    found = getattr(getattr(torch.ops.aten, name, None), overload, None)
    if not isinstance(found, torch._ops.OpOverload) or found._schema.is_mutable != (
        name.endswith("_")
    ):
        return None  # such as the overloads that write into another tensor
    return found


def trusts_scales(name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a resize would take stated scales for what the sizes really are."""
    stated = [value for key, value in arguments.items() if key.startswith("scales")]
    return "upsample" in name and any("as_none" not in value for value in stated)


def checked(function: torch._ops.OpOverload) -> Callable[..., Any]:
    """The operator itself, or around one that does not check its arguments one that does."""
    return _CHECKED.get(f"{function._opname}.{function._overloadname}", function)


def _step(function: Callable[..., Any]) -> Callable[..., Any]:
    """One step of a graph, also while PyTorch traces the graph anew, as pickling does."""

    @wraps(function)
    def step(*args: Any, **kwargs: Any) -> Any:
        for value in (*args, *kwargs.values()):
            if isinstance(value, Proxy):
                return value.tracer.create_proxy("call_function", step, args, kwargs)
        return function(*args, **kwargs)

    return step


@_step
def batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
) -> Any:
    """Batch norm, decomposed; the operator reads as many weights as there are channels."""
    _check_per_channel(input, weight, bias, running_mean, running_var)
    return torch.ops.aten._native_batch_norm_legit_no_training.default(
        input, weight, bias, running_mean, running_var, momentum, eps
    )


@_step
def batch_norm_without_statistics(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Any:
    """The same with the batch's own statistics."""
    _check_per_channel(input, weight, bias)
    return torch.ops.aten._native_batch_norm_legit.no_stats(
        input, weight, bias, training, momentum, eps
    )


@_step
def attention(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Any:
    """Attention; its kernels read as many values as there are keys."""
    if key.dim() < 2 or value.dim() < 2 or key.shape[-2] != value.shape[-2]:
        raise ValueError(f"{tuple(key.shape)} keys do not go with {tuple(value.shape)} values")
    return torch.ops.aten.scaled_dot_product_attention.default(query, key, value, *rest, **options)


@_step
def divide(input: Tensor, other: Any, *, rounding_mode: str | None) -> Any:
    """Division; the processor gives up on the one quotient that integers cannot hold."""
    if rounding_mode == "trunc" and not torch.result_type(input, other).is_floating_point:
        raise ValueError("division of integers that is cut off at the point")
    return torch.div(input, other, rounding_mode=rounding_mode)


def _check_per_channel(images: Tensor, *tensors: Tensor | None) -> None:
    for tensor in tensors:
        if tensor is not None and tuple(tensor.shape) != tuple(images.shape[1:2]):
            raise ValueError(
                f"batch norm of {tuple(images.shape)} by weights {tuple(tensor.shape)}"
            )


_CHECKED: dict[str, Callable[..., Any]] = {
    "_native_batch_norm_legit_no_training.default": batch_norm,
    "_native_batch_norm_legit.no_stats": batch_norm_without_statistics,
    "scaled_dot_product_attention.default": attention,
    "div.Tensor_mode": divide,
    "div.Scalar_mode": divide,
}


def _on_numbers(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """What programs do with sizes, which are Python numbers here, within their bounds."""

    def bounded(*numbers: Any) -> Any:
        if not all(isinstance(n, int | float | torch.SymInt | torch.SymFloat) for n in numbers):
            raise ValueError(f"{name} of something else than numbers")
        if name == "power" and not -64 <= numbers[1] <= 64:
            raise ValueError(f"a size to the power of {numbers[1]}")
        found = function(*numbers)
        if isinstance(found, complex) or (isinstance(found, int) and abs(found) >= _LIMIT):
            raise ValueError(f"{name} that is no size")
        return found

    # By its name a copy of the graph finds it again.
    bounded.__name__ = bounded.__qualname__ = name
    return _step(bounded)


@_step
def item(values: Any, index: int) -> Any:
    """One of several outputs."""
    if not isinstance(values, tuple | list) or not isinstance(index, int):
        raise ValueError("an item of something that is no list")
    return values[index]


add = _on_numbers(operator.add, "add")
subtract = _on_numbers(operator.sub, "subtract")
multiply = _on_numbers(operator.mul, "multiply")
floor_divide = _on_numbers(operator.floordiv, "floor_divide")
true_divide = _on_numbers(operator.truediv, "true_divide")
modulo = _on_numbers(operator.mod, "modulo")
negative = _on_numbers(operator.neg, "negative")
power = _on_numbers(operator.pow, "power")
whole = _on_numbers(torch.sym_int, "whole")
real = _on_numbers(torch.sym_float, "real")
larger = _on_numbers(torch.sym_max, "larger")
smaller = _on_numbers(torch.sym_min, "smaller")

ARITHMETIC: dict[str, Callable[..., Any]] = {
    "_operator.add": add,
    "_operator.sub": subtract,
    "_operator.mul": multiply,
    "_operator.floordiv": floor_divide,
    "_operator.truediv": true_divide,
    "_operator.mod": modulo,
    "_operator.neg": negative,
    "_operator.pow": power,
    "_operator.getitem": item,
    "torch.sym_int": whole,
    "torch.sym_float": real,
    "torch.sym_max": larger,
    "torch.sym_min": smaller,
}
