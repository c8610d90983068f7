"""A copy of a network that gives the same answers sooner.

Evaluation-mode batch norm after a linear map is itself linear, ``gamma (W x + b - mean) / sqrt(var
+ eps) + beta``, and goes into its weights. Which pairs there are is seen in one recorded pass, so
that networks no tracer can follow are prepared too: a convolution or linear layer whose weight is
used once and whose output goes nowhere but into a batch norm. A network that takes another path for
other pictures would escape that; so every step is checked in numbers against the plain network,
and a verdict belongs to the plain network in any case.
"""

import copy
import inspect
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

from fluoroscope.errors import (
    InvalidImagesError,
    InvalidParameterError,
    ModelFormatError,
    ModelOutputError,
)
from fluoroscope.models.classifier import Classifier, as_classifier, copied
from fluoroscope.models.wording import first_line
from fluoroscope.models.wrappers.around import Surrogate
from fluoroscope.models.wrappers.randomised import random_state_aside
from fluoroscope.notices import tell
from fluoroscope.pictures.checks import check_images

Precision = Literal["bf16", "fp16"]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

# The largest change of an image's logits and of its gradient that a step may make, relative to
# their length: float32 noise in a deep network, and lower precision while the gradient still
# points the same way (16 bits measured up to 0.07 and 0.5; a gradient that is lost changes by 1).
_NOISE = (1e-4, 1e-2)
_LOWER = (0.25, 0.9)
# A network with many kinks near its pixels has a noisy gradient by itself. So twice of what its
# answers change when the pixels move by this much is allowed on top.
_SHIFT = 1e-6


class Prepared(Classifier):
    """What :func:`prepare` makes: answers like ``plain``, sooner."""

    steps: tuple[str, ...]
    """What was done, in words; what is missing here was left out."""

    def __init__(self, plain: Classifier, module: "_Fast", options: dict[str, Any]) -> None:
        super().__init__(
            module,
            labels=plain._labels,
            name=plain.name,
            preprocessing=plain.preprocessing,
            outputs=plain.outputs,
        )
        self._asks, self._found = plain._asks, plain._found
        self._classes, self.passes = plain._classes, plain.passes
        self.log_probabilities = plain.log_probabilities
        self._plain, self._options, self.steps = plain, options, ()

    @property
    def plain(self) -> Classifier:
        """The network this was made from, untouched: what a verdict is read from."""
        return self._plain

    def restated(self, labels: Any = None, **stated: Any) -> Self:
        """The same with other labels, outputs or preprocessing, and so its plain network."""
        twin = super().restated(labels, **stated)
        twin._plain = self._plain.restated(labels, **stated)
        twin._found = twin._plain._found
        return twin

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> "Prepared":
        """The plain network's copy there, prepared anew."""
        return prepare(self._plain.to(device, dtype), **self._options)

    def fingerprint(self) -> str:
        """That of the plain network, as which it counts."""
        return self._plain.fingerprint()

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``(N, classes)`` as the plain network gives them, in the images' type."""
        return super().__call__(images).to(images.dtype)


