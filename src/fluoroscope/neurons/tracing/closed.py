"""Exact effects in closed form, of the layer whose units the last linear layer tells apart.

Where the last linear layer is given ``h`` and each unit reaches entries of it that no other one
reaches (a pooling or flattening lies between, or nothing), the logits without unit ``k`` are
``z - W_k (h_k - h'_k)``, with ``h'`` what it is given when all units are removed. That this is so
is never taken for granted: a few units are removed for real.
"""

import torch
from torch import Tensor, nn

from fluoroscope.engine import randomness
from fluoroscope.models.layers import tapped, traced
from fluoroscope.neurons.tracing.ablation import Ablation, Measure, Share, single_effects

# So many of the largest effects, and so many others, are held against units that are removed.
_LARGEST, _OTHERS = 4, 4
# The most that both may differ by, of the largest number there is.
_NEAR = 1e-4
# Rows of the answer at once.
_ROWS = 256


def closed_effects(
    ablation: Ablation, measure: Measure, on_share: Share | None = None
) -> Tensor | None:
    """As :func:`.ablation.single_effects`, by a formula; ``None`` where there is none."""
    head = _last_linear(ablation)
    if head is None:
        return None
    name, weights = head
    with torch.inference_mode(False), torch.no_grad():
        given = _given(ablation, name)
        many = ablation.units.count
        if given is None or given.shape[1] % many or given.shape[1] != weights.shape[1]:
            return None
        change = (given[0] - given[1]).double().reshape(many, -1)
        shares = weights.double().reshape(len(weights), many, -1)
        now = measure(ablation.logits)
        found = []
        for start in range(0, many, _ROWS):
            part = slice(start, start + _ROWS)
            lost = torch.einsum("kp,ckp->kc", change[part], shares[:, part])
            without = ablation.logits - lost.to(ablation.logits)
            found.append(now - measure(without))
    effects: Tensor = torch.cat(found)
    tried = _some(effects[:, 0])
    exact = now - ablation.without_each(measure, among=tried)
    scale = float(torch.cat([exact, effects]).abs().amax()) or 1.0
    size = float(ablation.logits.abs().amax())
    if float((exact - effects[tried]).abs().amax()) > _NEAR * max(scale, size):
        return None
    if on_share is not None:
        on_share(1.0)
    return effects


def never_below(ablation: Ablation) -> bool:
    """Whether removing units takes from what the last linear layer is given, and never adds to
    it; ``False`` where there is no such layer.
    """
    head = _last_linear(ablation)
    given = None if head is None else _given(ablation, head[0])
    return given is not None and bool((given[0] >= given[1]).all())


def effects_of(
    ablation: Ablation, measure: Measure, on_share: Share | None = None
) -> tuple[Tensor, str]:
    """What each unit does to some numbers ``(K, R)``, and in words how that was found."""
    found = closed_effects(ablation, measure, on_share)
    if found is not None:
        return found, "closed form, held against units that were removed"
    return single_effects(ablation, measure, on_share), "every unit removed"


def _last_linear(ablation: Ablation) -> tuple[str, Tensor] | None:
    """The linear layer that gives out the logits, by its name, and its weights."""
    if ablation.model.batch_size is not None:
        return None
    with torch.inference_mode(False), torch.no_grad(), traced(ablation.model) as uses:
        logits = ablation.model(ablation.image)
    for use in reversed(uses):
        if isinstance(use.layer, nn.Linear):
            same = use.output.shape == logits.shape and torch.equal(
                use.output.to(logits.dtype), logits
            )
            once = sum(other.layer is use.layer for other in uses) == 1
            weights: Tensor = use.layer.weight
            return (use.name, weights) if same and once else None
    return None


def _given(ablation: Ablation, head: str) -> Tensor | None:
    """What the linear layer is given with all units, and with none, ``(2, D)``."""
    none = torch.ones(1, ablation.units.count, dtype=torch.bool, device=ablation.activation.device)
    empty = ablation.units.removed(ablation.activation, none, ablation.put.value)
    with tapped(ablation.model, head, given=True) as kept:
        ablation.rest.whole(torch.cat([ablation.activation, empty]))
    found = kept[-1] if kept else None
    return found if found is not None and found.dim() == 2 and len(found) == 2 else None


def _some(effects: Tensor) -> Tensor:
    """The units of the largest effects, and some others; the same ones each time."""
    many = len(effects)
    largest = effects.abs().argsort(descending=True, stable=True)[:_LARGEST]
    key = randomness.keys(0, torch.zeros(1, dtype=torch.long, device=effects.device))
    others = randomness.uniform(key, 0, (many,))[0].argsort()[:_OTHERS]
    found: Tensor = torch.cat([largest, others.to(largest)]).unique()
    return found
