"""Which operation has which rule in which method: one line each.

An operation that is not here and not linear (:mod:`.operations`) has none: there a method goes back
as the plain gradient does, and says so. To add one, write its rules, its line here, and its test.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fluoroscope.attribution.rules.deeplift import (
    choices,
    elementwise,
    norms,
    parts,
    products,
    softmax,
)
from fluoroscope.attribution.rules.deeplift.choices import max_pool
from fluoroscope.attribution.rules.deeplift.elementwise import by_formula, clip, rescale
from fluoroscope.attribution.rules.deeplift.passes import Lifts, Parts
from fluoroscope.attribution.rules.guided import (
    deconvolution,
    deconvolution_clamp,
    guided,
    guided_clamp,
)
from fluoroscope.attribution.rules.lrp import norms, operations, products
from fluoroscope.attribution.rules.lrp.linear import layer
from fluoroscope.attribution.rules.lrp.operations import Relay
from fluoroscope.attribution.rules.mode import Rule


@dataclass(frozen=True)
class Line:
    """The rules of an operation; ``None`` where a method has none for it."""

    guided: Rule | None = None
    deconvolution: Rule | None = None
    deeplift: Lifts | None = None
    lrp: Rule | None = None


TABLE: Mapping[str, Line] = {
    "relu": Line(guided, deconvolution, clip),
    "relu6": Line(guided, deconvolution, clip),
    "hardtanh": Line(guided, deconvolution, clip),
    "leaky_relu": Line(guided, deconvolution, rescale),
    "rrelu": Line(guided, deconvolution, rescale),
    "prelu": Line(guided, deconvolution, rescale),
    "elu": Line(guided, deconvolution, rescale),
    "selu": Line(guided, deconvolution, rescale),
    "celu": Line(guided, deconvolution, rescale),
    "gelu": Line(guided, deconvolution, rescale),
    "silu": Line(guided, deconvolution, rescale),
    "mish": Line(guided, deconvolution, rescale),
    "hardswish": Line(guided, deconvolution, rescale),
    "softplus": Line(guided, deconvolution, rescale),
    "clamp": Line(guided_clamp, deconvolution_clamp, clip),
    "clamp_min": Line(guided_clamp, deconvolution_clamp, clip),
    "clamp_max": Line(deeplift=clip),
    "threshold": Line(deeplift=rescale),
    "abs": Line(deeplift=rescale),
    "sigmoid": Line(deeplift=rescale),
    "hardsigmoid": Line(deeplift=rescale),
    "log_sigmoid": Line(deeplift=rescale),
    "tanh": Line(deeplift=rescale),
    "softsign": Line(deeplift=rescale),
    "tanhshrink": Line(deeplift=rescale),
    "hardshrink": Line(deeplift=rescale),
    "softshrink": Line(deeplift=rescale),
    "erf": Line(deeplift=rescale),
    "sin": Line(deeplift=rescale),
    "cos": Line(deeplift=rescale),
    "atan": Line(deeplift=rescale),
    "expm1": Line(deeplift=rescale),
    "rpow": Line(deeplift=rescale),
    "pow": Line(deeplift=elementwise.power),
    "square": Line(deeplift=by_formula(elementwise.of_square)),
    "exp": Line(deeplift=by_formula(elementwise.of_exponential)),
    "log": Line(deeplift=by_formula(elementwise.of_logarithm)),
    "sqrt": Line(deeplift=by_formula(elementwise.of_root)),
    "rsqrt": Line(deeplift=by_formula(elementwise.of_inverse_root)),
    "reciprocal": Line(deeplift=by_formula(elementwise.of_reciprocal)),
    "mul": Line(deeplift=products.bilinear),
    "matmul": Line(deeplift=products.bilinear),
    "rmatmul": Line(deeplift=products.bilinear),
    "bmm": Line(deeplift=products.bilinear),
    "mm": Line(deeplift=products.bilinear),
    "baddbmm": Line(deeplift=products.bilinear),
    "addmm": Line(deeplift=products.bilinear),
    "einsum": Line(deeplift=products.bilinear),
    "dot": Line(deeplift=products.bilinear),
    "mv": Line(deeplift=products.bilinear),
    "inner": Line(deeplift=products.bilinear),
    "outer": Line(deeplift=products.bilinear),
    "tensordot": Line(deeplift=products.bilinear),
    "linear": Line(deeplift=products.bilinear),
    "bilinear": Line(deeplift=products.bilinear),
    "conv1d": Line(deeplift=products.bilinear),
    "conv2d": Line(deeplift=products.bilinear),
    "conv3d": Line(deeplift=products.bilinear),
    "conv_transpose1d": Line(deeplift=products.bilinear),
    "conv_transpose2d": Line(deeplift=products.bilinear),
    "conv_transpose3d": Line(deeplift=products.bilinear),
    "div": Line(deeplift=products.quotient),
    "rdiv": Line(deeplift=products.reversed_quotient),
    "max_pool1d": Line(deeplift=max_pool("max_pool1d")),
    "max_pool2d": Line(deeplift=max_pool("max_pool2d")),
    "max_pool3d": Line(deeplift=max_pool("max_pool3d")),
    "adaptive_max_pool1d": Line(deeplift=max_pool("adaptive_max_pool1d")),
    "adaptive_max_pool2d": Line(deeplift=max_pool("adaptive_max_pool2d")),
    "adaptive_max_pool3d": Line(deeplift=max_pool("adaptive_max_pool3d")),
    "max_pool1d_with_indices": Line(deeplift=max_pool("max_pool1d")),
    "max_pool2d_with_indices": Line(deeplift=max_pool("max_pool2d")),
    "max_pool3d_with_indices": Line(deeplift=max_pool("max_pool3d")),
    "max": Line(deeplift=choices.maximum_over(1)),
    "amax": Line(deeplift=choices.maximum_over(1)),
    "min": Line(deeplift=choices.maximum_over(-1)),
    "amin": Line(deeplift=choices.maximum_over(-1)),
    "maximum": Line(deeplift=choices.larger(1)),
    "minimum": Line(deeplift=choices.larger(-1)),
    "where": Line(deeplift=choices.where),
    "layer_norm": Line(deeplift=norms.layer_norm),
    "rms_norm": Line(deeplift=norms.rms_norm),
    "group_norm": Line(deeplift=norms.group_norm),
    "instance_norm": Line(deeplift=norms.instance_norm),
    "softmax": Line(deeplift=softmax.softmax),
    "log_softmax": Line(deeplift=softmax.log_softmax),
    "logsumexp": Line(deeplift=softmax.log_sum_exp),
    "linalg_vector_norm": Line(deeplift=Parts(parts.vector_norm)),
    "norm": Line(deeplift=Parts(parts.tensor_norm)),
    "normalize": Line(deeplift=Parts(parts.normalize)),
    "cosine_similarity": Line(deeplift=Parts(parts.cosine_similarity)),
    "var": Line(deeplift=Parts(parts.variance)),
    "std": Line(deeplift=Parts(parts.deviation)),
    "var_mean": Line(deeplift=Parts(parts.variance_and_mean)),
    "std_mean": Line(deeplift=Parts(parts.deviation_and_mean)),
    "local_response_norm": Line(deeplift=Parts(parts.local_response_norm)),
    "glu": Line(deeplift=Parts(parts.gated)),
    "softmin": Line(deeplift=Parts(parts.softmin)),
    "scaled_dot_product_attention": Line(deeplift=Parts(parts.attention)),
    "multi_head_attention_forward": Line(deeplift=Parts(parts.multi_head_attention)),
}
"""By the operation's one name; see :func:`.mode.operation`."""


