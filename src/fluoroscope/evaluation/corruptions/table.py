"""How many pictures a network classifies correctly under corruptions, at each severity."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.classes import Given
from fluoroscope.engine.intervals import Interval, wilson
from fluoroscope.engine.labels import Seen, Truth, labelled, what_was_fed
from fluoroscope.engine.predict import check_batch_size, predict
from fluoroscope.engine.provenance import provenance
from fluoroscope.errors import InvalidParameterError
from fluoroscope.evaluation.corruptions.catalogue import (
    CORRUPTIONS,
    FIFTEEN,
    SEVERITIES,
    Numbers,
    Scale,
    check_channels,
    check_severities,
    corrupt,
    corrupted,
    possible,
    strengths,
    suitable_scale,
)
from fluoroscope.evaluation.corruptions.frost import Frost, as_frost
from fluoroscope.evaluation.corruptions.mce import MeanCorruptionError, mean_corruption_error
from fluoroscope.evaluation.level import Level, check_level
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.models.matching import is_imagenet
from fluoroscope.pictures import html
from fluoroscope.pictures.severities import severity_curves, severity_strip
from fluoroscope.words import count, interval, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Row:
    """How many pictures are classified correctly under one corruption, at each severity."""

    corruption: str
    kind: str
    """Noise, blur, weather or digital."""
    strengths: tuple[Numbers, ...]
    """What stands behind each severity; see the change of this name."""
    right: tuple[int, ...]
    accuracy: tuple[float, ...]
    intervals: tuple[Interval, ...]
    mean_accuracy: float
    mean_interval: Interval


@dataclass(frozen=True, repr=False)
class CorruptionTable(html.Shown):
    """How many of ``count`` pictures are classified correctly, clean and under each corruption.

    Intervals are Wilson's at 95 %. Those of a mean are as if all predictions of one picture agreed:
    wider than they need be, never narrower.
    """

    count: int
    clean_accuracy: float
    clean_interval: Interval
    mean_accuracy: float
    """Over all corruptions and severities. 1 minus it is what the field quotes of CIFAR-10-C, where
    these are all fifteen."""
    mean_interval: Interval
    mce: MeanCorruptionError | None
    """Over AlexNet's errors: for networks of ImageNet's classes on ImageNet-C's scale, where all
    fifteen corruptions and five severities were asked for."""
    severities: tuple[int, ...]
    rows: tuple[Row, ...]
    forwards: int
    seconds: float
    complete: bool
    """Whether every picture was seen under everything."""
    record: dict[str, Any] = field(default_factory=dict)
    """Network, data, seed, versions and hardware, as plain values."""

    @property
    def worst(self) -> Row:
        """Under which corruption the fewest are classified correctly."""
        return min(self.rows, key=lambda row: row.mean_accuracy)

    def _line(self) -> str:
        clean = f"{percent(self.clean_accuracy)} clean"
        corruptions = count(len(self.rows), "corruption")
        mce = "" if self.mce is None else f", {self.mce.name} {percent(self.mce.mce)}"
        return (
            f"{self.record.get('model', '')}: mean accuracy {percent(self.mean_accuracy)} "
            f"({interval(self.mean_interval)}) under {corruptions}, {clean}{mce}, "
            f"{count(self.count, 'picture')}{'' if self.complete else ', stopped early'}"
        )

    def _view(self) -> Iterator[html.Html]:
        columns = len(self.severities) + 2
        yield html.table(
            ["accuracy at severity", *map(str, self.severities), "mean", "95 % interval"],
            [
                [row.corruption, *map(percent, (*row.accuracy, row.mean_accuracy)),
                 interval(row.mean_interval)]
                for row in self.rows
            ],
            right=range(1, columns),
            most=len(self.rows),
        )  # fmt: skip
        yield html.paragraph(
            f"Clean accuracy {percent(self.clean_accuracy)} ({interval(self.clean_interval)})."
        )
        yield html.notes(self.record.get("notes", ()))

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        found = asdict(self)
        if self.mce is not None:
            found["mce"]["name"] = self.mce.name
        return found


def corruption_accuracy(
    model: Classifier | nn.Module,
    images: ImageSet | Tensor,
    labels: Given | None = None,
    *,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    scale: Scale | None = None,
    frost: str | Path | Frost | None = None,
    seed: int = 0,
    batch_size: int = 64,
    at_chance: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> CorruptionTable:
    """How many pictures a network classifies correctly under common corruptions.

    Args:
        model: the network under study; of one prepared for speed the plain one is asked.
        images: labelled pictures, or a batch ``(N, C, H, W)`` in ``[0, 1]``.
        labels: the true class of each ``(N,)``, for a batch: indices, names or one-hot rows.
        corruptions: some of ``CORRUPTIONS``; by default those of the fifteen that there are for so
            many channels.
        severities: some of 1 to 5; by default all.
        scale: ``"cifar-10-c"`` or ``"imagenet-c"``: whose severities; by default by the size.
        frost: the folder of the authors' photographs of frost; by default frost is drawn, which is
            not the same.
        seed: for everything random.
        batch_size: pictures in memory and classified at once.
        at_chance: go on with a network whose clean accuracy is at chance level.
        on_progress: called after every batch with the predictions made, counted anew under each
            corruption and severity, and how many there are to make.
        cancelled: asked at every batch; once true, the table is of the pictures seen by then.

    Raises:
        UnknownLabelError, InvalidImagesError: labels that are missing or not the network's.
        InvalidParameterError: no such corruption, severity or scale, or none for so many channels.
        UnknownDataError, PictureError: the folder of frost lacks pictures.
        ChanceLevelError: the clean accuracy is at chance level.
    """
    model = as_classifier(model)
    names = tuple(dict.fromkeys(possible(model.channels) if corruptions is None else corruptions))
    for name in names:
        strengths(name, scale or "imagenet-c")
        check_channels(name, model.channels)
    if not names:
        raise InvalidParameterError(
            f"no corruption was chosen; expected some of {', '.join(CORRUPTIONS)}"
        )
    severities = tuple(sorted(set(severities)))
    check_severities(severities)
    photographs = as_frost(frost)
    data, began, plain = labelled(model, images, labels), time.perf_counter(), model.plain
    size = tuple(model.input_size or data[0].image.shape[1:])
    shown = scale or suitable_scale(size)
    cells = [(name, severity) for name in names for severity in severities]
    truth, level = Truth.of(model, data), Level(model)
    found = [torch.zeros(0, 1 + len(cells), dtype=torch.bool, device="cpu")]
    for batch in data.batches(check_batch_size(batch_size), fit=model.preprocessing):
        own = truth.labels(batch)
        columns: list[Tensor] = []
        versions = _versions(
            batch.images, names, severities, scale=shown, seed=seed, numbers=batch.indices,
            frost=photographs,
        )  # fmt: skip
        for pictures in versions:
            if cancelled is not None and cancelled():
                break
            read = predict(plain, pictures, batch_size=batch_size).winners
            columns.append(read == own)
            if on_progress is not None:
                behind = sum(map(torch.numel, found + columns))
                on_progress(behind, len(data) * (1 + len(cells)))
            if len(columns) == 1:
                level.add(own, read)
            if len(columns) + len(found) == 2:
                fed = partial(what_was_fed, model, batch.images, own)
                if not at_chance:
                    check_level(
                        level, truth, fed,
                        fit=model.preprocessing, batch_size=batch_size, cancelled=cancelled,
                    )  # fmt: skip
        if len(columns) <= len(cells):
            break
        found.append(torch.stack(columns, 1))
    rights = torch.cat(found)
    complete = len(rights) == len(data)
    if complete and not at_chance:
        level.check(fed)
    seen = Seen.of(model, level.labels[: len(rights)])
    mean, mean_interval = _mean(rights[:, 1:])
    mce = None
    if shown == "imagenet-c" and is_imagenet(model.labels):
        mce = mean_corruption_error(
            rights, names, severities, size=size, photographs=photographs is not None
        )
    notes = [*_notes(names, severities, model.channels, corruptions is None, photographs),
             *_about(mce, len(rights))]  # fmt: skip
    parts = zip(names, rights[:, 1:].split(len(severities), dim=1), strict=True)
    return CorruptionTable(
        count=len(rights),
        clean_accuracy=_mean(rights[:, :1])[0],
        clean_interval=_mean(rights[:, :1])[1],
        mean_accuracy=mean,
        mean_interval=mean_interval,
        mce=mce,
        severities=severities,
        rows=tuple(_row(name, shown, severities, part) for name, part in parts),
        forwards=rights.numel() * plain.passes,
        seconds=time.perf_counter() - began,
        complete=complete,
        record={
            "data": {"name": data.name, "split": data.split, "count": len(data)},
            "corruptions": list(names),
            "scale": shown,
            "frost": "drawn" if photographs is None else "photographs",
            "seed": seed,
            "seen": seen.describe(),
            "notes": [*notes, *truth.notes, *seen.notes, *level.notes],
            **provenance(plain),
        },
    )


def corruption_figure(table: CorruptionTable) -> "Figure":
    """The accuracy under each corruption against its severity."""
    lines = {
        row.corruption: [
            (share, *interval) for share, interval in zip(row.accuracy, row.intervals, strict=True)
        ]
        for row in table.rows
    }
    name = PurePath(table.record["model"]).name
    title = f"{name}, {count(table.count, 'picture')}, {table.record['scale']}"
    clean = (table.clean_accuracy, *table.clean_interval)
    return severity_curves(lines, clean, severities=table.severities, title=title)


def corruption_strip(
    image: Tensor, table: CorruptionTable, number: int = 0, frost: str | Path | Frost | None = None
) -> "Figure":
    """A picture ``(C, H, W)``, the sample ``number`` of its data, as the table's network saw it."""
    numbers, seed, scale = (
        torch.tensor([number], device="cpu"),
        table.record["seed"],
        table.record["scale"],
    )
    photographs = as_frost(frost)
    rows = {
        name: [
            corrupt(
                image[None], name, severity, scale=scale, seed=seed, numbers=numbers,
                frost=photographs,
            )[0]
            for severity in (0, *table.severities)
        ]
        for name in table.record["corruptions"]
    }  # fmt: skip
    return severity_strip(rows, severities=table.severities)


