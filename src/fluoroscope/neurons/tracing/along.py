"""Who changed their mind along the way: units' effects on one margin, picture after picture.

The pictures are the frames of a morph or of an attack, in order; a way station begins wherever the
network predicts another class than in the frame before.
"""

import hashlib
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.attacks.morph_result import MorphResult
from fluoroscope.attribution.audit.parts import Parts
from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.first_look import first_look, notes_of, remind
from fluoroscope.engine.predict import check_batch_size
from fluoroscope.engine.provenance import provenance
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier, tensor_bytes
from fluoroscope.neurons.tracing.ablation import Put, as_put, pair_margin
from fluoroscope.neurons.tracing.along_result import Along
from fluoroscope.neurons.tracing.closed import effects_of
from fluoroscope.neurons.tracing.sides import LEAST, cannot_turn
from fluoroscope.neurons.tracing.subject import Subject
from fluoroscope.neurons.tracing.turned import Pair, as_pair
from fluoroscope.pictures.checks import check_images
from fluoroscope.pictures.pairs import spread
from fluoroscope.words import count

FRAMES = 24
"""Frames at the most, where a morph has more; those at which another class wins are among them."""


def along(
    model: Classifier | nn.Module,
    frames: Tensor | MorphResult,
    pair: Pair | None = None,
    *,
    steps: Tensor | None = None,
    most: int = FRAMES,
    layer: str | None = None,
    call: int | None = None,
    put: str | float | Tensor = "zero",
    pictures: ImageSet | Tensor | None = None,
    batch_size: int | None = None,
    out: "str | PathLike[str] | None" = None,
    on_share: Callable[[float], None] | None = None,
) -> Along:
    """What every unit of a layer did to a margin, in each picture of a trajectory.

    Args:
        model: the network.
        frames: ``(F, C, H, W)`` in ``[0, 1]``, or a morph of this network, of which its frames.
        pair: the margin's classes, the same in all frames: how far the first leads over the second.
            By default what the first frame and the last are predicted as; where that is the same,
            the last one's strongest rival.
        steps: ``(F,)``, the step of each frame; of a morph it is known, else 0 and up.
        most: frames at the most: evenly spaced, and the first of each way station.
        layer: its name; by default the last at which units can turn; see
            :mod:`.turning_layer`.
        call: which use of it in a pass, from 0; by default the last.
        put: what stands in a removed unit's place; see :func:`.trace.trace`.
        pictures: those that ``put="mean"`` is the mean of.
        batch_size: copies at once; by default what suits the layer.
        out: a directory in which each frame is kept, so that a call that was killed goes on.
        on_share: told the share of the work that lies behind.

    Raises:
        InvalidParameterError: a morph of another network, or what else was given is unusable.
        InvalidImagesError, UnknownLabelError: what was given is unusable.
        ModelOutputError: logits that are NaN or infinite.
    """
    model = as_classifier(model)
    if isinstance(frames, MorphResult):
        check_morph(model, frames)
        steps, frames = frames.frame_steps, frames.frames
    batch = check_images(frames, model.channels).to(model.device, model.dtype)
    if len(batch) < 2 or most < 2:
        raise InvalidImagesError(
            f"frames hold {count(len(batch), 'picture')}, of which {most} at the most are taken; "
            "expected two or more"
        )
    numbers = torch.arange(len(batch), device="cpu") if steps is None else steps.cpu().long()
    if numbers.shape != (len(batch),):
        raise InvalidParameterError(
            f"steps have shape {tuple(numbers.shape)}; expected ({len(batch)},), one each"
        )
    if batch_size is not None:
        check_batch_size(batch_size)
    first_look(model, batch[:1])
    remind(model)
    subject = Subject(model, batch[:1], layer, call, batch_size, turning=True)
    logits = subject.predicted(batch).double().cpu()
    chosen = as_pair(model, pair, logits)
    rows = _rows(logits.argmax(1), most)
    batch, logits, numbers = batch[rows.to(batch.device)], logits[rows], numbers[rows]
    given = as_put(model, subject.units, put, pictures)
    about = provenance(model)
    found, how = _effects(subject, batch, given, chosen, out, about, on_share or (lambda _: None))
    record: dict[str, Any] = {
        **subject.units.describe(),
        "put": given.name,
        "pair": list(chosen),
        "predicted": logits.argmax(1).tolist(),
        "margins": (logits[:, chosen[0]] - logits[:, chosen[1]]).tolist(),
        "least": LEAST,
        "found": how,
        **about,
    }
    return Along(
        frames=batch.cpu(), steps=numbers, logits=logits, effects=found, record=record,
        labels=model.labels,
        notes=tuple(
            dict.fromkeys([*notes_of(model), *subject.notes(), *cannot_turn(found, how)])
        ),
    )  # fmt: skip


def check_morph(model: Classifier, morph: MorphResult, name: str = "frames") -> None:
    """Refuse a morph of another network.

    Raises:
        InvalidParameterError: it is one.
    """
    if morph.provenance.get("model_sha256") != model.fingerprint():
        raise InvalidParameterError(
            f"{name} is a morph of {morph.model}, with other weights or preprocessing than "
            f"{model.name}; expected one that was made of this network"
        )


def _rows(winners: Tensor, most: int) -> Tensor:
    """Frames to look at, ``(F,)``: evenly spaced, and the first of each way station."""
    stations = [row for row in range(1, len(winners)) if int(winners[row]) != int(winners[row - 1])]
    room = max(2, most - len(stations))
    kept = {*spread(len(winners), room).tolist(), *stations[: max(0, most - 2)]}
    return torch.tensor(sorted(kept), dtype=torch.long, device="cpu")


def _effects(
    subject: Subject, frames: Tensor, put: Put, pair: tuple[int, int],
    out: "str | PathLike[str] | None", about: dict[str, Any], on_share: Callable[[float], None],
) -> tuple[Tensor, str]:  # fmt: skip
    """Of each frame and unit ``(F, K)``, a frame at a time, kept as they are found."""
    of = {
        "network": about["model_sha256"], "version": about["fluoroscope"],
        "layer": [subject.units.layer, subject.units.call], "pair": pair,
        "put": hashlib.sha256(tensor_bytes(put.value)).hexdigest(),
    }  # fmt: skip
    parts = Parts(None if out is None else Path(out), of)
    found, how = [], ""
    with parts.open():
        for number, frame in enumerate(frames.split(1)):
            what = {"frame": hashlib.sha256(tensor_bytes(frame)).hexdigest()}
            kept = parts.get(f"frame-{number:04}", what)
            if kept is None:
                ablation = subject.ablation(frame, put)
                effects, how = effects_of(ablation, pair_margin(pair))
                kept = how, {"effects": effects[:, 0].double().cpu()}
                parts.put(f"frame-{number:04}", what, *kept)
            how = kept[0]
            found.append(kept[1]["effects"])
            on_share((number + 1) / len(frames))
    return torch.stack(found), how