def rules_of(method: str) -> dict[str, Any]:
    """The rules of a method, by operation."""
    found = {name: getattr(line, method) for name, line in TABLE.items()}
    return {name: rule for name, rule in found.items() if rule is not None}


RELEVANCE: Mapping[str, Relay] = {
    "conv1d": layer,
    "conv2d": layer,
    "conv3d": layer,
    "conv_transpose1d": layer,
    "conv_transpose2d": layer,
    "conv_transpose3d": layer,
    "linear": layer,
    "matmul": layer,
    "rmatmul": layer,
    "mm": layer,
    "bmm": layer,
    "einsum": layer,
    "relu": operations.plain,
    "leaky_relu": operations.plain,
    "rrelu": operations.plain,
    "prelu": operations.plain,
    "abs": operations.plain,
    "max_pool1d": operations.plain,
    "max_pool2d": operations.plain,
    "max_pool3d": operations.plain,
    "adaptive_max_pool1d": operations.plain,
    "adaptive_max_pool2d": operations.plain,
    "adaptive_max_pool3d": operations.plain,
    "amax": operations.plain,
    "amin": operations.plain,
    "max": operations.plain,
    "min": operations.plain,
    "maximum": operations.plain,
    "minimum": operations.plain,
    "where": operations.plain,
    "norm": operations.plain,
    "softmax": operations.plain,
    "log_softmax": operations.plain,
    "relu6": operations.passed,
    "hardtanh": operations.passed,
    "clamp": operations.passed,
    "clamp_min": operations.passed,
    "clamp_max": operations.passed,
    "threshold": operations.passed,
    "gelu": operations.passed,
    "silu": operations.passed,
    "hardswish": operations.passed,
    "elu": operations.passed,
    "selu": operations.passed,
    "celu": operations.passed,
    "mish": operations.passed,
    "softplus": operations.passed,
    "tanh": operations.passed,
    "exp": operations.passed,
    "log": operations.passed,
    "log1p": operations.passed,
    "sqrt": operations.passed,
    "pow": operations.passed,
    "square": operations.passed,
    "normalize": operations.passed,
    "local_response_norm": operations.passed,
    "rms_norm": operations.passed,
    "sigmoid": products.gate,
    "hardsigmoid": products.gate,
    "rsqrt": products.gate,
    "add": operations.addition,
    "sub": operations.addition,
    "rsub": operations.addition,
    "cat": operations.concatenation,
    "concat": operations.concatenation,
    "concatenate": operations.concatenation,
    "mul": products.product,
    "div": products.quotient,
    "rdiv": products.quotient,
    "batch_norm": norms.batch_norm,
    "layer_norm": norms.layer_norm,
    "group_norm": norms.group_norm,
    "instance_norm": norms.instance_norm,
    "scaled_dot_product_attention": products.attention,
}
"""The rules of relevance, which are told what the evaluation knows."""
