"""``fluoroscope corrupt``: how a network copes with noise, blur, weather and compression."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from fluoroscope.cli.display import with_display
from fluoroscope.cli.interrupt import interruptible
from fluoroscope.cli.options import (
    AtChance,
    BatchSize,
    Json,
    Out,
    Seed,
    with_model,
    with_pictures,
)
from fluoroscope.cli.output import Output
from fluoroscope.cli.verdict_report import interval, share
from fluoroscope.cli.waiting import waiting
from fluoroscope.models.labels import printable
from fluoroscope.words import count, listed

if TYPE_CHECKING:
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.engine.intervals import Interval
    from fluoroscope.evaluation.corruptions.catalogue import Scale
    from fluoroscope.evaluation.corruptions.table import CorruptionTable
    from fluoroscope.models.classifier import Classifier


@with_model
@with_display
@with_pictures
def corrupt(
    model: "Classifier",
    images: "ImageSet",
    corruption: Annotated[
        list[str] | None,
        typer.Option(
            help="gaussian-noise, shot-noise, impulse-noise, defocus-blur, glass-blur, "
            "motion-blur, zoom-blur, snow, frost, fog, brightness, contrast, elastic-transform, "
            "pixelate or jpeg; also gaussian-blur. Repeatable; default: these fifteen."
        ),
    ] = None,
    severity: Annotated[
        list[int] | None,
        typer.Option(help="1 to 5. Repeatable; default: all."),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            help="Whose severities: cifar-10-c or imagenet-c; default: by the pictures' size."
        ),
    ] = None,
    frost: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the benchmark's photographs of frost, frost1.png to frost5.jpg; "
            "default: frost is drawn, which is not the same."
        ),
    ] = None,
    at_chance: AtChance = False,
    batch_size: BatchSize = 64,
    out: Out = Path("out/corrupt"),
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Say how many corrupted pictures a network still classifies correctly.

    The fifteen corruptions of ImageNet-C and CIFAR-10-C at five severities. Nobody searches for
    these changes: a measure to stand beside an attack's.

    [bold]Examples:[/]
      fluoroscope corrupt --model digits-cnn --data digits --scale imagenet-c
      fluoroscope corrupt -m timm/resnet18 -d FOLDER --corruption jpeg --limit 500
    """
    from fluoroscope.evaluation.corruptions.catalogue import SEVERITIES
    from fluoroscope.evaluation.corruptions.frost import as_frost
    from fluoroscope.evaluation.corruptions.table import (
        corruption_accuracy,
        corruption_figure,
        corruption_strip,
    )
    from fluoroscope.files import output_directory, remove
    from fluoroscope.pictures.display import shown_channels
    from fluoroscope.pictures.maps import write_figure

    photographs = as_frost(frost)
    output, directory = Output(json), output_directory(out)
    with output.telling(), interruptible() as interrupted, output.measuring() as move:
        table = corruption_accuracy(
            model,
            images,
            corruptions=corruption,
            severities=severity or SEVERITIES,
            scale=cast("Scale | None", scale),
            frost=photographs,
            seed=seed,
            batch_size=batch_size,
            at_chance=at_chance,
            on_progress=lambda done, total: move(
                done / total, f"{done:,} of {total:,} predictions"
            ),
            cancelled=interrupted,
        )
    if table.count:
        _report(output, table)
        waiting.says("drawing" if table.complete else "stopping, drawing what is done")
        remove(directory / "corrupted.png")  # never beside another network's curves
        written = [write_figure(directory / "corruption.png", corruption_figure(table))]
        if table.complete:  # whoever stops it waits for nothing that was not measured
            picture = images[0]
            strip = corruption_strip(model.fit(picture.image), table, picture.index, photographs)
            written.append(write_figure(directory / "corrupted.png", strip))
        output.wrote(written)
    output.json(table.describe() | {"shown_channels": shown_channels(model.channels)})
    if not table.complete:
        output.say(f"stopped early: after {table.count} of {count(len(images), 'picture')}")
        raise typer.Abort


def _report(output: Output, table: "CorruptionTable") -> None:
    record = table.record
    split = f":{record['data']['split']}" if record["data"]["split"] else ""
    lines = [
        ["data", printable(record["data"]["name"] + split), count(table.count, "picture")],
        [count(len(table.rows), "corruption"), f"as strong as in {record['scale'].upper()}", ""],
        ["clean accuracy", share(table.clean_accuracy), interval(table.clean_interval)],
        ["mean under corruption", share(table.mean_accuracy), interval(table.mean_interval)],
        ["mean error", share(1 - table.mean_accuracy), interval(_errors(table.mean_interval))],
    ]
    if table.mce is not None:
        lines += [
            [table.mce.name, share(table.mce.mce), interval(table.mce.interval)],
            ["relative mCE", share(table.mce.relative), ""],
        ]
    output.table([printable(record["model"]), ">", "95 % interval"], lines)
    output.table(
        ["% correct at", *(f"{severity}>" for severity in table.severities), "mean>",
         "95 % interval"],
        [
            [
                row.corruption,
                *map(_cell, (*row.accuracy, row.mean_accuracy)),
                " to ".join(map(_cell, row.mean_interval)),
            ]
            for row in table.rows
        ],
    )  # fmt: skip
    worst = table.worst
    tied = [row.corruption for row in table.rows if row.mean_accuracy == worst.mean_accuracy]
    output.say(
        f"worst under {listed(tied)}: {share(worst.mean_accuracy)} correct, interval "
        f"{interval(worst.mean_interval)}"
    )
    for note in record["notes"]:
        output.note(note)


def _cell(share: float) -> str:
    """In per cent, so short that a line of the table fits a terminal of 80 columns."""
    return f"{100 * share:.1f}".replace("100.0", "100")


def _errors(accuracy: "Interval") -> "Interval":
    low, high = accuracy
    return 1 - high, 1 - low
