"""Priors on the statistics of layers: on portraits they are to be what they are on real pictures.

With mean and variance of each channel over pictures and places, ``μ, σ²`` of the portraits and
``μ̂, σ̂²`` of real pictures, the penalty is ``Σ_layers ‖μ - μ̂‖₂ + ‖σ² - σ̂²‖₂`` (Yin et al. 2020,
1912.08795). Real pictures' are those that batch norm has kept of what it is given, or are measured.

Over a batch, as the paper has it, portraits depend on each other: what one is missing another may
have. Over each portrait's own views and places, which is ours, they do not; then a portrait alone
has to be as varied as all pictures are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fluoroscope.engine.inside import Inside, Place, Seen
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.data_prior import DataPrior
from fluoroscope.inversion.portraits.objectives.goal import Goal, Views
from fluoroscope.inversion.portraits.objectives.units import as_maps
from fluoroscope.inversion.portraits.places import as_places, checked_pictures, in_parts
from fluoroscope.inversion.portraits.priors.prior import LayerPrior
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.layers import find_layer
from fluoroscope.words import count

# So far a kept mean may be from 0, and variances from each other, as a ratio, to tell nothing.
_ALIKE = 1e-3


@dataclass(frozen=True)
class Statistics:
    """Of the channels at one place in a network; both ``(K,)``."""

    mean: Tensor
    variance: Tensor


def batch_norm_statistics(
    model: Classifier | nn.Module, *, first: float = 1.0, over_batch: bool = True
) -> LayerPrior:
    """What the batch norms of a network are given is to have the statistics that they have kept.

    Args:
        model: the network under study, with its batch norms as they were trained: of a prepared one
            (:func:`prepare` folds them away) its ``plain`` network.
        first: what the first of them counts, beside 1 for each other; 10 is one of the paper's.
        over_batch: take the statistics over all portraits, as the paper does; else over each
            portrait's own views.

    Raises:
        InvalidParameterError: no batch norm, or none whose statistics tell of real pictures.
    """
    model = as_classifier(model)
    if not 0 < first < float("inf"):
        raise InvalidParameterError(f"first is {first}; expected a number above 0")
    why = batch_norm_trouble(model)
    if why is not None:
        raise InvalidParameterError(why)
    kept = {
        Place(name, given=True): Statistics(norm.running_mean.clone(), norm.running_var.clone())
        for name, norm in _batch_norms(model)
        if norm.running_mean is not None and norm.running_var is not None
    }
    weights = [first, *[1.0] * (len(kept) - 1)]
    return LayerPrior(
        f"batch norm's statistics {_over(over_batch)}",
        statistics_goal("batch norm's statistics", kept, weights, over_batch=over_batch),
    )


def batch_norm_trouble(model: Classifier) -> str | None:
    """Why a prior on batch norm's statistics says nothing on a network; ``None`` if it does.

    Neutral statistics are those of batch norm that was folded into the layers before it, and then
    written out again: means of 0, and one variance for all channels.
    """
    instead = (
        "measure layer_statistics or sorted_values on real pictures, as "
        "method='deepinversion-data' and method='vital' do"
    )
    norms = _batch_norms(model)
    if not norms:
        folded = model.plain is not model
        return f"{model.name} has no batch norm; " + (
            "it was prepared for speed, which folds them: take it from its plain network (.plain)"
            if folded and _batch_norms(model.plain)
            else f"expected a network trained with it: {instead}"
        )
    kept = [norm for _, norm in norms if norm.running_mean is not None]
    if not kept:
        return (
            f"the {count(len(norms), 'batch norm')} of {model.name} keep no statistics; expected "
            f"running means and variances: {instead}"
        )
    neutral = sum(map(_neutral, kept))
    if neutral == len(kept):
        return (
            f"all {count(len(kept), 'batch norm')} of {model.name} are neutral (running mean 0 and "
            "one variance for all channels), as after folding into the layers before them, and "
            f"tell nothing of real pictures; expected statistics of training: {instead}"
        )
    return None


def neutral_norms(model: Classifier) -> tuple[int, int]:
    """How many batch norms tell nothing of real pictures, and how many there are."""
    norms = [norm for _, norm in _batch_norms(model)]
    return sum(norm.running_mean is None or _neutral(norm) for norm in norms), len(norms)


def layer_statistics(
    model: Classifier | nn.Module,
    images: Tensor,
    layers: Sequence[str | Place] | None = None,
    *,
    over_batch: bool = True,
    batch_size: int | None = None,
) -> LayerPrior:
    """Layers are to have on portraits the statistics that they have on these pictures.

    Args:
        model: the network under study.
        images: real pictures ``(N, C, H, W)`` in ``[0, 1]``, of the views' size.
        layers: which, by name or place; by default the last one of each size of map.
        over_batch: take the statistics over all portraits; else over each one's own views.
        batch_size: pictures at once while measuring.

    Raises:
        InvalidParameterError: no such layer, or no layer that gives out maps.
        InvalidImagesError: no pictures of the network's kind.
    """
    model = as_classifier(model)
    known = measured(model, images, layers, batch_size=batch_size)
    return LayerPrior(
        f"layer statistics {_over(over_batch)}",
        statistics_goal("layer statistics", known, [1.0] * len(known), over_batch=over_batch),
        needs_data=True,
    )


def fitted_statistics(prior: DataPrior, *, over_batch: bool = True) -> LayerPrior:
    """Layers are to have on portraits the statistics that a prior has measured.

    Args:
        prior: what :func:`fit_prior` gave when it was told which layers; of the network under
            study.
        over_batch: take the statistics over all portraits; else over each one's own views.

    Raises:
        InvalidParameterError: a prior without layers.
    """
    if not prior.layers:
        raise InvalidParameterError(
            f"prior {prior.name} knows no layers; expected one that was fitted with "
            "fluoroscope.inversion.fit_prior(images, model, layers=...)"
        )
    known = {each.place: Statistics(each.mean, each.variance) for each in prior.layers}
    return LayerPrior(
        f"layer statistics {_over(over_batch)}",
        statistics_goal("layer statistics", known, [1.0] * len(known), over_batch=over_batch),
        needs_data=True,
    )


def measured(
    model: Classifier,
    images: Tensor,
    layers: Sequence[str | Place] | None = None,
    *,
    batch_size: int | None = None,
) -> dict[Place, Statistics]:
    """Mean and variance of each channel of layers, over pictures and places; float32."""
    pictures = checked_pictures(model, images)
    places = as_places(model, layers, pictures)
    sums: dict[Place, list[Tensor]] = {}
    total = dict.fromkeys(places, 0)

    def add(seen: Seen) -> Tensor:
        for place in places:
            maps = _flat(seen.outputs[place].detach()).double()  # (m, K, P)
            parts = [maps.sum((0, 2)), maps.square().sum((0, 2))]
            known = sums.get(place)
            sums[place] = (
                parts if known is None else [a + b for a, b in zip(known, parts, strict=True)]
            )
            total[place] += maps.shape[0] * maps.shape[2]
        return seen.logits[:, :1]

    in_parts(model, pictures, Inside("statistics of layers", places, add), batch_size)
    found = {}
    for place in places:
        mean, second = (each / total[place] for each in sums[place])
        found[place] = Statistics(mean.float(), (second - mean.square()).clamp(min=0).float())
    return found


def statistics_goal(
    name: str,
    wanted: Mapping[Place, Statistics],
    weights: Sequence[float],
    *,
    over_batch: bool,
) -> Goal:
    """How far the statistics of portraits are from those wanted, for each view."""

    def function(views: Views) -> Tensor:
        groups = _groups(views, over_batch)
        total = torch.zeros_like(views.towards)
        for (place, real), weight in zip(wanted.items(), weights, strict=True):
            maps = _flat(views.seen.outputs[place])
            if maps.shape[1] != len(real.mean):
                raise InvalidParameterError(
                    f"the statistics of {place} are of {len(real.mean)} channels, and it has "
                    f"{maps.shape[1]}; expected those of this network"
                )
            mean, variance = _statistics(maps, groups)
            away = torch.linalg.vector_norm(mean - real.mean.to(mean), dim=1)
            spread = torch.linalg.vector_norm(variance - real.variance.to(mean), dim=1)
            total = total + weight * (away + spread)
        return total

    return Goal(name, function, tuple(wanted), together=over_batch, whole=True)


def _statistics(maps: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance ``(m, K)`` of maps ``(m, K, P)`` over each view's group and its places."""
    mean = _shared(maps.mean(2), groups)
    # About the mean as a number: its own slope drops out of the sum of squares.
    apart = (maps - mean.detach()[:, :, None]).square().mean(2)
    return mean, _shared(apart, groups)


