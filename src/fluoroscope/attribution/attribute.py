"""The door of every attribution method: it checks what is given and makes the result."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fluoroscope.attacks.attack import as_plain
from fluoroscope.attribution.baselines import Baseline
from fluoroscope.attribution.classes import Targets, as_targets
from fluoroscope.attribution.doubts import (
    Told,
    allowed,
    converging,
    of_answers,
    of_coverage,
    of_parts,
    of_promise,
)
from fluoroscope.attribution.method import Method
from fluoroscope.attribution.registry import make_method
from fluoroscope.attribution.result import BY_MAPS, NOT_VALID, SHOWN, Attribution
from fluoroscope.attribution.search import Explained, explain
from fluoroscope.engine import randomness
from fluoroscope.engine.first_look import notes_of, remind
from fluoroscope.engine.predict import Prediction, check_batch_size, predict, suitable_batch
from fluoroscope.engine.provenance import provenance
from fluoroscope.engine.stream import Step
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.pictures.checks import check_images


class Described(Protocol):
    """Something that has plain values."""

    def describe(self) -> dict[str, Any]:
        """They."""


class Judge(Protocol):
    """An audit, as far as it is asked here."""

    def is_of(self, model: Classifier) -> bool:
        """Whether it is of this network."""

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that have a verdict."""

    def verdict(self, method: str) -> Described:
        """What it says of a method."""


def attribute(
    model: Classifier | nn.Module,
    images: Tensor,
    classes: Targets | None = None,
    *,
    method: str | Method = "gradient",
    batch_size: int | None = None,
    seed: int = 0,
    numbers: Tensor | None = None,
    on_step: Callable[[Step], None] | None = None,
    on_share: Callable[[float], None] | None = None,
    audit: Judge | None = None,
    **options: Any,
) -> Attribution:
    """Which pixels a decision depends on, by one of many methods.

    Args:
        model: the network under study.
        images: ``(N, C, H, W)`` or one ``(C, H, W)``, in ``[0, 1]``.
        classes: what is explained: a class for all pictures or one for each (label, unique prefix
            or index); a tuple ``(a, b)`` is the difference of their logits, "why a and not b", for
            all pictures, and a list of tuples one for each. By default the predicted class.
        method: by name; ``fluoroscope attribute list`` lists them.
        batch_size: images evaluated at once; by default 64, or fewer large ones on a processor.
        seed: for everything random; a picture's map depends on it and the picture's number alone.
        numbers: ``(N,)``, which pictures of their data set these are; by default 0 and up.
        on_step: called with every step.
        on_share: called after it with the share of the work that lies behind, from 0 to 1; it falls
            where a method finds that it needs more.
        audit: what :func:`fluoroscope.audit` found of this network, whose verdict on the method the
            result is to carry.
        options: the method's own.

    Raises:
        InvalidImagesError, UnknownLabelError, InvalidParameterError: what was given is unusable.
        NoGradientError: the logits do not depend differentiably on the pixels.
    """
    model = as_classifier(model)
    batch = check_images(images, model.channels)
    how = make_method(method, **options)
    given = batch.to(model.device, model.dtype)
    size = suitable_batch(given) if batch_size is None else check_batch_size(batch_size)
    seed = randomness.as_seed(seed)
    numbers = torch.arange(len(batch), device="cpu") if numbers is None else numbers
    if numbers.shape != (len(batch),):
        raise InvalidParameterError(
            f"numbers have shape {tuple(numbers.shape)}; expected ({len(batch)},), one each"
        )
    said = predict(model, batch if classes is None else batch[:SHOWN], batch_size=size)
    targets = as_targets(model, said.winners if classes is None else classes, batch)
    answers = answers_of(Prediction(said.logits[:SHOWN], said.labels), targets)
    verdict = _verdict(audit, model, how.name)
    remind(model)
    found = explain(
        model,
        how,
        given,
        targets,
        seed=seed,
        numbers=numbers,
        batch_size=size,
        on_step=on_step,
        on_share=on_share,
    )
    assert found is not None
    how = found.method
    doubts = _doubts(model, how, found)
    bad = [words for kind, words in doubts if kind == NOT_VALID]
    if verdict is None and bad:
        # What the maps alone show needs no audit.
        verdict = {"method": how.name, "verdict": NOT_VALID, "same_as": None, "reasons": bad}
        verdict["by"] = BY_MAPS
    notes = [*notes_of(model), *how.remarks(found.error)]
    notes += [f"{how.name}: {words[:1].lower()}{words[1:]}" for _, words in doubts]
    record = {
        **stated(how),
        **how.facts(),
        "coverage": found.coverage.describe() if found.coverage is not None else None,
        "answers": answers,
        "batch_size": size,
        "seed": seed,
        "notes": notes,
        **provenance(model),
    }
    return Attribution(
        maps=found.maps,
        images=batch.cpu(),
        targets=targets.cpu(),
        values=found.values,
        error=found.error,
        forwards=found.forwards,
        backwards=found.backwards,
        numbers=numbers,
        record=record,
        labels=model.labels,
        notes=tuple(notes),
        verdict=verdict,
    )


def _verdict(audit: Judge | None, model: Classifier, method: str) -> dict[str, Any] | None:
    """What an audit says of a method, if it is among those that it looked at.

    Raises:
        InvalidParameterError: the audit is of another network.
    """
    if audit is None:
        return None
    if not audit.is_of(model):
        raise InvalidParameterError(
            f"audit is of another network than {model.name}, or of other weights or code; "
            "expected one that was made of it: audit=fluoroscope.audit(model, images)"
        )
    return audit.verdict(method).describe() if method in audit.methods else None


def answers_of(said: Prediction, targets: Tensor) -> list[dict[str, Any]]:
    """What the network says of the first pictures: its two best classes, and of the targets."""
    shares, classes = said.probabilities.topk(min(2, len(said.labels)), 1)
    rows = targets[: len(shares)].cpu()
    rows = rows if rows.dim() == 2 else rows.unsqueeze(1)
    sure = said.probabilities.gather(1, rows).tolist()
    best = [
        [list(one) for one in zip(*each, strict=True)]
        for each in zip(classes.tolist(), shares.tolist(), strict=True)
    ]
    return [{"best": each, "targets": of} for each, of in zip(best, sure, strict=True)]


def _doubts(model: Classifier, how: Method, found: Explained) -> list[Told]:
    """What the maps themselves give reason to doubt: the audit's checks that cost nothing."""
    coverage = None if found.coverage is None else found.coverage.describe()
    told = of_coverage(coverage, how.promise)
    error = found.error
    if how.promise is not None and not how.remarks(error) and not bool(error.isnan().any()):
        share = (found.maps.double().flatten(1).sum(1) / found.values).nan_to_num()
        limit = converging(how)
        tolerance = max(
            allowed(how.promise, model, converges=limit), float(getattr(how, "tolerance", 0))
        )
        told += of_promise(how.promise, error.tolist(), share.tolist(), tolerance, converges=limit)
        told += of_parts(found.maps, allowed(how.promise, model))
    told += of_answers(model.plain, found.maps, found.values, how.promise is None)
    return [one for one in told if one[0] != "valid"]


def stated(method: Method) -> dict[str, Any]:
    """A method's name, options and promise as plain values."""
    return {
        "method": method.name,
        "options": {
            field.name: _plain(getattr(method, field.name))
            for field in fields(method)
            if field.init
        },
        "promise": method.promise,
    }


def _plain(value: Any) -> Any:
    return value.describe() if isinstance(value, Baseline) else as_plain(value)
