"""Which units of a layer decided about a picture: exactly, and by cheap stand-ins beside it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.attribution.baselines import Given
from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine import randomness
from fluoroscope.engine.first_look import first_look, notes_of, remind
from fluoroscope.engine.predict import check_batch_size
from fluoroscope.engine.provenance import provenance
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.neurons.tracing.ablation import (
    MEASURES,
    as_put,
    class_numbers,
    pair_margin,
    rivals_of,
    single_effects,
)
from fluoroscope.neurons.tracing.approximations import (
    APPROXIMATIONS,
    STEPS,
    approximate,
    rank_correlation,
    top_agreement,
    top_of,
)
from fluoroscope.neurons.tracing.closed import effects_of
from fluoroscope.neurons.tracing.sets import SmallestSet, smallest_set
from fluoroscope.neurons.tracing.subject import Subject, one_picture
from fluoroscope.neurons.tracing.trace_result import Trace

# The share of the work that lies behind after effects, approximations and sets.
_AFTER = (0.5, 0.6, 0.95)


def trace(
    model: Classifier | nn.Module,
    image: Tensor,
    wanted: int | str | None = None,
    *,
    layer: str | None = None,
    call: int | None = None,
    put: str | float | Tensor = "zero",
    pictures: ImageSet | Tensor | None = None,
    approximations: tuple[str, ...] = APPROXIMATIONS,
    steps: int = STEPS,
    baseline: Given = "black",
    sets: bool = True,
    rounds: str | None = None,
    shown: int = 6,
    batch_size: int | None = None,
    seed: int = 0,
    on_share: Callable[[float], None] | None = None,
) -> Trace:
    """What every unit of a layer did to a decision, by removing it; and what cheaper ways say.

    Without a unit something else stands at all of its places (``put``). All units of the layer are
    removed, one at a time, for real: in batches through the part of the network from the layer on,
    or by a formula where the last linear layer tells the units apart, which is held against some
    that are removed.

    Args:
        model: the network.
        image: ``(C, H, W)`` or ``(1, C, H, W)`` in ``[0, 1]``.
        wanted: the class whose margin, logit and probability are asked about, by label, prefix or
            index; by default the predicted one. Of a misclassified picture give the true class:
            what spoke against it is what misled the network.
        layer: its name, as in ``model.module.named_modules()``; by default
            :func:`.usual.usual_layer`.
        call: which use of it in a pass, from 0; by default the last.
        put: what stands in a removed unit's place: ``"zero"``, ``"mean"`` of ``pictures``, a
            number, or one for each unit ``(K,)``.
        pictures: those that ``put="mean"`` is the mean of.
        approximations: which; of :data:`.approximations.APPROXIMATIONS`.
        steps: of the path of ``conductance``.
        baseline: where that path begins.
        sets: whether to look for the smallest set that changes the decision.
        rounds: ``exact`` or ``batches``; see :mod:`.sets`.
        shown: units of which it is shown where they looked, for the class and against it each.
        batch_size: copies at once; by default what suits the layer.
        seed: of the random orders beside the set.
        on_share: told the share of the work that lies behind.

    Raises:
        InvalidImagesError, InvalidParameterError, UnknownLabelError: what was given is unusable.
        ModelOutputError: logits that are NaN or infinite.
    """
    model = as_classifier(model)
    picture = one_picture(image, model)
    seed = randomness.as_seed(seed)
    if shown < 0:
        raise InvalidParameterError(f"shown is {shown}; expected 0 or more")
    if batch_size is not None:
        check_batch_size(batch_size)
    first_look(model, picture)
    remind(model)
    made = Subject(model, picture, layer, call, batch_size)
    predicted = int(made.predicted(picture).argmax())
    which = predicted if wanted is None else model.find_class(wanted)
    told = on_share or (lambda share: None)
    given = as_put(model, made.units, put, pictures)
    ablation = made.ablation(picture, given)
    measure = class_numbers(model, which)
    effects, how = effects_of(ablation, measure, lambda share: told(share * _AFTER[0]))
    cheap = approximate(ablation, which, approximations, steps=steps, baseline=baseline)
    told(_AFTER[1])
    found: SmallestSet | None = None
    if sets:
        span = _AFTER[2] - _AFTER[1]
        found = smallest_set(
            ablation, rounds, seed=seed, on_share=lambda share: told(_AFTER[1] + share * span)
        )
    told(_AFTER[2])
    rival = int(rivals_of(ablation.logits, which))
    loud = loudest(effects[:, 0], shown)
    beside = torch.zeros(0, dtype=torch.float64, device="cpu")
    if len(loud):
        beside = single_effects(ablation, pair_margin((which, rival)), among=loud)[:, 0]
    maps, looked, doubt = made.maps(picture, loud, (which, rival))
    values = measure(ablation.logits)[0].tolist()
    notes = [*notes_of(model), *made.notes(), *cheap.notes, *([doubt] if doubt else [])]
    agreement = {
        name: {
            "rank": rank_correlation(value, effects[:, 0]),
            "top": top_agreement(value, effects[:, 0], top_of(len(value))),
            "of": top_of(len(value)),
            "at_random": top_of(len(value)) / len(value),
        }
        for name, value in cheap.values.items()
    }
    record: dict[str, Any] = {
        **made.units.describe(),
        "put": given.name,
        "wanted": which,
        "predicted": predicted,
        "rival": rival,
        "measures": list(MEASURES),
        "values": dict(zip(MEASURES, values, strict=True)),
        "found": how,
        "approximations": list(cheap.values),
        "steps": steps,
        "baseline": baseline if isinstance(baseline, str | float) else "given",
        "agreement": agreement,
        "set": None if found is None else _of_set(found),
        "looked": looked,
        "before_left_out": ablation.rest.skips,
        "passes": ablation.passes,
        "seed": seed,
        **provenance(model),
    }
    empty = torch.zeros(0, dtype=torch.float64, device="cpu")
    none = torch.zeros(0, dtype=torch.long, device="cpu")
    told(1.0)
    return Trace(
        image=picture[0].cpu(),
        effects=effects.cpu(),
        activations=made.units.places(ablation.activation)[0].double().mean(1).cpu(),
        approximations=_stacked(list(cheap.values.values()), made.units.count),
        logits=ablation.logits[0].double().cpu(),
        shown=loud,
        shown_effects=beside.double().cpu(),
        maps=maps,
        set_order=none if found is None else found.order,
        set_curve=empty if found is None else found.curve,
        random_counts=none if found is None else found.random_counts,
        random_curves=empty[None].expand(0, 0) if found is None else found.random_curves,
        record=record,
        labels=model.labels,
        notes=tuple(dict.fromkeys(notes)),
    )


def loudest(margin: Tensor, many: int) -> Tensor:
    """The units that speak loudest for a class and against it, ``(M,)``, most for it first."""
    order = margin.argsort(descending=True, stable=True).cpu()
    sizes = margin.cpu()[order]
    for_it, against = order[sizes > 0][:many], order[sizes < 0]
    return torch.cat([for_it, against[max(0, len(against) - many) :]])


def _stacked(rows: list[Tensor], many: int) -> Tensor:
    if not rows:
        return torch.zeros(0, many, dtype=torch.float64, device="cpu")
    return torch.stack([row.double().cpu() for row in rows])


def _of_set(found: SmallestSet) -> dict[str, Any]:
    return {
        "decision": found.decision,
        "rounds": found.rounds,
        "size": found.size,
        "becomes": found.becomes,
        "random_size": found.random_size,
        "random_sizes": found.random_sizes,
        "passes": found.passes,
    }
