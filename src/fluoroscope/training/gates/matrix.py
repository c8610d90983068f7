"""The gates of a training: which filters serve which classes; in a file, and as a picture."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from fluoroscope.errors import ResultFormatError
from fluoroscope.files import user_path
from fluoroscope.pictures import html
from fluoroscope.tensor_files import read_tensors, write_tensors
from fluoroscope.words import class_names, count, number, percent, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OPEN = 0.5
"""Above it a gate counts as open, and its filter as one of the class."""
ENDING = ".gates.safetensors"
"""Of the file beside the weights ``NAME.safetensors``."""
# Classes that get a line of their own in a picture, and filters that are numbered there.
_NAMED, _NUMBERED = 40, 128


@dataclass(frozen=True, repr=False, eq=False)
class GateMatrix(html.Shown):
    """Gates of ``C`` classes and ``K`` filters."""

    values: Tensor
    """``(C, K)``, in ``[0, 1]``."""
    layer: str
    """Whose filters they are, as in ``model.module.named_modules()``."""
    classes: tuple[str, ...]
    """Their ``C`` names."""

    @property
    def density(self) -> float:
        """The mean gate, from 0 to 1; that of filters with one class each is ``1 / C``."""
        return float(self.values.double().mean())

    @property
    def classes_per_filter(self) -> float:
        """How many classes a filter is open to on average: gates above :data:`OPEN`."""
        return float((self.values > OPEN).sum(0).double().mean())

    @property
    def filters_of(self) -> list[list[int]]:
        """Of each class the filters that are open to it."""
        return [row.nonzero()[:, 0].tolist() for row in self.values > OPEN]

    def describe(self) -> dict[str, Any]:
        """As plain values, without the numbers."""
        return {
            "layer": self.layer,
            "filters": self.values.shape[1],
            "classes": len(self.classes),
            "density": self.density,
            "classes_per_filter": self.classes_per_filter,
            "filters_of_class": [len(own) for own in self.filters_of],
        }

    def save(self, path: str | Path) -> Path:
        """Write the gates as safetensors, whole or not at all.

        Raises:
            StorageError: the disk is full, or refuses.
        """
        found = user_path(path)
        about = {"layer": self.layer, "classes": json.dumps(self.classes)}
        write_tensors(found, {"gates": self.values}, about)
        return found

    def figure(self) -> "Figure":
        """Classes by filters as colours, filters in the order of the class that they serve most.

        Of filters that are open to no or several classes alike, the first such class counts.
        """
        from matplotlib.figure import Figure

        order = self.values.argmax(0).argsort(stable=True)
        classes, filters = self.values.shape
        height = min(9.0, 1.3 + max(1.2, 0.24 * classes))
        figure = Figure(figsize=(9.0, height), layout="constrained", dpi=150)
        axes = figure.subplots()
        image = axes.imshow(
            self.values[:, order].numpy(), cmap="viridis", vmin=0, vmax=1, aspect="auto"
        )
        if classes <= _NAMED:
            names = [shortened(name) for name in class_names(self.classes)]
            axes.set_yticks(range(classes), names, fontsize=8)
            for label in axes.get_yticklabels():
                label.set_parse_math(False)  # names are data: a "$" in one is no formula
        if filters <= _NUMBERED:
            axes.set_xticks(range(filters), list(map(str, order.tolist())), fontsize=6, rotation=90)
        else:
            axes.set_xticks([])
        axes.set_xlabel("filter, in the order of the class it serves most", fontsize=9)
        axes.set_ylabel("class", fontsize=9)
        axes.set_title(self._line(), parse_math=False, fontsize=9)
        figure.colorbar(image, ax=axes, fraction=0.03).set_label("gate", fontsize=9)
        return figure

    def _line(self) -> str:
        each = number(self.classes_per_filter, 2)
        return (
            f"gates of {count(self.values.shape[1], 'filter')} of the layer {self.layer} for "
            f"{count(len(self.classes), 'class', 'classes')}: density {percent(self.density)}, "
            f"{each} classes a filter"
        )

    def _view(self) -> Iterator[html.Html]:
        names = class_names(self.classes)
        rows = [
            [names[place], str(len(own)), ", ".join(map(str, own[:12])) + (" …" * (len(own) > 12))]
            for place, own in enumerate(self.filters_of[: html.ROWS + 1])
        ]
        yield html.table(["class", "filters", "which"], rows, right=(1,))


def load_gates(path: str | Path) -> GateMatrix:
    """The gates that a training left: ``NAME.gates.safetensors``.

    Raises:
        ResultFormatError: there are none, or they are damaged.
    """
    found = user_path(path)
    try:
        tensors, about = read_tensors(found)
        values, classes = tensors["gates"], json.loads(about["classes"])
        if values.dim() != 2 or not values.is_floating_point() or values.numel() == 0:
            raise ValueError(f"its gates are {values.dtype} of shape {tuple(values.shape)}")
        if not isinstance(classes, list) or len(classes) != len(values):
            raise ValueError(f"it names {len(classes)} classes for {len(values)}")
        if not bool(((values >= 0) & (values <= 1)).all()):
            raise ValueError("its gates are not all from 0 to 1")
        return GateMatrix(values.to(torch.float32), about["layer"], tuple(map(str, classes)))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
        reason = " ".join(str(problem).split())[:300]
        raise ResultFormatError(
            f"{path} cannot be read as gates ({reason}); expected the NAME{ENDING} that a training "
            "with gates left beside its weights"
        ) from problem
