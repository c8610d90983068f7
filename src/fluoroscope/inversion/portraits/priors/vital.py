"""Sorted values of real pictures (VITAL, Gorgun et al. 2025, 2503.22399): not only mean and
variance of each channel are to be real, but all its values.

For each layer and channel the values of each real picture's map are sorted, and the sorted ones
averaged over pictures. The penalty is the mean square of how far a portrait's value is from the
average of its rank: the ``k``-th largest of it from the mean of the ``k``-th largest of theirs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fluoroscope.engine.inside import Inside, Place, Seen
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits.objectives.goal import Goal, Views
from fluoroscope.inversion.portraits.objectives.units import as_maps
from fluoroscope.inversion.portraits.places import as_places, checked_pictures, in_parts
from fluoroscope.inversion.portraits.priors.prior import LayerPrior
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.words import count

# Numbers kept of all layers at the most: 1 GiB.
_MOST = 2**28


def sorted_values(
    model: Classifier | nn.Module,
    images: Tensor,
    layers: Sequence[str | Place] | None = None,
    *,
    labels: Tensor | None = None,
    weights: Sequence[float] | None = None,
    batch_size: int | None = None,
) -> LayerPrior:
    """Layers are to have on a portrait the values that they have on these pictures, in any order.

    Args:
        model: the network under study.
        images: real pictures ``(N, C, H, W)`` of the class, in ``[0, 1]`` and of the views' size;
            the paper takes 50.
        layers: which, by name or place; by default the last one of each size of map.
        labels: ``(N,)``, the class of each picture: each portrait is then compared with those of
            its own class; else all portraits with all pictures.
        weights: what each of these counts; by default 1.
        batch_size: pictures at once while measuring.

    Raises:
        InvalidParameterError: no such layer, or another number of weights or labels; while it is
            asked: no picture of a portrait's class.
        InvalidImagesError: no pictures of the network's kind.
    """
    model = as_classifier(model)
    pictures = checked_pictures(model, images)
    if labels is not None and (labels.shape != (len(pictures),) or labels.is_floating_point()):
        raise InvalidParameterError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}; expected the class of each "
            f"of {count(len(pictures), 'picture')}, whole numbers ({len(pictures)},)"
        )
    places = as_places(model, layers, pictures)
    factors = [1.0] * len(places) if weights is None else [float(each) for each in weights]
    if len(factors) != len(places) or not all(0 <= each < float("inf") for each in factors):
        raise InvalidParameterError(
            f"weights are {weights}; expected {count(len(places), 'number')} of 0 or more, one for "
            f"each of {', '.join(map(str, places))}"
        )
    if not any(factors):
        raise InvalidParameterError("weights are all 0; expected one above 0")
    known = torch.tensor([0], device="cpu") if labels is None else labels.cpu().unique()
    groups = {
        int(each): pictures if labels is None else pictures[labels.cpu() == each] for each in known
    }
    parts = [_averages(model, each, places, batch_size, len(groups)) for each in groups.values()]
    wanted = {place: torch.stack([part[place] for part in parts]) for place in places}

    def function(views: Views) -> Tensor:
        classes = views.seen.classes
        own = torch.zeros_like(classes) if labels is None else _own(classes, known.to(classes))
        total = torch.zeros_like(views.towards)
        for place, factor in zip(places, factors, strict=True):
            found, real = _ranked(views.seen.outputs[place]), wanted[place]
            if found.shape[1:] != real.shape[1:]:
                raise InvalidParameterError(
                    f"{place} gives out {tuple(found.shape[1:])} channels and places for a view, "
                    f"and gave {tuple(real.shape[1:])} for the real pictures; expected pictures of "
                    "the views' size"
                )
            real = (real if len(real) == 1 else real[own]).to(found)
            total = total + factor * (found - real).square().flatten(1).mean(1)
        return total

    return LayerPrior(
        f"sorted values of {count(len(pictures), 'picture')}",
        Goal("sorted values", function, places, of_class=labels is not None),
        needs_data=True,
    )


def _own(classes: Tensor, known: Tensor) -> Tensor:
    """Where each class stands among those that are known, in order."""
    at = torch.searchsorted(known, classes).clamp(max=len(known) - 1)
    missing = classes[known[at] != classes]
    if len(missing):
        raise InvalidParameterError(
            f"the real pictures hold none of class {int(missing[0])}, of which a portrait is "
            "asked; expected some of each class"
        )
    return at


def _averages(
    model: Classifier,
    images: Tensor,
    places: tuple[Place, ...],
    batch_size: int | None,
    groups: int,
) -> dict[Place, Tensor]:
    """``(K, P)`` of each place, float32 on the network's device; there are so many such groups."""
    sums: dict[Place, Tensor] = {}

    def add(seen: Seen) -> Tensor:
        for place in places:
            ranked = _ranked(seen.outputs[place].detach()).double().sum(0)
            sums[place] = sums[place] + ranked if place in sums else ranked
        if groups * sum(each.numel() for each in sums.values()) > _MOST:
            raise InvalidParameterError(
                f"the layers give out more than {_MOST // groups:,} numbers for a picture, and "
                f"{count(groups, 'class', 'classes')} of them are kept; expected fewer or later "
                "layers, or fewer classes"
            )
        return seen.logits[:, :1]

    in_parts(model, images, Inside("sorted values", places, add), batch_size)
    return {place: (total / len(images)).float() for place, total in sums.items()}


def _ranked(output: Tensor) -> Tensor:
    """The values of each channel in order, ``(m, K, P)``."""
    maps = as_maps(output)
    flat = maps.flatten(2) if maps.dim() > 2 else maps[:, :, None]
    return flat.sort(dim=2).values
