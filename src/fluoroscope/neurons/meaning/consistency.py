"""The door: what the units of a layer mean on real pictures, and what an attack makes of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from fluoroscope.engine import randomness
from fluoroscope.engine.numbers import whole_number
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.neurons.meaning.arrays import Numbers
from fluoroscope.neurons.meaning.class_similarity import ClassSimilarity, class_similarity
from fluoroscope.neurons.meaning.definitions import ACTIVE, DRAWS, FEW, TOP
from fluoroscope.neurons.meaning.histograms import shares
from fluoroscope.neurons.meaning.inputs import Inputs, put_together
from fluoroscope.neurons.meaning.of_layer import in_bins, of_layer
from fluoroscope.neurons.meaning.of_units import FLIPS, of_units
from fluoroscope.neurons.meaning.representations import ratios
from fluoroscope.neurons.meaning.resampling import resampled
from fluoroscope.neurons.meaning.result import Consistency
from fluoroscope.neurons.meaning.sensitivity import sensitivity
from fluoroscope.neurons.meaning.sharing import Sharing, sharing
from fluoroscope.notices import distinct
from fluoroscope.words import count, percent

if TYPE_CHECKING:
    from fluoroscope.neurons.reading.activations import Activations

# The distance between two class distributions from which on cosines compare them, not units.
_APART = 0.2


def consistency(
    real: "Activations",
    adversarial: "Activations",
    similarity: ClassSimilarity | str | Path = "weights",
    *,
    model: Classifier | nn.Module | None = None,
    noisy: "Activations | None" = None,
    concepts: Sequence[str] | None = None,
    top: int | None = None,
    weighted: bool = False,
    active: float = ACTIVE,
    successful: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
    on_share: Callable[[float], None] | None = None,
) -> Consistency:
    """Whether what the units of a layer answer to survives an attack.

    Which of the numbers are those of Dong et al. (2017) for sure, and which are inferred or ours,
    stands with each of them: :data:`.definitions.DEFINITIONS`.

    Args:
        real: what the layer says of real pictures with labels.
        adversarial: what the same layer says of pictures made of them, with their true classes,
            targets and sources; see :func:`.adversarial_set`.
        similarity: how alike classes are: a :class:`.ClassSimilarity`, or what
            :func:`.class_similarity` makes one of.
        model: the network, for the similarity of its weights.
        noisy: what it says of the same real pictures with noise; see :func:`.with_noise`. Without
            them label flips under noise are not measured.
        concepts: for each of the real pictures what a unit is named by where not by its class.
        top: so many pictures of each unit; by default 100, and a tenth of the pictures where there
            are fewer than 1,000.
        weighted: count these by how far they lift the unit above its lowest.
        active: the share of the units that pictures of a class are said to use.
        successful: only adversarial pictures that this network predicts as their target.
        draws: times that pictures are drawn again for the intervals.
        seed: of these draws.
        on_share: told the share of the work that lies behind.

    Raises:
        InvalidParameterError: activations of two layers, networks or data sets; pictures without
            labels or targets; a number out of its range.
    """
    seed, draws = randomness.as_seed(seed), whole_number("draws", draws)
    if not 0 < active <= 1:
        raise InvalidParameterError(f"active is {active}; expected more than 0, and 1 at most")
    if model is not None:
        _check_model(as_classifier(model), real)
    given = put_together(real, adversarial, noisy, concepts, successful)
    own, made, classes = given.real, given.adversarial, len(real.classes)
    assert made.targets is not None
    top = _top(top, min(len(own.labels), len(made.labels)))
    if not isinstance(similarity, ClassSimilarity):
        similarity = class_similarity(
            similarity, model=model, labels=real.classes, activations=real
        )
    if len(similarity.labels) != classes:
        raise InvalidParameterError(
            f"similarity is of {len(similarity.labels)} classes, and the network has {classes}; "
            "expected one of its own classes"
        )
    drawn = list(resampled(given.indices, given.sources, draws, seed))
    units = of_units(
        given.sets, similarity.matrix, len(given.concepts), top, weighted, drawn,
        on_share or (lambda share: None),
    )  # fmt: skip
    represented = ratios(
        own.values, own.labels, made.values, made.labels, made.targets, given.partners, classes
    )
    moved = sensitivity(own.values, made.values, given.partners)
    used = sharing(own.values, own.labels, made.values, given.led_to, classes, active)
    told = [*given.notes, *_remarks(given, used, classes), *_unnamed(units.labels["real"])]
    return Consistency(
        labels=real.classes,
        concepts=given.concepts,
        similarity=similarity,
        units={
            **units.numbers,
            **{f"label_{kind}": each for kind, each in units.labels.items()},
            **{FLIPS[kind]: each for kind, each in units.flipped.items()},
            "sensitivity": moved.units,
            "relative_sensitivity": moved.relative,
            "shared": used.shared,
            "adversarial_only": used.adversarial_only,
            "never_real": used.never_real.astype(np.int64),
        },
        pictures={"r1": represented.r1, "r2": represented.r2, "r1_real": represented.r1_real},
        layer=of_layer(units, represented, moved, used, drawn, _independent(given.sources)),
        bins=in_bins(units),
        record={
            **{name: real.record.get(name) for name in ("model", "model_sha256", "fluoroscope")},
            **real.units.describe(),
            "reduction": str(real.reduction),
            "data": real.record.get("data"),
            "adversarial_data": adversarial.record.get("data"),
            "pictures": {"real": len(own.labels), "adversarial": len(made.labels)},
            "top": top,
            "weighted": weighted,
            "active": active,
            "successful": successful,
            "draws": draws,
            "seed": seed,
            "accuracy": given.accuracy,
            "targeted_success": float((given.led_to >= 0).mean()),
            "noise": None if noisy is None else noisy.record.get("data"),
            "classes_used": int(used.measured.sum()),
        },
        notes=distinct([*real.notes, *adversarial.notes, *similarity.notes, *told]),
    )


def _independent(sources: Numbers) -> int:
    """How many real pictures adversarial ones were made of, each unknown one for itself."""
    return len(np.unique(sources[sources >= 0])) + int((sources < 0).sum())


def _check_model(model: Classifier, real: "Activations") -> None:
    """The network is the one whose activations they are, as far as these say."""
    if real.record.get("model_sha256") not in (None, model.fingerprint()):
        raise InvalidParameterError(
            f"model is {model.name}, and the activations are of another network "
            f"({real.record.get('model')}); expected the one that they were read from"
        )


def _top(given: int | None, pictures: int) -> int:
    if given is None:
        return min(TOP, max(1, pictures // 10))
    top = whole_number("top", given)
    if top >= pictures:
        raise InvalidParameterError(
            f"top is {top} of {count(pictures, 'picture')}; expected fewer than there are of "
            "either kind"
        )
    return top


def _remarks(given: Inputs, used: Sharing, classes: int) -> list[str]:
    """What a reader of the numbers should know of the pictures."""
    own, made, told = given.real, given.adversarial, []
    apart = np.abs(shares(own.labels, classes) - shares(made.labels, classes)).sum() / 2
    if apart > _APART:
        told.append(
            "the adversarial pictures are of other classes than the real ones (a total variation "
            f"of {apart:.2f}), which lowers CS1 whatever the units do"
        )
    counts = np.bincount(own.labels, minlength=classes)
    there = given.partners[given.partners >= 0]
    alone = int((counts[own.labels[there]] < 2).sum())
    if alone:
        told.append(
            f"of {count(alone, 'adversarial picture')} the source is the only real picture of its "
            "class, which r1 then takes for its class"
        )
    success = float((given.led_to >= 0).mean())
    if success < FEW:
        told.append(
            f"the network predicts {percent(success)} of the adversarial pictures as their target; "
            "what the others do to its units is no attack's success: successful=True leaves them "
            "out"
        )
    assert made.targets is not None
    strange = int((counts[made.targets] == 0).sum())
    if strange:
        told.append(
            f"of {count(strange, 'adversarial picture')} the target class has no real picture; r1 "
            "and r2 are of the others"
        )
    if not used.measured.any():
        told.append(
            "units shared were not measured, for the network predicts no adversarial picture as "
            "its target"
        )
    return told


def _unnamed(labels: Numbers) -> list[str]:
    """A note where hardly a unit has one label."""
    without = int((labels < 0).sum())
    if 2 * without <= len(labels):
        return []
    return [
        f"{without:,} of {count(len(labels), 'unit')} have no one label, for several classes are "
        "level among their pictures; where there are few pictures of each class, name units by "
        "groups of classes: concepts="
    ]
