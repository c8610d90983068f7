"""What comes of a training: the network, its record, its curves, and their files."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save
from torch import Tensor

from fluoroscope.files import atomic_set
from fluoroscope.models.classifier import Classifier
from fluoroscope.pictures import html
from fluoroscope.pictures.training_curves import training_curves
from fluoroscope.training.job.history import Keeping, Point
from fluoroscope.words import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTE = (
    "The weights were learnt from the training pictures that were not held out; neither those, "
    "which judged the epochs, nor those of the test were among them."
)
BUILT_IN_NOTE = (
    "The weights were learnt from the training split less what was held out, never from the test "
    "split or the built-in pictures; the recipe was chosen with the accuracy on both in view."
)


@dataclass(frozen=True, repr=False)
class Trained(html.Shown):
    """A trained network, and where it was written."""

    classifier: Classifier
    record: dict[str, Any]
    """How it was made and what it reached, as plain values."""
    weights: Path
    """``NAME.safetensors``; the record lies beside it as ``NAME.json``, and the curves as
    ``NAME.curves.png`` and, every point a line, ``NAME.curves.csv``."""
    history: tuple[Point, ...] = ()
    """How the training went, a few hundred points; of each epoch see ``record["history"]``."""
    best: Path | None = None
    """``NAME.best.safetensors``: the weights before the training overfitted to its own attack,
    where it did."""
    beside: tuple[Path, ...] = ()
    """Files of what went along, such as a matrix of gates."""

    def _line(self) -> str:
        reached = self.record.get("accuracy", {}).get("test")
        accuracy = "" if reached is None else f", accuracy {percent(reached)} on the test split"
        return f"{self.classifier.name}{accuracy}: {self.weights}"

    def _view(self) -> Iterator[html.Html]:
        record = self.record
        reached, recipe, data = (record.get(name, {}) for name in ("accuracy", "recipe", "data"))
        learnt = data.get("learnt_from", data.get("train", 0))
        yield html.facts(
            [
                ("learnt from", f"{learnt:,} pictures of {data.get('name', '')}"),
                *(
                    (f"accuracy, {name.replace('_', ' ')}", percent(share))
                    for name, share in reached.items()
                ),
                ("epochs", str(recipe.get("epochs", ""))),
                ("against", str(record.get("adversarial", {}).get("method", ""))),
                ("again by", str(record.get("command", ""))),
            ]
        )
        yield html.paragraph(str(record.get("note", "")))


def write_weights(
    path: Path, state: Mapping[str, Tensor], record: dict[str, Any], about: Mapping[str, str] | None
) -> None:
    """Write weights by name, and the record beside them with their hash.

    Raises:
        StorageError: the disk is full, or refuses.
    """
    # Copies, since a file cannot hold weights that share memory.
    copies = {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}
    content = save(copies, None if about is None else dict(about))
    record["sha256"] = hashlib.sha256(content).hexdigest()
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    with atomic_set(path.with_suffix(".json"), path) as (record_draft, weights_draft):
        weights_draft.write_bytes(content)
        record_draft.write_text(text, encoding="utf-8")


def curves_of(
    history: Keeping,
    steps: int,
    epochs: int,
    name: str,
    right: str = "classified correctly",
    *,
    moved: bool = False,
    ramp: float = 0.0,
) -> "Figure":
    """The curves of a training of so many steps, as far as it is.

    ``right`` says what its accuracies are shares of; ``moved`` that those of the batches are of
    moved pictures, over a share ``ramp`` of the steps not as far as at the end.
    """
    points, scale = history.points, epochs / steps
    terms = {name for point in points for name in point.terms}
    judged = {
        "held out": "held_out",
        "held out under attack": "held_out_adversarial",
    }
    batches = "batches (moved pictures)" if moved else "batches"
    accuracies = {batches: [(scale * point.step, point.accuracy) for point in points]}
    for words, field in judged.items():
        found = [(scale * one.step, getattr(one, field)) for one in points]
        if any(value is not None for _, value in found):
            accuracies[words] = [(at, value) for at, value in found if value is not None]
    # Where terms come and go, the loss of one batch says nothing beside that of the next.
    comes_and_goes = any(set(before.terms) - set(after.terms) for before, after in pairwise(points))
    return training_curves(
        [(scale * one.step, one.loss) for one in (history.epochs if comes_and_goes else points)],
        accuracies,
        [(scale * point.step, point.learning_rate) for point in points],
        terms={
            name: [(scale * one.step, one.terms[name]) for one in points if name in one.terms]
            for name in sorted(terms)
        },
        epochs=epochs,
        title=f"{name}: {points[-1].step:,} of {steps:,} steps",
        right=right,
        loss_is="loss (mean of an epoch)" if comes_and_goes else "loss",
        whole=ramp * epochs if ramp else None,
    )
