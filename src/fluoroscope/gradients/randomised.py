"""The same network with random weights: what a map shows of it, it does not owe to training.

Adebayo et al. 2018, "Sanity Checks for Saliency Maps" (1810.03292): a map that looks the same after
the weights are drawn anew shows the picture or the architecture and not what was learnt. They
compare maps by Spearman's rank correlation, of absolute values.
"""

import hashlib
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.first_look import Look
from fluoroscope.engine.predict import check_batch_size
from fluoroscope.errors import FluoroscopeError, InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.wrappers.randomised import random_state_aside

Order = Literal["bottom-up", "top-down"]
"""From the layers that see the picture upwards, or from those that give the answer down."""
_NORMS = (nn.modules.batchnorm._BatchNorm,)


def with_random_weights(
    model: Classifier | nn.Module,
    images: Tensor,
    *,
    seed: int = 0,
    batch_size: int = 64,
    share: float = 1.0,
    order: Order = "bottom-up",
) -> Classifier:
    """A copy of a network with its weights drawn anew; the given one stays as it is.

    Layers draw their weights as they did when they were made, each from a seed of its own, so that
    layers of one shape get different ones; what they do not draw (tokens, positions, the tensors of
    layers that cannot draw, buffers) is shuffled. Batch norms then take their statistics from
    ``images`` ``(N, C, H, W)``, as the first step of training would: without that a deep network's
    signal dies on its way.

    With a ``share`` below 1 only so many of the layers are drawn anew, the first ones in ``order``
    of their use.
    """
    model = as_classifier(model)
    if not 0 < share <= 1:
        raise InvalidParameterError(f"share is {share}; expected more than 0, at most 1")
    twin = model.plain.to()  # a copy, of which nothing is known yet
    twin.name = f"{model.name} with random weights"
    twin.look = Look()  # that nothing was learnt is what it is for
    parts = [(name, part) for name, part in twin.module.named_modules() if _own(part)]
    if share < 1:
        used = _first_uses(twin, images[:1])
        parts.sort(key=lambda part: _place(part[0], used), reverse=order == "top-down")
        parts = parts[: math.ceil(share * len(parts))]
    with random_state_aside(twin.device), torch.no_grad():
        for name, part in parts:
            digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
            torch.manual_seed(int.from_bytes(digest[:7], "big"))
            _redraw(part)
    _take_statistics(twin, [part for _, part in parts], images, check_batch_size(batch_size))
    return twin


def _own(part: nn.Module) -> dict[str, Tensor]:
    """A layer's own tensors of floating-point numbers, not those of the layers within it."""
    tensors = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
    return {name: each for name, each in tensors if each.is_floating_point() and each.numel()}


def _redraw(part: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in _own(part).items()}
    redraw = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
    if callable(redraw):
        redraw()
    for name, tensor in _own(part).items():
        kept = name in before and torch.equal(tensor, before[name])
        if kept and bool(tensor.isfinite().all()):  # a mask of infinities is no weight
            mixed = torch.randperm(tensor.numel(), device="cpu").to(tensor.device)
            tensor.copy_(tensor.flatten()[mixed].view_as(tensor))


def _first_uses(model: Classifier, image: Tensor) -> dict[str, int]:
    """When each layer is first used, by name; as they are defined where none can be watched."""
    names = {part: name for name, part in model.module.named_modules()}
    used: dict[str, int] = {}

    def note(part: nn.Module, *_: Any) -> None:
        used.setdefault(names[part], len(used))

    hooks = []
    try:
        for part in names:
            hooks.append(part.register_forward_pre_hook(note))
        evaluate(model, image.to(model.device, model.dtype), look=False)
    except (FluoroscopeError, RuntimeError):
        return {name: place for place, name in enumerate(names.values())}
    finally:
        for hook in hooks:
            hook.remove()
    return used


def _place(name: str, used: dict[str, int]) -> int:
    """When a layer is used: with the one around it, where it is not called by itself."""
    while name and name not in used:
        name = name.rpartition(".")[0]
    return used.get(name, 0)


def _take_statistics(
    model: Classifier, parts: list[nn.Module], images: Tensor, batch_size: int
) -> None:
    norms = [part for part in parts if isinstance(part, _NORMS) and part.track_running_stats]
    if not norms:
        return
    seen = images.to(model.device, model.dtype)
    for part in norms:
        part.momentum = None  # the mean over all batches
        part.train()
    with torch.no_grad():
        for batch in seen.split(batch_size):
            # Past the door of the classifier, which would hold every part in evaluation mode.
            inputs = model.preprocessing.normalize(model.preprocessing.resample(batch))
            model.module(inputs.to(model.precision))
    for part in norms:
        part.eval()


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's correlation of the absolute values of maps ``(N, C, H, W)``, as ``(N,)`` float64.

    The channels are added up first, as a map shows them. Of which pixels, and when it is 0: see
    :func:`spearman`.
    """
    return spearman(*(maps.double().abs().sum(1).flatten(1) for maps in (one, other)))


def spearman(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's correlation of each pair of rows ``(N, K)``, as ``(N,)`` float64.

    Places where both are exactly 0 are left out: where a pixel equals its baseline many a map is 0
    whatever the weights are, and ties at the same places would pass for likeness. 0 where what is
    left of a row is the same everywhere, since that has no order.
    """
    from scipy.stats import rankdata

    found = []
    for pair in zip(one.cpu(), other.cpu(), strict=True):
        either = (pair[0] != 0) | (pair[1] != 0)
        first, second = (torch.from_numpy(rankdata(row[either].numpy())) for row in pair)
        first, second = first - first.mean(), second - second.mean()
        scale = first.norm() * second.norm()
        found.append(float(first @ second / scale) if scale > 0 else 0.0)
    return torch.tensor(found, dtype=torch.double, device="cpu")
