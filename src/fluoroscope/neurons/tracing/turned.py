"""Who changed their mind between two pictures: what units did to a margin in the one and the other.

The pictures are an original and its adversarial one, or two way stations of a morph; the margin is
that of one class over another in both.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.first_look import first_look, notes_of, remind
from fluoroscope.engine.predict import check_batch_size
from fluoroscope.engine.provenance import provenance
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.neurons.reading.read import read
from fluoroscope.neurons.reading.units import Units
from fluoroscope.neurons.tracing.ablation import as_put, pair_margin, rivals_of
from fluoroscope.neurons.tracing.closed import effects_of
from fluoroscope.neurons.tracing.sides import LEAST, cannot_turn, turned_units
from fluoroscope.neurons.tracing.subject import Subject, one_picture
from fluoroscope.neurons.tracing.turned_result import Turned

Pair = tuple[int | str, int | str]
# The longer side of a favourite picture that is kept.
_SIDE = 112


def turned(
    model: Classifier | nn.Module,
    before: Tensor,
    after: Tensor,
    pair: Pair | None = None,
    *,
    layer: str | None = None,
    call: int | None = None,
    put: str | float | Tensor = "zero",
    pictures: ImageSet | Tensor | None = None,
    images: ImageSet | None = None,
    shown: int = 6,
    favourites: int = 4,
    batch_size: int | None = None,
    on_share: Callable[[float], None] | None = None,
) -> Turned:
    """The units of a layer that turned between two pictures, by what they did to a margin.

    Args:
        model: the network.
        before, after: ``(C, H, W)`` in ``[0, 1]``, of one size.
        pair: the margin's classes, by label, prefix or index: how far the first leads over the
            second. By default what the first picture is predicted as and what the other is; where
            that is the same, the other's strongest rival.
        layer: its name; by default the last at which units can turn; see
            :mod:`.turning_layer`.
        call: which use of it in a pass, from 0; by default the last.
        put: what stands in a removed unit's place; see :func:`.trace.trace`.
        pictures: those that ``put="mean"`` is the mean of.
        images: a data set, of which the favourite pictures of the units that turned are shown.
        shown: units of which it is shown where they looked in both pictures.
        favourites: pictures of each.
        batch_size: copies at once; by default what suits the layer.
        on_share: told the share of the work that lies behind.

    Raises:
        InvalidImagesError, InvalidParameterError, UnknownLabelError: what was given is unusable.
        ModelOutputError: logits that are NaN or infinite.
    """
    model = as_classifier(model)
    both = [one_picture(before, model, "before"), one_picture(after, model, "after")]
    if both[0].shape != both[1].shape:
        raise InvalidImagesError(
            f"before has shape {tuple(before.shape)} and after {tuple(after.shape)}; expected "
            "pictures of one size"
        )
    if shown < 0 or favourites < 0:
        raise InvalidParameterError("shown or favourites is below 0; expected 0 or more")
    if batch_size is not None:
        check_batch_size(batch_size)
    first_look(model, both[0])
    remind(model)
    told = on_share or (lambda share: None)
    subject = Subject(model, both[0], layer, call, batch_size, turning=True)
    logits = subject.predicted(torch.cat(both)).double().cpu()
    chosen = as_pair(model, pair, logits)
    given = as_put(model, subject.units, put, pictures)
    effects, activations, how = [], [], ""
    for number, picture in enumerate(both):
        ablation = subject.ablation(picture, given)
        found, how = effects_of(ablation, pair_margin(chosen))
        told((number + 1) * 0.4)
        effects.append(found[:, 0].double().cpu())
        activations.append(subject.units.places(ablation.activation)[0].double().mean(1).cpu())
    loud = turned_units(*effects)[:shown]
    looked = [subject.maps(picture, loud, chosen) for picture in both]
    told(0.85)
    numbers, kept = _favourites(model, subject.units, images, loud, favourites)
    doubts = [doubt for _, _, doubt in looked if doubt]
    record: dict[str, Any] = {
        **subject.units.describe(),
        "put": given.name,
        "pair": list(chosen),
        "predicted": logits.argmax(1).tolist(),
        "margins": (logits[:, chosen[0]] - logits[:, chosen[1]]).tolist(),
        "least": LEAST,
        "found": how,
        "looked": looked[0][1] if not doubts else "",
        "favourites_of": None if images is None else images.identity(),
        "names": [] if images is None else [list(images.names(row.tolist())) for row in numbers],
        **provenance(model),
    }
    maps = [one for one, _, _ in looked]
    stuck = cannot_turn(torch.stack(effects), how)
    if torch.equal(*both):
        stuck = ["both pictures are the same, so no unit can turn"]
    told(1.0)
    return Turned(
        before=both[0][0].cpu(), after=both[1][0].cpu(), logits=logits,
        effects=torch.stack(effects), activations=torch.stack(activations), shown=loud,
        maps=torch.stack(maps) if not doubts else torch.stack([one[:0] for one in maps]),
        favourites=kept, favourite_numbers=numbers, record=record, labels=model.labels,
        notes=tuple(dict.fromkeys([*notes_of(model), *subject.notes(), *stuck, *doubts])),
    )  # fmt: skip


def as_pair(model: Classifier, pair: Pair | None, logits: Tensor) -> tuple[int, int]:
    """The margin's classes, of logits ``(F, classes)`` of the first picture to the last.

    Raises:
        InvalidParameterError: no pair of two classes.
        UnknownLabelError: a class that the network does not have.
    """
    if pair is None:
        first, last = int(logits[0].argmax()), int(logits[-1].argmax())
        return first, last if last != first else int(rivals_of(logits[-1:], first))
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise InvalidParameterError(f"pair is {pair!r}; expected two classes")
    one, other = (model.find_class(each) for each in pair)
    if one == other:
        raise InvalidParameterError(
            f"both classes of the margin are {model.labels[one]}; expected two different ones"
        )
    return one, other


def _favourites(
    model: Classifier, units: Units, images: ImageSet | None, which: Tensor, many: int
) -> tuple[Tensor, Tensor]:
    """Numbers ``(M, n)`` of the pictures that activate units most, and these, made small."""
    if images is None or not len(which) or not many:
        none = torch.zeros((len(which), 0), dtype=torch.long, device="cpu")
        shape = (len(which), 0, model.channels, 1, 1)
        return none, torch.zeros(shape, dtype=torch.float32, device="cpu")
    found = read(model, images, units.layer, call=units.call, reduction="max")
    values = torch.from_numpy(found.values[:, which.numpy()].copy())
    best = values.argsort(dim=0, descending=True, stable=True)[:many].T
    pictures = {at: _small(model.fit(images[at].image)) for at in set(best.flatten().tolist())}
    kept = torch.stack([torch.stack([pictures[int(at)] for at in row]) for row in best])
    numbers = torch.tensor(images.indices, dtype=torch.long, device="cpu")[best]
    return numbers, kept


def _small(picture: Tensor) -> Tensor:
    """A picture ``(C, H, W)`` whose longer side is not longer than is shown."""
    longest = max(picture.shape[1:])
    picture = picture.float().cpu()
    if longest <= _SIDE:
        return picture
    size = tuple(max(1, round(side * _SIDE / longest)) for side in picture.shape[1:])
    return F.interpolate(picture[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)
