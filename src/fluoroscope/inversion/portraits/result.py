"""What portraits come back with: pictures, how sure the network is of them, and how they came."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits.finished import Finished
from fluoroscope.inversion.portraits.second_opinion import Opinion, opinions
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.pictures import html
from fluoroscope.words import average, network_name, number, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

# Portraits that a notebook shows.
_SHOWN = 12


@dataclass(frozen=True, kw_only=True, repr=False)
class Portraits(Finished, html.Shown):
    """Finished portraits, which show themselves and are kept; see :class:`.Finished`."""

    def judged_by(self, second: Classifier | nn.Module) -> "Portraits":
        """The same portraits, with what a second network says of them.

        Raises:
            InvalidParameterError: it is the same network, or takes pictures of other channels.
        """
        judge = as_classifier(second)
        if judge.plain.fingerprint() == self.record.get("model_sha256"):
            raise InvalidParameterError(
                f"second is {judge.name}, the network under study itself; expected one that was "
                "trained independently, with another seed and best another architecture"
            )
        found = opinions(judge, self.images, self.targets, self.labels)
        return replace(self, second=found, record=self.record | {"second": judge.name})

    @property
    def caution(self) -> str:
        """What is to stand beside them."""
        return f"{_CAUTION}. {self.unreached}" if self.unreached else f"{_CAUTION}: {_SURE}"

    def gallery(self, *, transparent: bool = False) -> "Image":
        """All portraits as one picture, classes down and samples across.

        With ``transparent`` only what the search moved most is seen.
        """
        from fluoroscope.inversion.portraits.sheets import gallery

        return gallery(self, transparent=transparent)

    def ladder(self) -> "Image | None":
        """Each class's first portrait when it came to probability .5, .9, .99, .999; ``None`` where
        there are no portraits of classes.
        """
        from fluoroscope.inversion.portraits.sheets import ladder

        return ladder(self)

    def pairs(self) -> "Image | None":
        """Portraits for and against a class side by side, from the same start; ``None`` where none
        are against.
        """
        from fluoroscope.inversion.portraits.sheets import pairs

        return pairs(self)

    def figure(self) -> "Figure":
        """The curves: probability, goal and priors against the step."""
        from fluoroscope.inversion.portraits.sheets import curves

        return curves(self)

    def draw(
        self, directory: str | Path, *, transparent: bool = False, gif: bool = True
    ) -> list[Path]:
        """Write all pictures that there are into a directory; see :mod:`.sheets`.

        Raises:
            InvalidParameterError, StorageError: it cannot be written to.
        """
        from fluoroscope.inversion.portraits.sheets import draw

        return draw(self, directory, transparent=transparent, gif=gif)

    def save(self, directory: str | Path, name: str = "portraits") -> list[Path]:
        """Write the exact numbers and what they are; see :mod:`.portrait_files`.

        Raises:
            InvalidParameterError: the directory cannot be written to, or the name is no file's.
            StorageError: the disk is full, or refuses.
        """
        from fluoroscope.inversion.portraits.portrait_files import KIND, TENSORS
        from fluoroscope.sealed_files import write_sealed

        tensors = {tensor: getattr(self, tensor) for tensor in TENSORS}
        record = {
            **self.describe(),
            "labels": list(self.labels),
            "record": self.record,
            "second": [asdict(one) for one in self.second],
        }
        return write_sealed(KIND, directory, name, tensors, record)

    @staticmethod
    def load(path: str | Path) -> "Portraits":
        """Read back what :meth:`save` wrote: the JSON file, or a directory with one such.

        Raises:
            ResultFormatError: files missing, broken, or of a newer version.
        """
        from pydantic import TypeAdapter

        from fluoroscope.inversion.portraits.portrait_files import load_portraits

        def made(record: dict[str, Any], tensors: dict[str, Tensor]) -> Portraits:
            plain = TypeAdapter(dict[str, Any]).validate_python(record["record"])
            names = TypeAdapter(list[str]).validate_python(plain["priors"])
            if len(names) != tensors["weights"].shape[1]:
                raise ValueError(f"it names {len(names)} priors")
            second = TypeAdapter(tuple[Opinion, ...]).validate_python(record["second"])
            if second and len(second) != len(tensors["images"]):
                raise ValueError(f"it holds {len(second)} opinions")
            TypeAdapter(dict[str, Any]).validate_python(plain["method"])
            return Portraits(
                record=plain,
                labels=TypeAdapter(tuple[str, ...]).validate_python(record["labels"]),
                notes=TypeAdapter(tuple[str, ...]).validate_python(record["notes"]),
                second=second,
                **tensors,
            )

        return load_portraits(path, made)

    def _line(self) -> str:
        return f"{network_name(str(self.record.get('model')))}: {self.summary}"

    def _view(self) -> Iterator[html.Html]:
        rows = range(min(len(self.images), _SHOWN))
        yield html.cards(
            [[html.picture(self.images[row], "\n".join(self._caption(row)))] for row in rows]
        )
        left = len(self.images) - len(rows)
        yield html.paragraph(f"and {left:,} more" if left > 0 else "")
        yield html.paragraph(self.caution)
        method = self.record.get("method")
        method = method if isinstance(method, dict) else {}
        passes = [float(each.double().mean()) for each in (self.forwards, self.backwards)]
        names = self.record.get("priors") or []
        weights = self.weights.double().nan_to_num().mean(0).tolist()
        yield html.facts(
            [
                ("goal", str(method.get("goal", ""))),
                ("steps", str(method.get("steps", ""))),
                *(
                    (f"weight of {name}", number(each))
                    for name, each in zip(names, weights, strict=False)
                ),
                ("known of real pictures", self.made_with or str(self.record.get("prior", ""))),
                (
                    "passes a portrait",
                    f"{average(passes[0])} forward, {average(passes[1])} backward",
                ),
            ]
        )
        yield html.notes(self.notes)

    def _caption(self, row: int) -> list[str]:
        against = "against " if self.towards[row] < 0 else ""
        return [f"{against}{shortened(self.name(row))}", *self.said(row)]


# What stands beside portraits that are shown, and how it ends where the network is sure of some.
_CAUTION = (
    "A portrait is a picture that raises the network's score. It shows what this network answers "
    "to, not what the class looks like, nor what the network learnt from"
)
_SURE = "it may be sure of pictures that mean nothing to anyone else."
