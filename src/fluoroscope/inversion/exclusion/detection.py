"""What a network says of pictures that show none of its classes, in numbers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fluoroscope.engine.classes import Given, class_values
from fluoroscope.engine.intervals import wilson
from fluoroscope.engine.predict import predict
from fluoroscope.engine.provenance import provenance
from fluoroscope.engine.separation import Separation, separation
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.inversion.exclusion.uncertainty import uncertainty
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.labels import NONE_OF_THESE, printable
from fluoroscope.pictures import html
from fluoroscope.pictures.checks import check_images
from fluoroscope.words import count, number, percent

SCORES = {
    "uncertainty": "UE of all outputs",
    "garbage": f"probability of {NONE_OF_THESE!r}",
    "msp": "1 - the largest probability of a class",
}
"""What pictures are told apart by; ``msp`` is the usual baseline (Hendrycks and Gimpel 2017)."""


@dataclass(frozen=True)
class Share:
    """How many of so many pictures."""

    many: int
    of: int

    @property
    def value(self) -> float:
        """Between 0 and 1."""
        return self.many / self.of

    def describe(self) -> dict[str, object]:
        """As plain values, with Wilson's interval."""
        return {"many": self.many, "of": self.of, "share": self.value,
                "interval": list(wilson(self.many, self.of))}  # fmt: skip


@dataclass(frozen=True)
class Outside:
    """What the network says of one set of pictures from elsewhere."""

    name: str
    pictures: int
    excluded: Share | None
    """Predicted as none of the classes; ``None`` of a network that cannot."""
    scores: dict[str, Separation]
    """How well each of :data:`SCORES` tells them from familiar pictures."""

    def describe(self) -> dict[str, object]:
        """As plain values."""
        return {
            "name": self.name,
            "pictures": self.pictures,
            "excluded": None if self.excluded is None else self.excluded.describe(),
            "scores": {name: one.describe() for name, one in self.scores.items()},
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class Detection(html.Shown):
    """How a network tells familiar pictures from others."""

    accuracy: Share | None
    """Of the familiar pictures, those classified correctly; ``None`` without labels."""
    excluded: Share | None
    """Of the familiar pictures, those wrongly predicted as none of the classes."""
    outside: tuple[Outside, ...]
    record: dict[str, Any]

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "accuracy": None if self.accuracy is None else self.accuracy.describe(),
            "excluded": None if self.excluded is None else self.excluded.describe(),
            "outside": [one.describe() for one in self.outside],
            "scores": SCORES,
            "record": self.record,
        }

    def table(self) -> list[list[str]]:
        """Of each set: its name, pictures, share excluded, AUROC and FPR95 by each score."""
        return [
            [
                one.name,
                f"{one.pictures:,}",
                "–" if one.excluded is None else percent(one.excluded.value),
                *(
                    f"{number(one.scores[name].auroc)} / {percent(one.scores[name].fpr95)}"
                    if name in one.scores
                    else "–"
                    for name in SCORES
                ),
            ]
            for one in self.outside
        ]

    def _line(self) -> str:
        right = "" if self.accuracy is None else f", accuracy {percent(self.accuracy.value)}"
        best = [f"{one.name} {number(_best(one).auroc)}" for one in self.outside[:4]]
        return f"{self.record.get('model')}{right}, AUROC {', '.join(best)}"

    def _view(self) -> Iterator[html.Html]:
        if self.excluded is not None:
            yield html.paragraph(
                f"{percent(self.excluded.value)} of {self.excluded.of:,} familiar pictures are "
                f"predicted as {NONE_OF_THESE!r}"
            )
        yield html.table(
            ("pictures of", "pictures", "excluded", *(f"AUROC / FPR95, {name}" for name in SCORES)),
            self.table(),
            right=(1, 2, 3, 4, 5),
        )


