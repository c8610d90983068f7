"""Attacking a whole data set, a part at a time: memory does not grow with it.

A part is a result of its own, so that whoever writes each one down loses nothing but the last.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.registry import find_attack
from fluoroscope.attacks.result import AttackResult
from fluoroscope.attacks.universal.fitting import FIT_BATCH, FitStep, Fitted
from fluoroscope.data.batches import Batch
from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine import randomness
from fluoroscope.engine.labels import Truth
from fluoroscope.engine.predict import predict
from fluoroscope.engine.threats import bounds_of
from fluoroscope.errors import InvalidParameterError
from fluoroscope.files import regular, remove
from fluoroscope.models.classifier import Classifier
from fluoroscope.words import count

# Pixel values in a part: 0.13 GB in float32, of which a search keeps a few copies.
_VALUES = 2**25
# Parts that one perturbation or patch is fitted to at the most: they are in memory together.
_FIT_PARTS = 8
_RECORD = re.compile(r"part-\d{5,9}\.json")


def attack_parts(
    model: Classifier,
    attack: Method,
    images: ImageSet,
    *,
    to: str | int | None = None,
    seed: int = 0,
    **options: Any,
) -> Iterator[AttackResult]:
    """Attack every picture of a data set and yield a result for each part of it.

    Args:
        model: the network under study.
        attack: what is done to them.
        images: the pictures; one without a label is led away from what the network classifies it
            as.
        to: nothing, to lead every picture away from its class; a class, to lead it there;
            ``"random"``, to one drawn for each picture among the others; ``"least-likely"``, to the
            one the network finds least likely (Kurakin et al. 2017); ``"all"``, to every class, one
            after the other.
        seed: for everything random.
        options: see :meth:`Method.__call__`.

    Raises:
        UnknownLabelError: a class the network does not have, or labels that do not match.
        InvalidParameterError: a bound for each, but not for as many as there are pictures.
    """
    targets: list[int | str | None] = [to]
    if to == "all":
        targets = list(range(model.num_classes))
    elif to not in (None, "random", "least-likely"):
        targets = [model.find_class(to)]
    truth, within = _truth(model, images, targets), _bounded(attack, images)
    for target in targets:
        for batch in images.batches(part_size(model), fit=model.preprocessing):
            result = within(batch)(
                model,
                batch.images,
                _classes(model, truth, batch, target, seed),
                targeted=to is not None,
                seed=seed,
                numbers=batch.indices,
                **options,
            )
            yield _told(result, batch, truth, images)


def _told(
    result: AttackResult, batch: Batch, truth: Truth | None, images: ImageSet
) -> AttackResult:
    """The result with the names of its pictures, and with what is to be said of them."""
    notes = images.notes if truth is None else truth.notes
    if truth is not None and batch.labels is None:
        why = f" ({images.why_unlabelled})" if images.why_unlabelled else ""
        notes = (
            *notes,
            f"pictures without a label{why} are led away from what the network classifies them as",
        )
    record = {
        **result.record,
        "data": images.identity(),
        "seen": images.class_counts(),
        "notes": [*result.record["notes"], *notes],
    }
    names = batch.names or images.names(batch.indices)
    return replace(result, names=names, record=record, notes=(*result.notes, *notes))


def _bounded(attack: Method, images: ImageSet) -> Callable[[Batch], Method]:
    """The attack on each batch: with its pictures' own bounds where each has one."""
    bounds = bounds_of(attack.threat)
    if bounds is None:
        return lambda batch: attack
    if len(bounds) != len(images):
        raise InvalidParameterError(
            f"eps has {count(len(bounds), 'bound')} for {count(len(images), 'picture')}; expected "
            "one each"
        )
    of = dict(zip(images.indices, bounds, strict=True))
    ball: Any = type(attack.threat)
    return lambda batch: attack.within(ball([of[number] for number in batch.indices.tolist()]))


