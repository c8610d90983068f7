"""Which layers of a network can be read: those named, or the last of each size of map."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.inside import Inside, Place
from fluoroscope.engine.predict import check_batch_size, suitable_batch
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.inversion.portraits.objectives.units import as_maps
from fluoroscope.inversion.tracing import uses_and_logits
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.layers import Use, find_layer
from fluoroscope.words import some

_LISTED = 20


def as_places(
    model: Classifier, layers: Sequence[str | Place] | None, images: Tensor
) -> tuple[Place, ...]:
    """The layers of those names, or by default the end of each stage of the network.

    Raises:
        InvalidParameterError: no such layer, one named twice, or none that gives out maps.
    """
    if layers is None:
        return stages(model, images)
    if isinstance(layers, str):
        layers = [layers]
    places = tuple(each if isinstance(each, Place) else Place(each) for each in layers)
    if not places:
        raise InvalidParameterError("layers is empty; expected one name or more")
    if len(set(places)) < len(places):
        raise InvalidParameterError(
            f"layers are {', '.join(map(str, places))}; expected each of them once"
        )
    for place in places:
        find_layer(model, place.layer)
    return places


def stages(model: Classifier, images: Tensor) -> tuple[Place, ...]:
    """Where maps of each size are given out last: the ends of a network's stages.

    Raises:
        InvalidParameterError: no layer gives out maps of more than one place.
    """
    ends: dict[tuple[int, ...], str] = {}
    uses = uses_of(model, images)
    for use in uses:
        places = tuple(as_maps(use.output).shape[2:])
        if max(places, default=1) > 1 and not isinstance(use.layer, nn.Identity):
            ends.pop(places, None)
            ends[places] = use.name
    if not ends:
        seen = [use.name for use in uses]
        raise InvalidParameterError(
            f"no layer of {model.name} that Python sees gives out maps of more than one place; "
            + (
                f"expected layers by name, of {some(seen, _LISTED)}"
                if seen
                else "load it from Python code"
            )
        )
    return tuple(Place(name) for name in dict.fromkeys(ends.values()))


def uses_of(model: Classifier, images: Tensor) -> list[Use]:
    """Every use of a layer that gives out floats for each picture, in a pass of one of noise."""
    uses, _ = uses_and_logits(model, (images.shape[2], images.shape[3]))
    rows = model.batch_size or 1
    return [
        use
        for use in uses
        if use.output.dim() >= 2 and len(use.output) == rows and use.output.is_floating_point()
    ]


def checked_pictures(model: Classifier, images: Tensor) -> Tensor:
    """Real pictures ``(N, C, H, W)`` that a network takes.

    Raises:
        InvalidImagesError: none, or no pictures of its channels.
    """
    from fluoroscope.pictures.checks import check_images

    pictures = check_images(images, model.channels)
    if not len(pictures):
        raise InvalidImagesError("no pictures were given; expected one or more real ones")
    size = tuple(pictures.shape[2:])
    if model.input_size not in (None, size):
        raise InvalidImagesError(
            f"pictures are {size[0]}×{size[1]}, and {model.name} sees "
            f"{model.input_size[0]}×{model.input_size[1]}; expected pictures of its size"
        )
    return pictures


def in_parts(model: Classifier, images: Tensor, what: Inside, batch_size: int | None) -> None:
    """Show a network pictures, some at a time; what is read of them is for the function to keep."""
    size = suitable_batch(images) if batch_size is None else check_batch_size(batch_size)
    for part in images.split(size):
        ready = part.to(model.device, model.dtype)
        nobody = torch.zeros(len(ready), dtype=torch.long, device=model.device)
        evaluate(model, ready, nobody, what)
