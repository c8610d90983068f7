"""What ``fluoroscope attack`` says of the parts of its results: a table, pictures, a curve."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import fluoroscope as fs
from fluoroscope.cli.output import Output
from fluoroscope.words import NORMS, Ruler, average, count, percent

if TYPE_CHECKING:
    from torch import Tensor

    from fluoroscope.attacks.attack import Method
    from fluoroscope.attacks.result import AttackResult
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.pictures.pairs import Pair

# Pictures shown of an attack.
_SHOWN = 6
# What an attack may leave beside its parts.
_LEFT = (
    *("slide.png", "pictures.png", "curve.png"),
    *("universal.safetensors", "universal.png", "universal-amplified.png"),
    *("patch.safetensors", "patch.png", "patch-print.png"),
)


class Summary:
    """What is kept of the parts: numbers, and a few pictures."""

    def __init__(
        self, model: "Classifier", targets: "list[Classifier]", *, labelled: bool = True
    ) -> None:
        from fluoroscope.pictures.display import shown_channels

        self._labels, self._shown = model.labels, shown_channels(model.channels)
        self._channels, self._labelled = model.channels, labelled
        self._transfers = [_Transfer(target) for target in targets]
        self._rows: dict[str, list[Any]] = {}
        self._pairs: list[Pair] = []
        self._paths: list[Path] = []
        self._parts = self._removed = 0
        self._last: AttackResult | None = None
        self._record: dict[str, Any] = {}
        self._fitted: dict[str, Any] = {}

    def made(self, paths: list[Path], pictures: int, epochs: int, apart: bool) -> None:
        """What was made for all pictures before any was attacked."""
        self._paths += paths
        self._fitted = {"pictures": pictures, "epochs": epochs, "others_attacked": apart}

    def begin(self, directory: Path) -> None:
        """Make room for the first part: nothing of an earlier attack stands beside this one."""
        from fluoroscope.attacks.parts import remove_parts

        kept = {path.name for path in self._paths}
        self._removed = remove_parts(directory, *(each for each in _LEFT if each not in kept))

    def add(self, result: "AttackResult", paths: list[Path]) -> None:
        for name, column in result.rows().items():
            self._rows.setdefault(name, []).extend(column)
        for transfer in self._transfers:
            transfer.add(result)
        self._parts += 1
        self._last = result
        notes = self._record.get("notes", [])
        self._record = result.record | {"notes": list(dict.fromkeys([*notes, *result.notes]))}
        for pair in result.pairs(self._labels, _SHOWN - len(self._pairs)):
            self._pairs.append(pair)

    def report(self, output: Output, method: "Method", directory: Path, seconds: float) -> None:
        from fluoroscope.pictures.curves import success_curve
        from fluoroscope.pictures.maps import write_figure
        from fluoroscope.pictures.pairs import pair_sheet
        from fluoroscope.pictures.write import write_png

        numbers = self._numbers()
        # Where no norm bounds an attack, lengths are Euclidean.
        norm = method.threat.name.replace("none", "l2")
        ruler = Ruler(norm, self._channels)
        targeted = self._record["targeted"]
        searched = numbers["searched"]
        output.table(
            [f"{self._record['attack']} against {self._record['model']}", ">"],
            [
                [
                    "pictures × classes to reach" if targeted else "pictures",
                    f"{numbers['count']:,}",
                ],
                *self._before(numbers["at_start"], targeted=targeted),
                [
                    "targeted success" if targeted else "fooled",
                    f"{numbers['fooled']:,} of {searched:,} ({percent(numbers['success_rate'])})",
                ],
                [
                    f"{'median ' if numbers['count'] > 1 else ''}{NORMS[norm]} distance",
                    _median(ruler, numbers),
                ],
                ["forward passes a picture", average(numbers["forwards_mean"])],
                ["backward passes a picture", average(numbers["backwards_mean"])],
                *(transfer.row(targeted=targeted) for transfer in self._transfers),
                ["not finished", f"{numbers['unfinished']:,}"],
                ["seconds", f"{seconds:.1f}"],
            ],
        )
        if self._fitted:
            output.say(
                f"learnt from {count(self._fitted['pictures'], 'picture')}, "
                f"{self._fitted['epochs']} times forward and backward each, which the table leaves "
                "out"
                + ("" if self._fitted["others_attacked"] else "; it is judged on the same pictures")
            )
        for note in dict.fromkeys(self._record["notes"]):
            output.note(note)
        if self._alone is not None:
            output.say(self._alone.in_words(method.threat))
            if not bool((self._alone.images == self._alone.originals).all()):
                self._paths.append(write_png(directory / "slide.png", self._alone.slide()))
        if self._pairs:
            self._paths.append(write_png(directory / "pictures.png", pair_sheet(self._pairs)))
        if method.minimum_norm and searched > 1:
            curve = success_curve(
                numbers["distances"],
                searched,
                ruler=ruler,
                half=numbers["median_distance"],
                title=self._record["attack"],
            )
            self._paths.append(write_figure(directory / "curve.png", curve))
        output.wrote(self._paths)
        if self._removed:
            output.say(
                f"removed {count(self._removed, 'part')} that an earlier attack had left there"
            )
        output.say(
            f"wrote {directory}/part-*.parquet, .safetensors, .json: {count(self._parts, 'part')}, "
            "a row for each picture"
        )

    def _before(self, many: int, *, targeted: bool) -> list[list[str]]:
        """The row of those that needed no search; a picture without a label cannot be one."""
        if targeted:
            return [["of that class before", f"{many:,}"]]
        return [["misclassified before", f"{many:,}"]] if self._labelled else []

    def describe(self, method: str, data: str, to: str | None, seconds: float) -> dict[str, Any]:
        numbers = self._numbers()
        del numbers["distances"]
        return {
            "method": method,
            "data": data,
            "to": to,
            **numbers,
            **({} if self._alone is None else {"picture": self._alone.ends()}),
            "transfer": [transfer.describe() for transfer in self._transfers],
            "seconds": seconds,
            **({"fitted": self._fitted} if self._fitted else {}),
            "record": self._record,
            "shown_channels": self._shown,
        }

    @property
    def _alone(self) -> "AttackResult | None":
        """The result, where there is but one picture."""
        return self._last if self._last and len(self._rows["success"]) == 1 else None

    def _numbers(self) -> dict[str, Any]:
        from fluoroscope.engine.numbers import half_within

        rows = self._rows
        found = zip(rows["success"], rows["at_start"], rows["distance"], strict=True)
        far = sorted(distance for success, already, distance in found if success and not already)
        count, already = len(rows["success"]), sum(rows["at_start"])
        return {
            "count": count,
            "at_start": already,
            "searched": count - already,
            "fooled": len(far),
            "success_rate": len(far) / (count - already) if count > already else 0.0,
            # Within this half of those searched from are fooled; the others count as farther.
            "median_distance": half_within(far, count - already),
            "forwards_mean": sum(rows["forwards"]) / count,
            "backwards_mean": sum(rows["backwards"]) / count,
            "unfinished": count - sum(rows["finished"]),
            "distances": far,
        }


class _Transfer:
    """How many of the pictures that fool one network fool another."""

    def __init__(self, target: "Classifier") -> None:
        self._target, self._before, self._count, self._fooled = target, 0, 0, 0

    def add(self, result: "AttackResult") -> None:
        rows = result.success & ~result.at_start
        if not bool(rows.any()):
            return
        already, then = (
            (self._read(images[rows]) == result.classes[rows]) == result.record["targeted"]
            for images in (result.originals, result.images)
        )
        self._before += int(already.sum())
        self._count += int((~already).sum())
        self._fooled += int((then & ~already).sum())

    def _read(self, images: "Tensor") -> "Tensor":
        target = self._target
        return fs.predict(target, images.to(target.device, target.dtype)).winners.cpu()

    def row(self, *, targeted: bool) -> list[Any]:
        rate = f" ({100 * self._fooled / self._count:.1f} %)" if self._count else ""
        before = f"; {self._before} of that class before" if self._before else ""
        did = "succeed on" if targeted else "fool"
        return [
            f"of these {did} {self._target.name}",
            f"{self._fooled} of {self._count}{rate}{before}",
        ]

    def describe(self) -> dict[str, Any]:
        return {
            "model": self._target.name,
            "model_sha256": self._target.fingerprint(),
            "at_start": self._before,
            "searched": self._count,
            "fooled": self._fooled,
            "success_rate": self._fooled / self._count if self._count else None,
        }


def _median(ruler: Ruler, numbers: dict[str, Any]) -> str:
    if not numbers["searched"]:
        return "nothing was searched"
    if numbers["median_distance"] is None:
        return "none: fewer than half were fooled" if numbers["searched"] > 1 else "none found"
    return ruler.short(numbers["median_distance"])