def fit_to(
    model: Classifier,
    attack: Fitted,
    images: ImageSet,
    *,
    to: str | int | None = None,
    seed: int = 0,
    batch_size: int = FIT_BATCH,
    on_batch: Callable[[FitStep], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[Fitted, int]:
    """Fit an attack to the pictures of a data set, or the first ones if they are very many.

    Returns it with the number of pictures. The arguments are those of :func:`attack_parts` and of
    :meth:`.Fitted.fit`.

    Raises:
        UnknownLabelError: a class the network does not have.
        InvalidParameterError: towards several classes.
    """
    if to in ("random", "least-likely", "all"):
        raise InvalidParameterError(
            f"to is {to}; one {type(attack).__name__} leads all pictures to one class: expected "
            "a label of the network"
        )
    target = None if to is None else model.find_class(to)
    count, size = min(len(images), _FIT_PARTS * part_size(model)), part_size(model)
    truth = _truth(model, images, [target])
    batches = list(images.take(count).batches(size, fit=model.preprocessing))
    fitted = attack.fit(
        model,
        torch.cat([batch.images for batch in batches]),
        torch.cat([_classes(model, truth, batch, target, seed) for batch in batches]),
        targeted=to is not None,
        batch_size=min(batch_size, FIT_BATCH),
        seed=seed,
        numbers=torch.cat([batch.indices for batch in batches]),
        on_batch=on_batch,
        cancelled=cancelled,
    )
    return fitted, count


def search_length(attack: Method) -> int:
    """How often an attack asks about a sample that survives it, as far as its parameters say."""
    numbers = vars(attack)
    found = numbers.get("queries") or numbers.get("steps", 1) * numbers.get("targets", 1)
    return max(1, int(found))


def part_size(model: Classifier) -> int:
    """Pictures in a part."""
    height, width = model.input_size or (224, 224)
    return max(1, min(1000, _VALUES // (model.channels * height * width)))


def _truth(
    model: Classifier, images: ImageSet, targets: Sequence[int | str | None]
) -> Truth | None:
    """What the labels mean; where all pictures are led to given classes, nobody asks."""
    return None if all(isinstance(each, int) for each in targets) else Truth.of(model, images)


def _classes(
    model: Classifier, truth: Truth | None, batch: Batch, target: int | str | None, seed: int
) -> Tensor:
    if isinstance(target, int):
        return torch.full_like(batch.indices, target)
    assert truth is not None
    labels = None if batch.labels is None else truth.labels(batch)
    if target is None and labels is not None:
        return labels
    logits = predict(model.plain, batch.images).logits
    own = logits.argmax(1) if labels is None else labels
    if target is None:
        return own
    if target == "least-likely":
        return logits.scatter(1, own[:, None], torch.inf).argmin(1)
    drawn = randomness.integers(randomness.keys(seed, batch.indices, -1), 0, logits.shape[1] - 1)[
        :, 0
    ]
    return drawn + (drawn >= own)


def other_pictures(attack: str) -> tuple[str, ...]:
    """The parameters of an attack, or of several joined by ``|``, that hold other pictures: to
    begin from, to mix in, to resemble.
    """
    kinds = [find_attack(name.strip()) for name in attack.split("|")]
    known = {field.name for kind in kinds for field in fields(kind)}  # type: ignore[arg-type]
    return tuple(name for name in ("starts", "pool", "guides") if name in known)


def first_part(model: Classifier, images: ImageSet) -> Tensor:
    """The pictures ``(N, C, H, W)`` of the first part, as the network receives them."""
    few = images.take(part_size(model))
    return torch.cat([batch.images for batch in few.batches(fit=model.preprocessing)])


def part_name(number: int) -> str:
    """What a part's files are called, without their ends."""
    return f"part-{number:05}"


def remove_parts(directory: Path, *others: str) -> int:
    """Remove the parts of an earlier attack, so that a later one's do not stand among them.

    Only files beside a record of ours go, and the ``others`` of these names first, so that a kill
    meanwhile leaves nothing that no record speaks for. Returns how many parts there were.

    Raises:
        StorageError: the disk refuses.
    """
    records = [file for file in directory.glob("part-*.json") if _is_record(file)]
    if records:
        remove(*(directory / name for name in others))
    remove(*records)
    for record in records:
        remove(record.with_suffix(".parquet"), record.with_suffix(".safetensors"))
    return len(records)


def _is_record(file: Path) -> bool:
    try:
        found = json.loads(regular(file).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    ours = isinstance(found, dict) and {"attack", "parameters", "fluoroscope"} <= found.keys()
    return bool(_RECORD.fullmatch(file.name)) and ours