def prepare(
    model: Classifier | nn.Module,
    *,
    fold_batch_norm: bool = True,
    channels_last: bool | None = None,
    precision: Precision | None = None,
    compile: bool = False,
    images: Tensor | None = None,
) -> Prepared:
    """A copy of a network made ready for many passes; the network itself stays as it is.

    Each step is checked once on a few images, and left out with a warning where it changes the
    logits or the input gradient of one by more than float noise: by 1e-4 and 1e-2 of their length,
    in lower precision 0.25 and 0.9, and twice what moving the pixels by 1e-6 changes. Later changes
    of the plain network's weights do not reach the copy.

    Args:
        model: the network, or a prepared one, which is prepared anew from its plain network.
        fold_batch_norm: put batch norm into the layer before it, where nothing lies between.
        channels_last: lay out images and weights with the channels innermost; ``None`` does so
            where it pays: on a processor, and in lower precision on an accelerator.
        precision: ``"bf16"`` or ``"fp16"`` multiplies matrices in 16 bits. For searching only: what
            is found there must be judged by ``plain``.
        compile: compile with ``torch.compile`` for the shapes that come, which takes long the first
            time.
        images: ``(N, C, H, W)``, of which the first four are checked beside two of noise; needed
            where the network has no input size and does not take 32×32.

    Raises:
        InvalidParameterError: an unknown precision, or a network behind a change of its input.
        InvalidImagesError: no batch of images in range, or of a size the network does not take.
    """
    model = as_classifier(model)
    if precision not in (None, *get_args(Precision)):
        raise InvalidParameterError(f"precision is {precision!r}; expected 'bf16', 'fp16' or None")
    if isinstance(model, Surrogate):
        kind = type(model).__name__
        raise InvalidParameterError(
            f"{model.name} is there to search with, and its plain network is another; expected one "
            f"to prepare inside: {kind}(prepare(model))"
        )
    options = {
        "fold_batch_norm": fold_batch_norm,
        "channels_last": channels_last,
        "precision": precision,
        "compile": compile,
    }
    plain = model.plain
    if channels_last is None:
        channels_last = plain.device.type == "cpu" or precision is not None
    # Weights made under inference mode could never be differentiated through.
    with torch.inference_mode(False), torch.enable_grad():
        check = _Check(plain, _samples(plain, images))
        network, own = _still_copy(plain)
        # Of the plain network itself nothing may be changed.
        fold_batch_norm, channels_last = fold_batch_norm and own, channels_last and own
        compile = compile and own
        steps = []
        if fold_batch_norm:
            folded, note = _folded(plain, network, check.images)
            if note and check.passes(Prepared(plain, _Fast(folded), options), "batch-norm folding"):
                network, steps = folded, [note]
        made = Prepared(plain, _Fast(network), options)
        fast = made.module
        assert isinstance(fast, _Fast)
        if channels_last:
            fast.lay_out(torch.channels_last)
            if check.passes(made, "the channels-last layout"):
                steps.append("channels last")
            else:
                fast.lay_out(torch.contiguous_format)
        if precision is not None:
            fast.precision = _DTYPES[precision]
            if check.passes(made, f"{precision} precision", _LOWER):
                steps.append(f"{precision} autocast")
            else:
                fast.precision = None
        if compile:
            fast.network.compile()
            if check.passes(made, "compilation", _LOWER if fast.precision else _NOISE):
                steps.append("compiled")
            else:
                fast.network._compiled_call_impl = None
    made.steps = tuple(steps)
    return made


