"""Operations written out in others: attention, norms of vectors, variances, local responses.

The mode sees what they are written in, so each part has the rule that it has anywhere.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Parts:
    """An operation written out in others, which have rules of their own."""

    written_out: Callable[..., Any]
    """Takes what the operation takes; or ``NotImplemented``."""


def vector_norm(
    x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:
    """The length of vectors, or the sum of absolute values."""
    if dtype is not None or ord not in (1, 2, None, "fro"):
        return NotImplemented
    dims = tuple(range(x.dim())) if dim is None else dim
    if ord == 1:
        return x.abs().sum(dims, keepdim=keepdim)
    return x.square().sum(dims, keepdim=keepdim).sqrt()


def tensor_norm(
    input: Tensor,
    p: Any = "fro",
    dim: Any = None,
    keepdim: bool = False,
    out: Any = None,
    dtype: Any = None,
) -> Any:
    """The same under its older name."""
    if out is not None:
        return NotImplemented
    return vector_norm(input, p, dim, keepdim, dtype=dtype)


def normalize(
    input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None
) -> Any:
    """Vectors of length 1."""
    length = vector_norm(input, p, dim, True)
    return NotImplemented if length is NotImplemented else input / length.clamp(min=eps)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Any:
    """The product of two vectors of length 1."""
    one, two = (x / vector_norm(x, 2, dim, True).clamp(min=eps) for x in (x1, x2))
    return (one * two).sum(dim)


def variance(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The mean square of what is left without the mean."""
    return _variance_and_mean(input, *args, **kwargs)[0]


def deviation(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Its root."""
    return variance(input, *args, **kwargs).sqrt()


def variance_and_mean(input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """Both."""
    return _variance_and_mean(input, *args, **kwargs)


def deviation_and_mean(input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """Both."""
    found, mean = _variance_and_mean(input, *args, **kwargs)
    return found.sqrt(), mean


def _variance_and_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    dims = (
        tuple(range(input.dim()))
        if dim is None
        else (dim if isinstance(dim, tuple | list) else (dim,))
    )
    less = float(unbiased) if correction is None else correction
    mean = input.mean(dims, keepdim=True)
    number = math.prod(input.shape[each] for each in dims)
    found = (input - mean).square().sum(dims, keepdim=keepdim) / max(number - less, 0)
    return found, mean if keepdim else mean.reshape(found.shape)


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Divided by what neighbouring channels answer."""
    square = input.square().unsqueeze(1).flatten(3)
    padded = F.pad(square, (0, 0, size // 2, (size - 1) // 2))
    around = F.avg_pool2d(padded, (size, 1), stride=1).reshape(input.shape)
    return input / (around * alpha + k).pow(beta)


def gated(input: Tensor, dim: int = -1) -> Tensor:
    """One half times the sigmoid of the other."""
    passing, gate = input.chunk(2, dim)
    return passing * gate.sigmoid()


def softmin(input: Tensor, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """The softmax of what is turned round."""
    return NotImplemented if dim is None else (-input).softmax(dim, dtype)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Scaled dot products, a softmax, and a product."""
    if dropout_p > 0:
        return NotImplemented
    if enable_gqa:
        times = query.shape[-3] // key.shape[-3]
        key, value = (one.repeat_interleave(times, -3) for one in (key, value))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = (query * scale) @ key.transpose(-2, -1)
    if is_causal:
        attn_mask = torch.ones_like(scores[..., :, :], dtype=torch.bool).tril()
    return _masked(scores, attn_mask).softmax(-1) @ value


def _masked(scores: Tensor, mask: Tensor | None) -> Tensor:
    """A mask of booleans says what is seen, one of floats is added."""
    if mask is None:
        return scores
    return scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask


def multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> Any:
    """Linear layers around attention, of tensors ``(L, N, E)`` as PyTorch's module passes them."""
    rare = [bias_k, bias_v, static_k, static_v, key_padding_mask]
    if (
        any(one is not None for one in rare)
        or add_zero_attn
        or query.dim() != 3
        or (training and dropout_p > 0)
    ):
        return NotImplemented
    if use_separate_proj_weight:
        weights: Any = (q_proj_weight, k_proj_weight, v_proj_weight)
    else:
        assert in_proj_weight is not None
        weights = in_proj_weight.chunk(3)
    biases: Any = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    heads = []
    for given, weight, bias in zip((query, key, value), weights, biases, strict=True):
        made = F.linear(given, weight, bias)
        length, count, width = made.shape
        heads.append(made.reshape(length, count, num_heads, width // num_heads).permute(1, 2, 0, 3))
    q, k, v = heads
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if attn_mask is not None:
        if attn_mask.dim() == 3:
            attn_mask = attn_mask.reshape(scores.shape)
        # A mask of booleans says here what is not seen.
        attn_mask = ~attn_mask if attn_mask.dtype == torch.bool else attn_mask
    shares = _masked(scores, attn_mask).softmax(-1)
    seen = (shares @ v).permute(2, 0, 1, 3).flatten(2)
    answer = F.linear(seen, out_proj_weight, out_proj_bias)
    if not need_weights:
        return answer, None
    return answer, shares.mean(1) if average_attn_weights else shares