def _notes(
    names: Sequence[str],
    severities: Sequence[int],
    channels: int,
    all_asked: bool,
    photographs: Frost | None,
) -> list[str]:
    """What keeps the mean from being that of the fifteen corruptions at five severities."""
    notes = []
    if all_asked and len(names) < len(FIFTEEN):
        notes.append(
            f"jpeg was left out of the mean: it is for pictures of 1 or 3 channels, these have "
            f"{channels}"
        )
    if severities != SEVERITIES:
        which = ", ".join(map(str, severities))
        notes.append(f"the means are over severity {which} alone: quote them with that")
    if "frost" in names and photographs is None:
        notes.append(
            "frost is a drawn texture, not the photographs of the published benchmark, whose "
            "licences are not stated; frost= takes the authors' own folder (frost1 to frost5)"
        )
    return notes


def _about(mce: MeanCorruptionError | None, pictures: int) -> list[str]:
    if mce is None:
        return []
    return [
        f"{mce.name}: {'; '.join(mce.deviations)}; of {pictures:,} pictures, where published ones "
        "are of the 50,000 of ImageNet's validation set"
    ]


def _versions(
    images: Tensor,
    names: Sequence[str],
    severities: Sequence[int],
    *,
    scale: Scale,
    seed: int,
    numbers: Tensor,
    frost: Frost | None,
) -> Iterator[Tensor]:
    """The images as they are, and then under each corruption and severity."""
    yield images
    for name in names:
        yield from corrupted(
            images, name, severities, scale=scale, seed=seed, numbers=numbers, frost=frost
        )


def _row(name: str, scale: Scale, severities: Sequence[int], right: Tensor) -> Row:
    counts = tuple(right.sum(0).tolist())
    mean, interval = _mean(right)
    numbers = strengths(name, scale)
    return Row(
        corruption=name,
        kind=CORRUPTIONS[name].kind,
        strengths=tuple(numbers[severity - 1] for severity in severities),
        right=counts,
        accuracy=tuple(one / max(len(right), 1) for one in counts),
        intervals=tuple(wilson(one, len(right)) for one in counts),
        mean_accuracy=mean,
        mean_interval=interval,
    )


def _mean(right: Tensor) -> tuple[float, Interval]:
    """The share of predictions ``(pictures, cells)`` that are right, as of so many pictures."""
    pictures, cells = right.shape
    if not pictures:
        return 0.0, wilson(0, 0)
    total = int(right.sum())
    # Between two whole numbers of pictures the wider ends.
    low, high = wilson(total // cells, pictures)[0], wilson(-(-total // cells), pictures)[1]
    return total / (pictures * cells), (low, high)
