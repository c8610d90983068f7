"""What an attack comes back with: pictures, what became of them, and how it shows itself."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file
from torch import Tensor

from fluoroscope.engine.run import Outcome
from fluoroscope.engine.threats import Threat
from fluoroscope.errors import InvalidParameterError
from fluoroscope.files import atomic_set, output_directory
from fluoroscope.pictures import html
from fluoroscope.pictures.pairs import Pair
from fluoroscope.words import NORMS, Ruler, as_percent, count, network_name, shortened

if TYPE_CHECKING:
    from PIL.Image import Image

# Pictures that a notebook shows of a result.
_SHOWN = 6


@dataclass(frozen=True, kw_only=True, repr=False)
class AttackResult(html.Shown, Outcome):
    """What an attack made of ``N`` images; all tensors are on the CPU."""

    classes: Tensor
    """``(N,)``, the class to leave, or the wanted one."""
    numbers: Tensor
    """``(N,)``, which samples of their data set these are."""
    record: dict[str, Any]
    """Attack, parameters, seed, versions and the network's content hash, as plain values."""
    names: tuple[str, ...] = ()
    """What the samples are called in their data set, where they come from one."""
    labels: tuple[str, ...] = ()
    """The network's names of the classes."""

    def rows(self) -> dict[str, list[Any]]:
        """A row for each sample, as columns."""
        columns = {
            "index": self.numbers,
            "class": self.classes,
            "read_as": self.read_as,
            "becomes": self.logits.argmax(1),
        }
        for name in ("success", "at_start", "finished", "distance", "forwards", "backwards"):
            columns[name] = getattr(self, name)
        found = {name: column.tolist() for name, column in columns.items()}
        return {**found, "name": list(self.names)} if self.names else found

    def pairs(self, labels: Sequence[str], most: int = 6) -> list[Pair]:
        """A few of the images that a search has led to a success, before and after."""
        rows = self._led.nonzero().squeeze(1)
        probabilities = self.logits.softmax(1)
        return [
            Pair(
                before=self.originals[row],
                after=self.images[row],
                read_before=labels[int(self.read_as[row])],
                read_after=f"{labels[int(winner)]} ({probability:.2f})",
            )
            for row in rows[:most].tolist()
            for probability, winner in [probabilities[row].max(0)]
        ]

    def slide(self, index: int = 0) -> "Image":
        """One of the images, plus its change, equals what it became: a picture for a slide.

        See :func:`.pictures.slide.slide`. Probabilities are those of the exact values.

        Raises:
            InvalidParameterError: there is no such image.
        """
        from fluoroscope.pictures.slide import Caption, slide

        count = len(self.images)
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
            raise InvalidParameterError(f"index is {index!r}; expected 0 to {count - 1}")
        probability, winner = self.logits[index].softmax(0).max(0)
        return slide(
            self.originals[index],
            self.images[index],
            was=Caption(self.labels[int(self.read_as[index])], float(self.read_probability[index])),
            became=Caption(self.labels[int(winner)], float(probability)),
            network=str(self.record["model"]),
            failed="" if bool(self.success[index]) else self._failed(index),
        )

    def ends(self, index: int = 0) -> dict[str, Any]:
        """What one of the images was predicted as, and what it became."""
        probability, winner = self.logits[index].softmax(0).max(0)
        return {
            "from": self.labels[int(self.read_as[index])],
            "from_probability": float(self.read_probability[index]),
            "to": self.labels[int(winner)],
            "to_probability": float(probability),
            "distance": float(self.distance[index]),
            "success": bool(self.success[index]),
        }

    def in_words(self, threat: Threat, index: int = 0) -> str:
        """The same in a sentence, of an attack within this threat model."""
        ends, ruler = self.ends(index), Ruler.of(threat, len(self.images[index]))
        was, became = (
            f"{ends[end]} ({as_percent(ends[f'{end}_probability'])})" for end in ("from", "to")
        )
        wanted = self.labels[int(self.classes[index])]
        if bool(self.at_start[index]) and not ends["distance"]:
            why = "the wanted class" if self.record["targeted"] else f"not {wanted}, its label"
            return f"it was {was} before anything was changed, {why}: nothing was searched"
        if ends["success"]:
            return f"{was} became {became} by {ruler.change(ends['distance'])}"
        eps = threat.eps
        within = f" within {ruler.limit(eps)}" if isinstance(eps, float) and isfinite(eps) else ""
        goal = f" that makes it {wanted}" if self.record["targeted"] else " that fools the network"
        far = f"; after {ruler.change(ends['distance'])} it is {became}" if ends["distance"] else ""
        return f"{was} was not fooled: no change{goal} was found{within}{far}"

    def _failed(self, index: int) -> str:
        if not self.record.get("targeted"):
            return "not fooled"
        return f"wanted: {self.labels[int(self.classes[index])]}"

    @property
    def _led(self) -> Tensor:
        """``(N,)`` booleans: a search has led it to a success."""
        return self.success & ~self.at_start

    @property
    def _median(self) -> float | None:
        """The median distance of what searches found; of two in the middle the farther."""
        far = self.distance[self._led].sort().values
        return far[len(far) // 2].item() if len(far) else None

    @property
    def _norm(self) -> str:
        """What the distances are in, where the record says so."""
        threat = self.record.get("parameters", {}).get("threat")
        return threat["norm"].replace("none", "l2") if isinstance(threat, dict) else ""

    @property
    def _far(self) -> str:
        """What a distance is called."""
        return f"{NORMS.get(self._norm, self._norm)} distance".strip()

    def _short(self, distance: float) -> str:
        return Ruler(self._norm, self.images.shape[1]).short(distance)

    @property
    def _what(self) -> str:
        return "led to the wanted class" if self.record.get("targeted") else "misclassified"

    def _line(self) -> str:
        led, already = int(self._led.sum()), int(self.at_start.sum())
        before = f" ({already} more were so before)" if already else ""
        middle, model = self._median, network_name(str(self.record.get("model")))
        median = "" if middle is None else f", median {self._far} {self._short(middle)}"
        return (
            f"{self.record.get('attack')} on {model}: {led} of "
            f"{count(len(self.success) - already, 'picture')} {self._what}{before}{median}"
        )

    def _view(self) -> Iterator[html.Html]:
        led = self._led.nonzero().squeeze(1)
        rows = led[:_SHOWN].tolist()
        scale = html.scale_of([self.images[row] - self.originals[row] for row in rows])
        if rows:
            yield html.paragraph(
                f"{len(rows)} of {count(len(led), 'success', 'successes')}: before, the change, "
                f"after. The colours of all changes end at "
                f"{html.end_of(scale, self.images.shape[1])}."
            )
        yield html.cards(self._card(row, scale) for row in rows)
        each = max(len(self.success), 1)
        yield html.facts(
            [
                ("pictures", f"{len(self.success):,}"),
                (f"{self._what} before anything was changed", f"{int(self.at_start.sum()):,}"),
                (f"{self._what} by a search", f"{len(led):,}"),
                (
                    f"median {self._far} of these",
                    "" if self._median is None else self._short(self._median),
                ),
                ("searches that were cut off", f"{int((~self.finished).sum()):,}"),
                ("forward passes a picture", f"{self.forwards.sum().item() / each:.1f}"),
                ("backward passes a picture", f"{self.backwards.sum().item() / each:.1f}"),
            ]
        )
        yield html.notes(self.notes)

    def _card(self, row: int, scale: float) -> list[html.Html]:
        """A picture before, the change, and the picture after."""
        labels = self.labels or tuple(map(str, range(self.logits.shape[1])))
        probabilities = self.logits[row].softmax(0)
        winner = int(probabilities.argmax())
        sure = as_percent(probabilities[winner].item())
        called = self.names[row] if self.names else f"picture {int(self.numbers[row])}"
        before = shortened(labels[int(self.read_as[row])])
        return [
            html.picture(self.originals[row], f"predicted as {before}\n{called}"),
            html.change(
                self.images[row] - self.originals[row],
                scale,
                f"{self._far} {self._short(self.distance[row].item())}",
            ),
            html.picture(self.images[row], f"predicted as {shortened(labels[winner])}, {sure}"),
        ]

    def save(self, directory: str | Path, name: str = "attack") -> list[Path]:
        """Write every tensor (safetensors), a row for each sample (Parquet), the record (JSON).

        The record is there while the three belong together.
        """
        from pyarrow import parquet

        from fluoroscope.arrow import table_of

        out = output_directory(directory)
        tensors = {
            field.name: getattr(self, field.name).contiguous()
            for field in fields(self)
            if isinstance(getattr(self, field.name), Tensor)
        }
        kinds = ("safetensors", "parquet", "json")
        whole, table, record = paths = [out / f"{name}.{kind}" for kind in kinds]
        text = json.dumps(self.record, indent=1, ensure_ascii=False, allow_nan=False)
        with atomic_set(record, table, whole) as drafts:
            save_file(tensors, drafts[2])
            parquet.write_table(table_of(self.rows()), drafts[1])
            drafts[0].write_text(text, "utf-8")
        return paths


def joined(before: AttackResult, after: AttackResult, rows: Tensor) -> AttackResult:
    """The results of all, with what came after for those rows."""
    taken = {
        name: getattr(before, name).index_copy(0, rows, getattr(after, name))
        for name in ("images", "logits", "success", "finished", "distance")
    }
    spent = {
        name: getattr(before, name).index_add(0, rows, getattr(after, name))
        for name in ("forwards", "backwards")
    }
    notes = tuple(dict.fromkeys((*before.notes, *after.notes)))
    return replace(before, **taken, **spent, notes=notes)
