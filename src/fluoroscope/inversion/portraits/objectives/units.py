"""Goals within the network: neurons, channels, layers, directions, and what a picture does there.

What a layer gives out is read as maps, ``(N, K, *places)``: convolutions give ``(N, K, h, w)``,
transformers tokens ``(N, T, K)``, some of them ``(N, h, w, K)``, and linear layers ``(N, K)``,
where each unit is a channel of no places. The formulas are Lucid's (Olah et al. 2017,
10.23915/distill.00007).
"""

from operator import index
from typing import SupportsIndex

import torch
from torch import Tensor, nn

from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.inside import Inside, Place
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.inversion.portraits.objectives.goal import Goal, Views
from fluoroscope.models.classifier import Classifier, as_classifier

# The least cosine that counts: below it the product alone leads, so the way there is open.
_LEAST_COSINE = 0.1


def channel(layer: str, number: int) -> Goal:
    """The mean of a channel over its places."""
    number = _index("channel", number)
    place = Place(layer)
    return Goal(
        f"channel {number} of {layer}",
        lambda views: _channel(views, place, number).reshape(len(views.whose), -1).mean(1),
        (place,),
    )


def neuron(layer: str, number: int, *where: int) -> Goal:
    """One number of a layer: of a channel, at a place; by default at the centre of its map.

    Args:
        layer: its name.
        number: the channel's.
        where: row and column, or the number of the token; nothing of a layer of no places.
    """
    number = _index("channel", number)
    at = tuple(_index("where", each) for each in where)
    place = Place(layer)

    def function(views: Views) -> Tensor:
        found = _channel(views, place, number)
        sizes = tuple(found.shape[1:])
        spot = at or tuple(size // 2 for size in sizes)
        if len(spot) != len(sizes) or any(i >= size for i, size in zip(spot, sizes, strict=True)):
            raise InvalidParameterError(
                f"the neuron is at {spot}, and a channel of the layer {layer!r} has "
                f"{'×'.join(map(str, sizes)) or 'no'} places; expected one number for each "
                "dimension, from 0, within these"
            )
        for each in spot:
            found = found[:, each]
        return found

    name = ", ".join(map(str, at)) if at else "its centre"
    return Goal(f"neuron of channel {number} of {layer} at {name}", function, (place,))


def layer(name: str) -> Goal:
    """The mean square of all that a layer gives out: DeepDream's (Mordvintsev et al. 2015)."""
    place = Place(name)
    return Goal(
        f"layer {name}",
        lambda views: views.seen.outputs[place].square().flatten(1).mean(1),
        (place,),
    )


def direction(layer: str, vector: Tensor, power: float = 0.0) -> Goal:
    """The product with a direction, times a power of the cosine between the two.

    ``(a · v) max(0.1, cos(a, v))^power``: the higher the power, the less does length alone count.
    A portrait against it goes towards ``-v``.

    Args:
        layer: whose output is ``a``.
        vector: ``(K,)``, the mean over places is taken; or of all that the layer gives out for a
            picture, such as ``(K, h, w)``.
        power: 0 is the plain product; 2 is usual with one.

    Raises:
        InvalidParameterError: a vector that is zero or not finite, or a power below 0.
    """
    along = torch.as_tensor(vector).detach()
    if along.dim() == 0 or not along.is_floating_point() or not bool(along.isfinite().all()):
        raise InvalidParameterError(
            f"vector is {along.dtype} of shape {tuple(along.shape)}; expected finite floats "
            "(K,), or in the shape of what the layer gives out"
        )
    if not bool(along.any()):
        raise InvalidParameterError("vector is zero, and so points nowhere; expected a direction")
    if not 0 <= power < float("inf"):
        raise InvalidParameterError(f"power is {power}; expected 0 or more")
    place = Place(layer)

    def towards(views: Views, sign: int) -> Tensor:
        output = views.seen.outputs[place]
        wanted = sign * along.to(output)
        if wanted.dim() == 1:
            found = as_maps(output)
            found = found.flatten(2).transpose(1, 2) if found.dim() > 2 else found[:, None]
        else:
            found, wanted = output.flatten(1)[:, None], wanted.flatten()
        fits = along.dim() == 1 or along.shape == output.shape[1:]
        if not fits or found.shape[2] != len(wanted):
            raise InvalidParameterError(
                f"vector is {tuple(along.shape)}, and the layer {layer!r} gives out "
                f"{tuple(output.shape[1:])} for a picture; expected ({found.shape[2]},) or that"
            )
        product = found @ wanted
        if power:
            lengths = torch.linalg.vector_norm(found, dim=2) * wanted.norm()
            cosine = product / lengths.clamp(min=torch.finfo(lengths.dtype).tiny)
            product = product * cosine.clamp(min=_LEAST_COSINE) ** power
        return product.mean(1)

    return Goal(
        f"direction in {layer}" + (f" × cosine^{power:g}" if power else ""),
        lambda views: towards(views, 1),
        (place,),
        opposite=(lambda views: towards(views, -1)) if power else None,
    )


def feature_match(model: Classifier | nn.Module, layer: str, picture: Tensor) -> Goal:
    """To look to a layer as a picture does: minus ``‖a - a₀‖ / ‖a₀‖``.

    Mahendran and Vedaldi 2015 (1412.0035), without the square. A portrait against it goes away.

    Args:
        model: the network under study.
        layer: its name.
        picture: one ``(C, H, W)`` or ``(1, C, H, W)`` in ``[0, 1]``, of the views' size.

    Raises:
        InvalidParameterError: no such layer, or one that gives out nothing but zeros for it.
        InvalidImagesError: no one picture.
    """
    from fluoroscope.pictures.checks import check_images

    model = as_classifier(model)
    images = check_images(picture if picture.dim() == 4 else picture[None], model.channels)
    if len(images) != 1:
        raise InvalidImagesError(f"picture holds {len(images)}; expected one")
    place = Place(layer)
    wanted = output_of(model, images, place).flatten(1)
    length = wanted.norm()
    if not bool(length > 0):
        raise InvalidParameterError(
            f"the layer {layer!r} of {model.name} gives out nothing but zeros for the picture; "
            "expected another layer or picture"
        )

    def function(views: Views) -> Tensor:
        found = views.seen.outputs[place].flatten(1)
        if found.shape[1] != wanted.shape[1]:
            raise InvalidParameterError(
                f"the picture to match gave {wanted.shape[1]:,} numbers at the layer {layer!r}, "
                f"and a view gives {found.shape[1]:,}; expected a picture of the views' size"
            )
        away = torch.linalg.vector_norm(found - wanted.to(found), dim=1)
        close: Tensor = -away / length.to(found)
        return close

    return Goal(f"as a picture at {layer}", function, (place,), needs_data=True)


def as_goal(text: str) -> Goal:
    """A goal as a command line names it.

    ``LAYER`` is the whole layer, ``LAYER:CHANNEL`` a channel, ``LAYER:CHANNEL,ROW,COLUMN`` a
    neuron.

    Raises:
        InvalidParameterError: it is none of these.
    """
    name, colon, rest = text.rpartition(":")
    if not colon:
        name, rest = text, ""
    numbers = rest.split(",") if colon else []
    if not name or not all(each.strip().isdecimal() for each in numbers):
        raise InvalidParameterError(
            f"unit is {text!r}; expected LAYER, LAYER:CHANNEL or LAYER:CHANNEL,ROW,COLUMN, such as "
            "features.3:5"
        )
    found = [int(each) for each in numbers]
    if not found:
        return layer(name)
    return channel(name, found[0]) if len(found) == 1 else neuron(name, *found)


def as_maps(output: Tensor) -> Tensor:
    """What a layer gives out for ``N`` pictures as ``(N, K, *places)``."""
    if output.dim() == 3:  # tokens
        return output.transpose(1, 2)
    if output.dim() == 4:
        first, second, third = output.shape[1:]
        if first == second != third:  # rows and columns come first
            return output.permute(0, 3, 1, 2)
    return output


def output_of(model: Classifier, images: Tensor, place: Place) -> Tensor:
    """What a layer gives out for images ``(N, C, H, W)``, without a graph."""
    found: list[Tensor] = []

    def keep(seen: object) -> Tensor:
        output: Tensor = seen.outputs[place].detach()  # type: ignore[attr-defined]
        found.append(output)
        return output.flatten(1)[:, :1]

    ready = images.to(model.device, model.dtype)
    nobody = torch.zeros(len(ready), dtype=torch.long, device=model.device)
    evaluate(model, ready, nobody, Inside("what a layer gives out", (place,), keep))
    return found[-1]


def _index(name: str, value: object) -> int:
    number = -1 if isinstance(value, bool) or not isinstance(value, SupportsIndex) else index(value)
    if number < 0:
        raise InvalidParameterError(f"{name} is {value!r}; expected a whole number, 0 or more")
    return number


def _channel(views: Views, place: Place, number: int) -> Tensor:
    """``(m, *places)`` of one channel."""
    found = as_maps(views.seen.outputs[place])
    if number >= found.shape[1]:
        raise InvalidParameterError(
            f"channel is {number}, and the layer {place.layer!r} has {found.shape[1]}; expected 0 "
            f"to {found.shape[1] - 1}"
        )
    return found[:, number]
