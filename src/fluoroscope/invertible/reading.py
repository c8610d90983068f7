"""Two pictures in the latent of an invertible network: what of it differs, and how that looks."""

from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.engine.provenance import provenance
from fluoroscope.errors import InvalidImagesError
from fluoroscope.invertible.parts import expected, split
from fluoroscope.invertible.result import LatentReading
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.invertible.backwards import (
    bounds_of,
    invertible_in,
    latents_of,
    pictures_of,
)
from fluoroscope.pictures.checks import check_images
from fluoroscope.words import number

# An inverse that is off by more than half a level of a saved picture is worth a word.
_OFF = 0.5 / 255


def read_latent(
    model: Classifier | nn.Module, before: Tensor, after: Tensor, *, how: str = ""
) -> LatentReading:
    """What differs between a picture and another, mostly its adversarial one, in the latent.

    Args:
        model: an invertible network.
        before, after: ``(C, H, W)`` in ``[0, 1]``, of the network's size.
        how: how the second was made, for the record.

    Raises:
        InvalidImagesError: pictures of another size, or none.
        InvalidParameterError: a network without an inverse.
    """
    model = as_classifier(model)
    network = invertible_in(model, "a reading of the latent")
    if before.shape != after.shape or before.dim() != 3:
        raise InvalidImagesError(
            f"before has shape {tuple(before.shape)} and after {tuple(after.shape)}; expected two "
            "pictures (C, H, W) of one size"
        )
    pair = check_images(torch.stack([before, after]), model.channels).to(model.device, model.dtype)
    latents = latents_of(model, pair)
    with torch.inference_mode(False), torch.no_grad():
        logits = network.head(latents)
        here, there, alike = _classes(logits)
        difference = latents[1] - latents[0]
        parts = split(difference, network.head, here, there)
        wanted = latents[0] + parts.to(latents)
        found = pictures_of(model, wanted)
        back = pictures_of(model, latents)
        all_logits = torch.cat([logits, network.head(wanted)])
        lengths = _through(model, pair)
    off = (back.images - pair).abs().flatten(1).amax(1)
    total = parts.square().sum().clamp(min=torch.finfo(torch.double).tiny)
    notes = []
    if alike:
        notes.append(
            f"both pictures are predicted as {model.labels[here]}; the margin is that over "
            f"{model.labels[there]}, the strongest other class of the second"
        )
    if bool((off > _OFF).any()):
        notes.append(
            f"the inverse is off by up to {number(float(off.max()))} of a pixel's range on these "
            "pictures, so what it makes of the parts is that much in doubt"
        )
    *_, (channels, size, _) = network.shape.steps()
    by_number = (difference.square() / total).cpu().double().view(channels, *size)
    low, high = bounds_of(model)
    record: dict[str, Any] = {
        "how": how,
        "classes": [here, there],
        "predicted": logits.argmax(1).tolist(),
        "margins": (all_logits[:, here] - all_logits[:, there]).tolist(),
        "distance": float((pair[1] - pair[0]).norm()),
        "latent_distance": float(difference.norm()),
        "bounds": [low, high],
        "shares": (parts.square().sum(1) / total).tolist(),
        "expected_shares": list(expected(network.head)),
        "inverse_off": off.tolist(),
        "residuals": [*back.residual.tolist(), *found.residual.tolist()],
        "rounds": [*back.rounds.tolist(), *found.rounds.tolist()],
        "shape": network.shape.describe(),
        **provenance(model),
    }
    return LatentReading(
        before=pair[0].cpu(),
        after=pair[1].cpu(),
        latents=latents.cpu(),
        parts=parts,
        pictures=found.images.cpu(),
        logits=all_logits.cpu().double(),
        by_channel=by_number.flatten(1).sum(1),
        by_place=by_number.sum(0),
        lengths=lengths,
        record=record,
        labels=model.labels,
        notes=tuple(notes),
    )


def _classes(logits: Tensor) -> tuple[int, int, bool]:
    """What both pictures are predicted as; if that is the same, the second's strongest other."""
    here, there = logits.argmax(1).tolist()
    if here != there:
        return here, there, False
    others = logits[1].clone()
    others[here] = -torch.inf
    return here, int(others.argmax()), True


def _through(model: Classifier, pair: Tensor) -> Tensor:
    """How far both pictures are apart, in pixels and after each block, ``(1 + blocks,)``."""
    network = invertible_in(model, "a reading of the latent")
    found = [pair]
    hooks = [
        block.register_forward_hook(lambda _, given, output: found.append(output))
        for block in network.blocks()
    ]
    try:
        latents_of(model, pair)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack([(one[1] - one[0]).double().norm() for one in found]).cpu()