def _shared(own: Tensor, groups: Tensor) -> Tensor:
    """The mean of ``own`` ``(m, K)`` over each one's group, through which each goes back to itself.

    So each view's number has its own part of the gradient, and a portrait's own weight acts on it
    alone; summed up over the group that is the group's number, times how many there are.
    """
    many = int(groups.max()) + 1 if len(groups) else 0
    sums = own.new_zeros(many, own.shape[1]).index_add(0, groups, own.detach())
    sizes = own.new_zeros(many).index_add(0, groups, torch.ones_like(own[:, 0]))
    mean = (sums / sizes[:, None])[groups]
    return mean + (own - own.detach())


def _groups(views: Views, over_batch: bool) -> Tensor:
    """``(m,)``: views whose statistics are taken together; those for and against never are."""
    return (views.towards < 0).long() if over_batch else views.whose


def _flat(output: Tensor) -> Tensor:
    """``(m, K, P)``"""
    maps = as_maps(output)
    return maps.flatten(2) if maps.dim() > 2 else maps[:, :, None]


def _over(batch: bool) -> str:
    return "over the batch" if batch else "of each portrait"


def _batch_norms(model: Classifier) -> list[tuple[str, _BatchNorm]]:
    """In the order of the network; those that Python does not see are left out."""
    found = []
    for name, part in model.module.named_modules():
        if name and isinstance(part, _BatchNorm):
            find_layer(model, name)
            found.append((name, part))
    return found


def _neutral(norm: _BatchNorm) -> bool:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    low, high = float(variance.min()), float(variance.max())
    return float(mean.abs().max()) <= _ALIKE and high - low <= _ALIKE * abs(high)
