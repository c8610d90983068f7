"""What is known of the pictures of a reading without looking at any: labels, targets, sources."""

import hashlib
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from fluoroscope.arrow import table_of
from fluoroscope.data.columns import read_classes
from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.labels import Truth
from fluoroscope.errors import UnknownLabelError
from fluoroscope.models.classifier import Classifier
from fluoroscope.neurons.reading.store import SCHEMA, UNKNOWN, Found
from fluoroscope.words import count


@dataclass(frozen=True)
class Known:
    """What is known of the pictures without looking at any."""

    model: Classifier
    images: ImageSet
    indices: tuple[int, ...]
    labels: Tensor
    targets: Tensor
    sources: Tensor
    notes: tuple[str, ...]

    @classmethod
    def of(cls, model: Classifier, images: ImageSet) -> "Known":
        """Labels and targets in the network's numbering; where they have none in it, a note."""
        notes = list(images.notes)
        labels = targets = None
        if images.class_numbers() is None and images.why_unlabelled:
            notes.append(f"the pictures have no labels: {images.why_unlabelled}")
        try:
            truth = Truth.of(model, images)
            notes = [*notes, *(note for note in truth.notes if note not in notes)]
            labels = _numbered(truth, images.class_numbers())
            targets = _numbered(truth, _column(images, "target"))
        except UnknownLabelError as problem:
            notes.append(f"labels and targets of {images.name} are not used: {problem}")
            labels = targets = None
        sources = _column(images, "source", words=False)
        unknown = torch.full((len(images),), UNKNOWN, device="cpu")
        labels, targets, sources = (
            unknown if each is None else each for each in (labels, targets, sources)
        )
        return cls(model, images, images.indices, labels, targets, sources, tuple(notes))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def hash(self) -> str:
        """Of labels, targets and sources."""
        digest = hashlib.sha256()
        for column in (self.labels, self.targets, self.sources):
            digest.update(column.numpy().data)
        return digest.hexdigest()

    def rows(self, positions: range, found: Found) -> pa.Table:
        """The rows of a part."""
        at = slice(positions.start, positions.stop)
        indices = self.indices[at]
        columns: dict[str, Any] = {
                "index": indices, "name": self.images.names(indices),
                "label": self.labels[at].numpy(), "target": self.targets[at].numpy(),
                "source": self.sources[at].numpy(), **found.seen,
        }  # fmt: skip
        return table_of(columns, SCHEMA)


def _numbered(truth: Truth, given: Tensor | None) -> Tensor | None:
    """The data's class numbers as the network's; -1 stays."""
    if given is None:
        return None
    model, numbers = truth.model, truth.numbers
    if int(given.max()) >= (model.num_classes if numbers is None else len(numbers)):
        raise UnknownLabelError(
            f"there is a class {int(given.max())}, and {model.name} has "
            f"{count(model.num_classes, 'class', 'classes')}, 0 to {model.num_classes - 1}"
        )
    own = given if numbers is None else numbers[given.clamp_min(0)]
    return torch.where(given >= 0, own, UNKNOWN)


def _column(images: ImageSet, name: str, *, words: bool = True) -> Tensor | None:
    """The numbers of a column of the data, or of the classes that it names; ``None`` of others."""
    if name not in images.columns:
        return None
    values = images.column(name)
    if any(isinstance(each, str) for each in values) and not (words and images.labels):
        return None
    return read_classes(values, images.labels).numbers
