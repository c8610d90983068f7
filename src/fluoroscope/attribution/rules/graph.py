"""What an answer was made of: a walk of its autograd graph, which sees what no mode sees.

Every operation that a gradient passes leaves a node: those in C++, those of an
``autograd.Function`` with a way back of its own, those of modules and of functions alike. So what
of a network is not linear can be counted here, and held against what rules say they handled.
Nothing that a node has saved is looked at. One thing hides here: an operation that writes into a
view of a tensor (``x[:, :3].relu_()``), which the mode sees.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

# Nodes at the most; a network of a thousand layers has some tens of thousands.
_MOST = 500_000

_LINEAR_WORDS = """
    AccumulateGrad Add Sub Rsub Neg Sum Mean View UnsafeView ViewAs Reshape ReshapeAlias
    Expand Permute Transpose T Squeeze Unsqueeze Slice Select Index IndexSelect Gather Cat
    Stack Split SplitWithSizes Chunk Unbind Narrow Clone Copy CopySlices ToCopy Alias
    AsStrided Repeat Roll Flip ConstantPadNd ReflectionPad1D ReflectionPad2D
    ReflectionPad3D ReplicationPad1D ReplicationPad2D ReplicationPad3D AvgPool2D AvgPool3D
    AdaptiveAvgPool2D AdaptiveAvgPool3D MkldnnAdaptiveAvgPool2D UpsampleNearest1D
    UpsampleNearest2D UpsampleNearest3D UpsampleLinear1D UpsampleBilinear2D
    UpsampleBicubic2D UpsampleTrilinear3D UpsampleBilinear2DAa UpsampleBicubic2DAa
    PixelShuffle PixelUnshuffle ChannelShuffle Cumsum MaskedFill Unfold Im2Col Col2Im
    Diagonal Tril Triu Trace NativeDropout FusedDropout Identity SelectScatter
    SliceScatter IndexPut IndexAdd FftR2C FftC2R FftC2C Real Imag Conj ConjPhysical ViewAsReal
    ViewAsComplex Contiguous Lift
    Unflatten Swapaxes Movedim Constant GraphRoot
"""
_PRODUCTS_WORDS = """
    Mul Div Mm Bmm Addmm Baddbmm Addbmm Addmv Addr Mv Dot Linear Convolution
    ConvolutionOverrideable MkldnnConvolution CudnnConvolution SlowConv2D ThnnConv2D
    SlowConvDilated2D MiopenConvolution
"""
_ACTIVATIONS_WORDS = """
    relu hardtanh gelu silu hardswish sigmoid hardsigmoid tanh elu leaky_relu softplus
    mish prelu rrelu log_sigmoid softshrink hardshrink threshold celu selu relu6
"""
_LINEAR = frozenset(_LINEAR_WORDS.split())
"""Linear in what depends on the picture, however often that stands among the operands."""
_PRODUCTS = frozenset(_PRODUCTS_WORDS.split())
"""Linear where one factor alone depends on the picture."""
_NORMS = frozenset({"NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm"})
"""Linear with the statistics of training; ``_saved_training`` tells."""
_NAMES = {
    "NativeLayerNorm": "layer_norm",
    "NativeGroupNorm": "group_norm",
    "FusedRmsNorm": "rms_norm",
    "Hardtanh": "hardtanh",
    "ClampMin": "clamp",
    "ClampMax": "clamp",
    "Mul": "product",
    "Div": "division",
    "Mm": "product",
    "Bmm": "product",
    "Addmm": "product",
    "Baddbmm": "product",
    "Linear": "product",
    "PreluKernel": "prelu",
    "NativeBatchNorm": "instance_norm",
}
_SUFFIX = re.compile(r"Backwards?\d*$")
_NATIVE = re.compile(r"Backward\d+$|^(AccumulateGrad|CopySlices|CopyBackwards|GraphRoot)$")

ACTIVATIONS = frozenset(_ACTIVATIONS_WORDS.split())
"""Functions of one number, by the names of the graph and of the operations."""


@dataclass(frozen=True)
class Graph:
    """What is not linear between a picture and its answer."""

    non_linear: Counter[str] = field(default_factory=Counter)
    """Operations that PyTorch knows, by name."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Functions with a way back of their own, by the name of their class."""
    nodes: int = 0
    complete: bool = True
    """Whether all nodes were looked at."""

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "non_linear": dict(sorted(self.non_linear.items())),
            "unknown": dict(sorted(self.unknown.items())),
            "nodes": self.nodes,
            "complete": self.complete,
        }


def walk(answer: Tensor) -> Graph:
    """Every node behind an answer; functions of rules of ours are not counted."""
    found = Graph()
    first = answer.grad_fn
    seen, waiting = {first}, [first]
    while waiting and len(seen) <= _MOST:
        node = waiting.pop()
        behind = [one for one, _ in getattr(node, "next_functions", ())]
        _count(node, behind, found)
        for one in behind:
            if one is not None and one not in seen:
                seen.add(one)
                waiting.append(one)
    return Graph(found.non_linear, found.unknown, len(seen), not waiting)


def _count(node: Any, behind: list[Any], found: Graph) -> None:
    name = str(node.name()).rpartition("::")[2] if node is not None else "Identity"
    forward = getattr(type(node), "_forward_cls", None)
    if forward is not None or not _NATIVE.search(name):
        if not str(getattr(forward, "__module__", "")).startswith("fluoroscope."):
            found.unknown[_SUFFIX.sub("", name)] += 1
        return
    kind = _SUFFIX.sub("", name)
    if kind in _LINEAR or (kind in _NORMS and not getattr(node, "_saved_training", False)):
        return
    if kind in _PRODUCTS and _one_factor(kind, behind):
        return
    found.non_linear[_plain(kind)] += 1


def _one_factor(kind: str, behind: list[Any]) -> bool:
    """Whether but one factor depends on the picture, and no divisor does."""
    # What is added to a product comes first, or last.
    factors = {"Addmm": behind[1:], "Baddbmm": behind[1:], "Addbmm": behind[1:]}.get(
        kind, behind[:2]
    )
    if kind == "Div":
        return len(behind) < 2 or behind[1] is None
    return sum(one is not None for one in factors) <= 1


def _plain(kind: str) -> str:
    """``MaxPool2DWithIndices`` is ``max_pool2d``."""
    if kind.startswith("ScaledDotProduct"):
        return "scaled_dot_product_attention"
    if kind in _NAMES:
        return _NAMES[kind]
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.replace("WithIndices", "")).lower()
    return re.sub(r"_?(\d)_?d$", r"\1d", words)