class _Fast(nn.Module):
    """A network in another memory layout and precision than its input."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.layout = torch.contiguous_format
        self.precision: torch.dtype | None = None
        self.training = False

    def lay_out(self, layout: torch.memory_format) -> None:
        self.layout = layout
        self.network.to(memory_format=layout)

    def forward(self, images: Tensor) -> Any:
        images = images.contiguous(memory_format=self.layout)
        if self.precision is None:
            return self.network(images)
        with torch.autocast(images.device.type, self.precision):
            return self.network(images)


class _Check:
    """The plain network's logits and input gradients, for comparison."""

    def __init__(self, plain: Classifier, images: Tensor) -> None:
        self.images = images
        self._winners: Tensor | None = None
        try:
            self._expected = self._answer(plain, images)
        except ModelOutputError as problem:
            if problem.__cause__ is None or plain.input_size is not None:
                raise
            raise InvalidImagesError(
                f"{plain.name} does not take images of shape {tuple(images.shape)}, so a prepared "
                f"copy cannot be compared with it ({first_line(problem.__cause__)}); "
                "pass images= of the right size"
            ) from problem
        rng = torch.Generator().manual_seed(1)
        shift = _SHIFT * torch.randn(
            images.shape, generator=rng, dtype=torch.float32, device="cpu"
        ).to(images)
        self._own = _changes(self._answer(plain, images + shift), self._expected)

    def passes(self, made: Classifier, what: str, allowed: tuple[float, float] = _NOISE) -> bool:
        """Whether logits and gradients are near enough; says so if not."""
        bounds = [bound + 2 * own for bound, own in zip(allowed, self._own, strict=True)]
        try:
            changes = _changes(self._answer(made, self.images), self._expected)
        # Whatever a compiler, or a kernel that has no 16-bit version, raises.
        except Exception as problem:
            trouble = f"it fails ({type(problem).__name__})"
        else:
            if all(change <= bound for change, bound in zip(changes, bounds, strict=True)):
                return True
            trouble = f"logits change by {changes[0]:.1g} and gradients by {changes[1]:.1g}"
        tell(
            f"{what} is left out for {made.name}: {trouble}; at most {bounds[0]:.1g} and "
            f"{bounds[1]:.1g} of their length were expected",
            stacklevel=3,
        )
        return False

    def _answer(self, model: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and the gradient of those the plain network finds largest."""
        pixels = images.detach().clone().requires_grad_()
        with random_state_aside(pixels.device, seed=0), model.held():
            logits = model(pixels)
            if self._winners is None:
                self._winners = logits.argmax(1, keepdim=True)
            own = logits.gather(1, self._winners).sum()
            gradient = None
            if own.requires_grad:
                (gradient,) = torch.autograd.grad(own, pixels, allow_unused=True)
        return logits.detach(), torch.zeros_like(pixels) if gradient is None else gradient


def _changes(given: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> list[float]:
    """For logits and gradients the largest change of an image, relative to their length."""
    found = []
    for one, other in zip(given, expected, strict=True):
        away, length = (one - other).flatten(1).norm(dim=1), other.flatten(1).norm(dim=1)
        worst = torch.where(away == 0, away, away / length).amax()
        found.append(math.inf if bool(worst.isnan()) else float(worst))
    return found


def _samples(model: Classifier, images: Tensor | None) -> Tensor:
    height, width = model.input_size or (32, 32) if images is None else images.shape[-2:]
    rng = torch.Generator().manual_seed(0)
    noise = torch.rand(
        2, model.channels, height, width, generator=rng, dtype=torch.float32, device="cpu"
    )
    noise = noise.to(model.device, model.dtype)
    if images is None:
        return noise
    return torch.cat([check_images(images[:4], model.channels).to(noise), noise])


def _still_copy(plain: Classifier) -> tuple[nn.Module, bool]:
    """A copy to be changed, and whether it is one: a network that cannot be copied stays itself."""
    try:
        with torch.no_grad():  # else a scripted module's weights depend on those of the original
            return _still(copied(plain)), True
    except ModelFormatError as problem:
        tell(f"{problem}; it is used as it is, neither folded, laid out anew nor compiled")
        return plain.module, False


def _still(network: nn.Module) -> nn.Module:
    # By hand: train() may be overridden and do more than set the flag.
    for part in network.modules():
        part.training = False
    for weight in network.parameters():  # one by one: scripted modules refuse it as a whole
        weight.requires_grad_(False)
    return network


def _folded(plain: Classifier, network: nn.Module, images: Tensor) -> tuple[nn.Module, str]:
    """A copy with batch norm folded, and what was done; nothing if there was none to fold."""
    with torch.no_grad():
        folded = _still(copy.deepcopy(network))
    present = sum(isinstance(part, _BatchNorm) for part in folded.modules())
    twin = copy.copy(plain)
    twin.module = folded
    with torch.no_grad(), random_state_aside(images.device, seed=0), _Recording() as recording:
        twin(images)
    owners = {id(tensor): part for part in folded.modules() for tensor in _marks(part)}
    done = 0
    for weight, mean in recording.pairs():
        layer, norm = owners.get(id(weight)), owners.get(id(mean))
        if layer is None or not isinstance(norm, _BatchNorm) or _watched(layer) or _watched(norm):
            continue
        remains = _without_norm(norm)
        if remains is not None:
            _fold(layer, norm)
            _replace(folded, norm, remains)
            done += 1
    return folded, f"batch norm folded: {done} of {present}" if done else ""


class _Recording(TorchFunctionMode):
    """Which linear maps and batch norms a pass runs through, and how often tensors are used."""

    def __init__(self) -> None:
        super().__init__()
        self._maps: dict[int, tuple[Tensor, Tensor]] = {}  # by output: the output and the weight
        self._norms: list[tuple[Tensor, Tensor]] = []  # the input and the running mean
        self._uses: Counter[int] = Counter()

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function in _QUESTIONS:
            return result
        self._uses.update(id(tensor) for tensor in tensors_in((args, kwargs)))
        if function in _LINEAR_MAPS and len(args) >= 2:
            weight = args[1]
            # Then the channels are the second dimension, as batch norm has them.
            if isinstance(weight, nn.Parameter) and result.dim() == weight.dim():
                self._maps[id(result)] = result, weight
                self._uses[id(result)] = 0  # a dead tensor may have had the same id
        elif function is F.batch_norm:
            given = _BATCH_NORM.bind(*args, **kwargs).arguments
            if not given.get("training"):
                self._norms.append((given["input"], given["running_mean"]))
        return result

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The weight and the running mean of each map whose output is used by one norm only."""
        for entered, mean in self._norms:
            output, weight = self._maps.get(id(entered), (None, mean))
            used = {self._uses[id(tensor)] for tensor in (entered, weight, mean)}
            if output is entered and used == {1}:
                yield weight, mean


_BATCH_NORM = inspect.signature(F.batch_norm)
_LINEAR_MAPS = {F.conv1d, F.conv2d, F.conv3d, F.linear}
# What asks a tensor for its form, and cannot tell its values.
_QUESTIONS = {
    Tensor.dim,
    Tensor.size,
    Tensor.is_floating_point,
    *(
        getattr(Tensor, name).__get__
        for name in ("shape", "ndim", "dtype", "device", "requires_grad")
    ),
}


def tensors_in(values: Any) -> Iterator[Tensor]:
    """The tensors among a call's arguments or results, however nested."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from tensors_in(value)
    elif isinstance(values, dict):
        yield from tensors_in(tuple(values.values()))


def _marks(part: nn.Module) -> list[Tensor]:
    """The tensor a layer or a norm is known by in the recording."""
    if isinstance(part, _BatchNorm):
        return [] if part.running_mean is None else [part.running_mean]
    if isinstance(part, torch.jit.ScriptModule) or "bias" not in part._parameters:
        return []
    weight = part._parameters.get("weight")
    return [] if weight is None else [weight]


def _without_norm(norm: _BatchNorm) -> nn.Module | None:
    """What is left of a module when its normalisation is taken out, if that is known."""
    if type(norm) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm):
        return nn.Identity()
    if type(norm).__name__ == "BatchNormAct2d":  # timm's, with its activation inside
        return nn.Sequential(norm.get_submodule("drop"), norm.get_submodule("act"))
    return None


def _watched(part: nn.Module) -> bool:
    """Whether someone sees or changes what goes through the module by a hook."""
    return bool(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks)


def _fold(layer: nn.Module, norm: _BatchNorm) -> None:
    weight, bias = layer._parameters["weight"], layer._parameters["bias"]
    assert weight is not None
    fused = fuse_conv_bn_weights(  # which does for linear layers too
        _exact(weight),
        None if bias is None else _exact(bias),
        _exact(norm.running_mean),
        _exact(norm.running_var),
        norm.eps,
        None if norm.weight is None else _exact(norm.weight),
        None if norm.bias is None else _exact(norm.bias),
    )
    for name, value in zip(("weight", "bias"), fused, strict=True):
        setattr(layer, name, nn.Parameter(value.to(weight), requires_grad=False))


def _exact(tensor: Tensor | None) -> Tensor:
    # In float64, so that folding adds one rounding; on the processor, since Apple's GPUs have none.
    assert tensor is not None
    return tensor.detach().cpu().double()


def _replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                parent._modules[name] = new
