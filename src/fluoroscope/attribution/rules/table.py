"""Which operation has which rule in which method: one line each.

An operation that is not here and not linear (:mod:`.operations`) has none: there a method goes back
as the plain gradient does, and says so. To add one, write its rules, its line here, and its test.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fluoroscope.attribution.rules import parts
from fluoroscope.attribution.rules.deeplift import (
    choices,
    elementwise,
    norms,
    products,
    softmax,
)
from fluoroscope.attribution.rules.deeplift.choices import max_pool
from fluoroscope.attribution.rules.deeplift.elementwise import by_formula, clip, rescale
from fluoroscope.attribution.rules.deeplift.passes import Lifts
from fluoroscope.attribution.rules.guided import (
    deconvolution,
    deconvolution_clamp,
    guided,
    guided_clamp,
)
from fluoroscope.attribution.rules.lrp.linear import layer
from fluoroscope.attribution.rules.lrp.norms import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
)
from fluoroscope.attribution.rules.lrp.operations import (
    Relay,
    addition,
    concatenation,
    passed,
    plain,
)
from fluoroscope.attribution.rules.lrp.products import attention, gate, product, quotient
from fluoroscope.attribution.rules.mode import Rule
from fluoroscope.attribution.rules.parts import Parts


@dataclass(frozen=True)
class Line:
    """The rules of an operation; ``None`` where a method has none for it."""

    guided: Rule | None = None
    deconvolution: Rule | None = None
    deeplift: Lifts | None = None
    lrp: Relay | Parts | None = None


TABLE: Mapping[str, Line] = {
    "relu": Line(guided, deconvolution, clip, lrp=plain),
    "relu6": Line(guided, deconvolution, clip, lrp=passed),
    "hardtanh": Line(guided, deconvolution, clip, lrp=passed),
    "leaky_relu": Line(guided, deconvolution, rescale, lrp=plain),
    "rrelu": Line(guided, deconvolution, rescale, lrp=plain),
    "prelu": Line(guided, deconvolution, rescale, lrp=plain),
    "elu": Line(guided, deconvolution, rescale, lrp=passed),
    "selu": Line(guided, deconvolution, rescale, lrp=passed),
    "celu": Line(guided, deconvolution, rescale, lrp=passed),
    "gelu": Line(guided, deconvolution, rescale, lrp=passed),
    "silu": Line(guided, deconvolution, rescale, lrp=passed),
    "mish": Line(guided, deconvolution, rescale, lrp=passed),
    "hardswish": Line(guided, deconvolution, by_formula(elementwise.of_hard_swish), lrp=passed),
    "softplus": Line(guided, deconvolution, rescale, lrp=passed),
    "clamp": Line(guided_clamp, deconvolution_clamp, clip, lrp=passed),
    "clamp_min": Line(guided_clamp, deconvolution_clamp, clip, lrp=passed),
    "clamp_max": Line(deeplift=clip, lrp=passed),
    "threshold": Line(deeplift=rescale, lrp=passed),
    "abs": Line(deeplift=rescale, lrp=plain),
    "sigmoid": Line(deeplift=rescale, lrp=gate),
    "hardsigmoid": Line(deeplift=by_formula(elementwise.of_hard_sigmoid), lrp=gate),
    "log_sigmoid": Line(deeplift=rescale, lrp=passed),
    "tanh": Line(deeplift=rescale, lrp=passed),
    "softsign": Line(deeplift=rescale, lrp=passed),
    "tanhshrink": Line(deeplift=rescale, lrp=passed),
    "hardshrink": Line(deeplift=rescale, lrp=passed),
    "softshrink": Line(deeplift=rescale, lrp=passed),
    "erf": Line(deeplift=rescale, lrp=passed),
    "sin": Line(deeplift=rescale, lrp=passed),
    "cos": Line(deeplift=rescale, lrp=passed),
    "atan": Line(deeplift=rescale, lrp=passed),
    "expm1": Line(deeplift=rescale, lrp=passed),
    "rpow": Line(deeplift=rescale, lrp=passed),
    "pow": Line(deeplift=elementwise.power, lrp=passed),
    "square": Line(deeplift=by_formula(elementwise.of_square), lrp=passed),
    "exp": Line(deeplift=by_formula(elementwise.of_exponential), lrp=passed),
    "log": Line(deeplift=by_formula(elementwise.of_logarithm), lrp=passed),
    "sqrt": Line(deeplift=by_formula(elementwise.of_root), lrp=passed),
    "rsqrt": Line(deeplift=by_formula(elementwise.of_inverse_root), lrp=gate),
    "reciprocal": Line(deeplift=by_formula(elementwise.of_reciprocal), lrp=passed),
    "mul": Line(deeplift=products.bilinear, lrp=product),
    "matmul": Line(deeplift=products.bilinear, lrp=layer),
    "rmatmul": Line(deeplift=products.bilinear, lrp=layer),
    "bmm": Line(deeplift=products.bilinear, lrp=layer),
    "mm": Line(deeplift=products.bilinear, lrp=layer),
    "baddbmm": Line(deeplift=products.bilinear, lrp=layer),
    "addmm": Line(deeplift=products.bilinear, lrp=layer),
    "einsum": Line(deeplift=products.bilinear, lrp=layer),
    "dot": Line(deeplift=products.bilinear, lrp=product),
    "mv": Line(deeplift=products.bilinear, lrp=layer),
    "inner": Line(deeplift=products.bilinear, lrp=product),
    "outer": Line(deeplift=products.bilinear, lrp=product),
    "tensordot": Line(deeplift=products.bilinear, lrp=product),
    "linear": Line(deeplift=products.bilinear, lrp=layer),
    "bilinear": Line(deeplift=products.bilinear, lrp=product),
    "conv1d": Line(deeplift=products.bilinear, lrp=layer),
    "conv2d": Line(deeplift=products.bilinear, lrp=layer),
    "conv3d": Line(deeplift=products.bilinear, lrp=layer),
    "conv_transpose1d": Line(deeplift=products.bilinear, lrp=layer),
    "conv_transpose2d": Line(deeplift=products.bilinear, lrp=layer),
    "conv_transpose3d": Line(deeplift=products.bilinear, lrp=layer),
    "div": Line(deeplift=products.quotient, lrp=quotient),
    "rdiv": Line(deeplift=products.reversed_quotient, lrp=quotient),
    "max_pool1d": Line(deeplift=max_pool("max_pool1d"), lrp=plain),
    "max_pool2d": Line(deeplift=max_pool("max_pool2d"), lrp=plain),
    "max_pool3d": Line(deeplift=max_pool("max_pool3d"), lrp=plain),
    "adaptive_max_pool1d": Line(deeplift=max_pool("adaptive_max_pool1d"), lrp=plain),
    "adaptive_max_pool2d": Line(deeplift=max_pool("adaptive_max_pool2d"), lrp=plain),
    "adaptive_max_pool3d": Line(deeplift=max_pool("adaptive_max_pool3d"), lrp=plain),
    "max_pool1d_with_indices": Line(deeplift=max_pool("max_pool1d"), lrp=plain),
    "max_pool2d_with_indices": Line(deeplift=max_pool("max_pool2d"), lrp=plain),
    "max_pool3d_with_indices": Line(deeplift=max_pool("max_pool3d"), lrp=plain),
    "max": Line(deeplift=choices.maximum_over(1), lrp=plain),
    "amax": Line(deeplift=choices.maximum_over(1), lrp=plain),
    "min": Line(deeplift=choices.maximum_over(-1), lrp=plain),
    "amin": Line(deeplift=choices.maximum_over(-1), lrp=plain),
    "maximum": Line(deeplift=choices.larger(1), lrp=plain),
    "minimum": Line(deeplift=choices.larger(-1), lrp=plain),
    "where": Line(deeplift=choices.where, lrp=plain),
    "layer_norm": Line(deeplift=norms.layer_norm, lrp=layer_norm),
    "rms_norm": Line(deeplift=norms.rms_norm, lrp=passed),
    "group_norm": Line(deeplift=norms.group_norm, lrp=group_norm),
    "instance_norm": Line(deeplift=norms.instance_norm, lrp=instance_norm),
    "softmax": Line(deeplift=softmax.softmax, lrp=plain),
    "log_softmax": Line(deeplift=softmax.log_softmax, lrp=plain),
    "logsumexp": Line(deeplift=softmax.log_sum_exp, lrp=plain),
    "linalg_vector_norm": Line(deeplift=Parts(parts.vector_norm), lrp=plain),
    "norm": Line(deeplift=Parts(parts.tensor_norm), lrp=plain),
    "normalize": Line(deeplift=Parts(parts.normalize), lrp=passed),
    "cosine_similarity": Line(
        deeplift=Parts(parts.cosine_similarity), lrp=Parts(parts.cosine_similarity)
    ),
    "var": Line(deeplift=Parts(parts.variance), lrp=Parts(parts.variance)),
    "std": Line(deeplift=Parts(parts.deviation), lrp=Parts(parts.deviation)),
    "var_mean": Line(deeplift=Parts(parts.variance_and_mean), lrp=Parts(parts.variance_and_mean)),
    "std_mean": Line(deeplift=Parts(parts.deviation_and_mean), lrp=Parts(parts.deviation_and_mean)),
    "local_response_norm": Line(deeplift=Parts(parts.local_response_norm), lrp=passed),
    "glu": Line(deeplift=Parts(parts.gated), lrp=Parts(parts.gated)),
    "softmin": Line(deeplift=Parts(parts.softmin), lrp=Parts(parts.softmin)),
    "scaled_dot_product_attention": Line(deeplift=Parts(parts.attention), lrp=attention),
    "multi_head_attention_forward": Line(
        deeplift=Parts(parts.multi_head_attention), lrp=Parts(parts.multi_head_attention)
    ),
    "add": Line(lrp=addition),
    "sub": Line(lrp=addition),
    "rsub": Line(lrp=addition),
    "cat": Line(lrp=concatenation),
    "concat": Line(lrp=concatenation),
    "concatenate": Line(lrp=concatenation),
    "batch_norm": Line(lrp=batch_norm),
}
"""By the operation's one name; see :func:`.mode.operation`."""


def rules_of(method: str) -> dict[str, Any]:
    """The rules of a method, by operation."""
    found = {name: getattr(line, method) for name, line in TABLE.items()}
    return {name: rule for name, rule in found.items() if rule is not None}