def detection(
    model: Classifier | nn.Module,
    inside: Tensor | tuple[Tensor, Given],
    outside: Tensor | Mapping[str, Tensor],
    *,
    batch_size: int = 64,
) -> Detection:
    """How well a network tells familiar pictures from others, by its uncertainty and more.

    A network whose last class is ``"none of these"``, as ``fluoroscope train --recipe exclude``
    makes it, can exclude pictures and is judged by the probability of that class too; any other is
    judged by its uncertainty and by the usual baseline alone.

    Args:
        model: the network.
        inside: familiar pictures ``(N, C, H, W)`` in ``[0, 1]``, best with their classes ``(N,)``:
            of a test split.
        outside: pictures of something else, or several sets by name.
        batch_size: pictures at once.

    Raises:
        InvalidImagesError: pictures that the network does not take, or none.
        UnknownLabelError: classes that the network does not have.
        InvalidParameterError: no set outside.
    """
    model = as_classifier(model)
    pictures, labels = inside if isinstance(inside, tuple | list) else (inside, None)
    sets = {"outside": outside} if isinstance(outside, Tensor) else dict(outside)
    if not sets:
        raise InvalidParameterError("outside holds no pictures; expected one set or more by name")
    ready = {name: _checked(each, model, f"outside {name!r}") for name, each in sets.items()}
    familiar = _checked(pictures, model, "inside")
    said = predict(model, familiar, batch_size=batch_size).logits
    none = none_class(model)
    right = None
    if labels is not None:
        classes = class_values(labels, len(familiar), model.labels, model.name, whole=True)
        right = Share(int((said.argmax(1) == classes).sum()), len(said))
    own = oddness(said, none, log_probabilities=model.log_probabilities)
    found = []
    for name, each in ready.items():
        theirs = predict(model, each, batch_size=batch_size).logits
        odd = oddness(theirs, none, log_probabilities=model.log_probabilities)
        found.append(
            Outside(
                printable(name),
                len(each),
                _excluded(theirs, none),
                {score: separation(own[score], odd[score]) for score in own},
            )
        )
    record = {"pictures": len(familiar), **provenance(model)}
    return Detection(
        accuracy=right, excluded=_excluded(said, none), outside=tuple(found), record=record
    )


def none_class(model: Classifier) -> int | None:
    """The number of the class for what is none of the others; ``None`` where there is none."""
    return model.num_classes - 1 if model.labels[-1] == NONE_OF_THESE else None


def oddness(
    logits: Tensor, none: int | None, *, log_probabilities: bool = False
) -> dict[str, Tensor]:
    """Each of :data:`SCORES` that there is, ``(N,)``, of logits ``(N, K)``."""
    raw = logits.double()
    sure = raw.exp() if log_probabilities else raw.softmax(1)
    found = {"uncertainty": uncertainty(sure)}
    classes = sure
    if none is not None:
        found["garbage"] = sure[:, none]
        classes = sure[:, :none]
    found["msp"] = 1 - classes.amax(1)
    return found


def _excluded(logits: Tensor, none: int | None) -> Share | None:
    if none is None:
        return None
    return Share(int((logits.argmax(1) == none).sum()), len(logits))


def _checked(images: Any, model: Classifier, name: str) -> Tensor:
    try:
        found = check_images(images, model.channels)
    except InvalidImagesError as problem:
        raise InvalidImagesError(f"{name}: {problem}") from problem
    if not len(found):
        raise InvalidImagesError(f"{name} holds no pictures; expected one or more")
    return found


def _best(one: Outside) -> Separation:
    return max(one.scores.values(), key=lambda each: each.auroc)


def describe_in_words(found: Detection) -> list[str]:
    """A sentence for each set, for a terminal."""
    said = []
    for one in found.outside:
        excluded = ""
        if one.excluded is not None:
            excluded = f"{percent(one.excluded.value)} of {count(one.pictures, 'picture')} excluded"
        ways = ", ".join(
            f"{number(each.auroc)} by {_SHORT[name]} (FPR95 {percent(each.fpr95)})"
            for name, each in one.scores.items()
        )
        said.append(f"{one.name}: {excluded + '; ' if excluded else ''}AUROC {ways}")
    return said


_SHORT = {"uncertainty": "uncertainty", "garbage": "that class", "msp": "largest probability"}
