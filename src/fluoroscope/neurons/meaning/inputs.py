"""What is given of real and adversarial pictures, checked, and put together for the measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fluoroscope.errors import InvalidParameterError
from fluoroscope.neurons.meaning.arrays import Numbers, Values, blocks
from fluoroscope.neurons.meaning.of_units import Pictures
from fluoroscope.words import count

if TYPE_CHECKING:
    from fluoroscope.neurons.reading.activations import Activations

Rows = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Inputs:
    """Pictures that can be used, of each kind, and which belong together."""

    sets: dict[str, Pictures]
    """By :data:`.of_units.KINDS`."""
    concepts: tuple[str, ...]
    """What units may be named by."""
    indices: Numbers
    """Of the real pictures ``(N,)`` in their data set."""
    sources: Numbers
    """The index that each adversarial one was made of ``(M,)``, -1 where it is not known."""
    partners: Numbers
    """The row of that among the real ones ``(M,)``, -1 where it is not there."""
    led_to: Numbers
    """The class that each is predicted as, where it was aimed at it ``(M,)``; else -1."""
    accuracy: float
    """The share of the real pictures that the network classifies correctly."""
    notes: tuple[str, ...]

    @property
    def real(self) -> Pictures:
        """The real pictures."""
        return self.sets["real"]

    @property
    def adversarial(self) -> Pictures:
        """The adversarial pictures."""
        return self.sets["adversarial"]


def put_together(
    real: "Activations", adversarial: "Activations", noisy: "Activations | None",
    concepts: Sequence[str] | None, successful: bool,
) -> Inputs:  # fmt: skip
    """Check what :func:`.consistency` is given.

    Raises:
        InvalidParameterError: it does not fit together.
    """
    notes: list[str] = []
    _check_same(real, adversarial, "adversarial")
    names, of_real, of_adversarial = _concepts(real, adversarial, concepts)
    known = (real.labels >= 0) & (of_real >= 0)
    usable = (adversarial.labels >= 0) & (adversarial.targets >= 0) & (of_adversarial >= 0)
    usable &= adversarial.labels != adversarial.targets
    _tell_of_rows(known, usable, notes)
    success = adversarial.predicted == adversarial.targets
    if successful:
        if not (success & usable).any():
            raise InvalidParameterError(
                "successful was given, and the network predicts none of the adversarial pictures "
                "as their target; expected all of them: leave it out"
            )
        usable = usable & success
    named = concepts is not None
    sets = {"real": _pictures(real, known, of_real if named else None)}
    if noisy is None:
        notes.append(
            "label flips under noise were not measured, for noisy= pictures were not given"
        )
    else:
        _check_same(real, noisy, "noisy")
        if not np.array_equal(noisy.indices, real.indices):
            raise InvalidParameterError(
                "noisy is of other pictures than real; expected the same ones, in their order"
            )
        own = sets["real"]
        sets["noisy"] = Pictures(_rows(noisy.values, known), own.labels, own.concepts)
    sets["adversarial"] = _pictures(adversarial, usable, of_adversarial if named else None)
    indices, sources = real.indices[known], adversarial.sources[usable]
    partners = partners_of(indices, sources)
    _check_partners(sets, partners, notes)
    return Inputs(
        sets, names, indices, sources, partners,
        np.where(success[usable], adversarial.targets[usable], -1),
        float((real.predicted == real.labels)[known].mean()), tuple(notes),
    )  # fmt: skip


def _check_same(real: "Activations", other: "Activations", name: str) -> None:
    """Both are of one layer of one network, read alike."""
    for given, of in ((real, "real"), (other, name)):
        if not hasattr(given, "units"):
            raise InvalidParameterError(
                f"{of} is a {type(given).__name__}; expected what fs.neurons.read gives"
            )
    for key, said in (("model_sha256", "network"), ("labels", "classes")):
        if real.record.get(key) != other.record.get(key):
            raise InvalidParameterError(
                f"real and {name} are activations of another {said}; expected both of the same: "
                "read both from one network"
            )
    for key in ("layer", "call", "count"):
        one, two = getattr(real.units, key), getattr(other.units, key)
        if one != two:
            raise InvalidParameterError(
                f"real and {name} are activations of two layers ({key} {one!r} and {two!r}); "
                "expected both of the same one"
            )
    if real.reduction != other.reduction:
        raise InvalidParameterError(
            f"real and {name} are reduced differently ({real.reduction} and {other.reduction}); "
            "expected both alike"
        )
    for found, of in ((real, "real"), (other, name)):
        for rows in blocks(len(found.values)):
            if not np.isfinite(found.values[rows]).all():
                raise InvalidParameterError(
                    f"{of} holds activations that are NaN or infinite; expected finite ones: leave "
                    "out the pictures that make them so"
                )


def _tell_of_rows(known: Rows, usable: Rows, notes: list[str]) -> None:
    if known.sum() < 2:
        raise InvalidParameterError(
            f"real has {count(int(known.sum()), 'picture')} with a label; expected 2 or more: "
            "choose labelled data"
        )
    if not usable.any():
        raise InvalidParameterError(
            "adversarial is of pictures without a true class or a target that is another; expected "
            "a set with the column 'target', as fluoroscope neurons adversarial makes one"
        )
    for there, what in (
        (known, "real pictures without a label"),
        (usable, "adversarial pictures without a true class, or a target that is another"),
    ):
        if not there.all():
            notes.append(f"left out {int((~there).sum()):,} of {len(there):,} {what}")


def _concepts(
    real: "Activations", adversarial: "Activations", given: Sequence[str] | None
) -> tuple[tuple[str, ...], Numbers, Numbers]:
    """What units may be named by, and the number of it for each picture of both kinds."""
    if given is None:
        return real.classes, real.labels, adversarial.labels
    if len(given) != len(real.labels):
        raise InvalidParameterError(
            f"concepts are {len(given)} for {count(len(real.labels), 'real picture')}; expected "
            "one for each"
        )
    names, numbers = np.unique(np.asarray(given, dtype=str), return_inverse=True)
    partners = partners_of(real.indices, adversarial.sources)
    theirs = np.where(partners >= 0, numbers[partners.clip(0)], -1)
    if (theirs < 0).all():
        raise InvalidParameterError(
            "concepts were given, and no source of an adversarial picture is among the real ones; "
            "expected the pictures that they were made of"
        )
    return tuple(map(str, names)), numbers.astype(np.int64), theirs.astype(np.int64)


def _pictures(found: "Activations", there: Rows, concepts: Numbers | None) -> Pictures:
    labels = found.labels[there]
    own = labels if concepts is None else concepts[there]
    return Pictures(_rows(found.values, there), labels, own, found.targets[there])


def _rows(values: Values, there: Rows) -> Values:
    """Some rows; all of them as they lie, be it on disk."""
    return values if there.all() else values[there]


def partners_of(indices: Numbers, sources: Numbers) -> Numbers:
    """For each source the row of the picture with that index, -1 where it is not there."""
    order = np.argsort(indices, kind="stable")
    places = np.searchsorted(indices[order], sources).clip(max=len(indices) - 1)
    found = order[places]
    return np.where((indices[found] == sources) & (sources >= 0), found, -1).astype(np.int64)


def _check_partners(sets: dict[str, Pictures], partners: Numbers, notes: list[str]) -> None:
    own, made = sets["real"], sets["adversarial"]
    there = partners >= 0
    if not there.all():
        notes.append(
            f"of {int((~there).sum()):,} of {count(len(there), 'adversarial picture')} the source "
            "is not among the real ones; sensitivity and r2 are of the others"
        )
    if there.any():
        others = int((own.labels[partners] != made.labels)[there].sum())
        if 2 * others > there.sum():
            raise InvalidParameterError(
                f"{others:,} of {count(int(there.sum()), 'adversarial picture')} are of another "
                "class than the real picture that they say they were made of; expected real= to be "
                "the data set that they were made of"
            )
        if others:
            notes.append(
                f"{count(others, 'adversarial picture')} are of another class than their source"
            )
