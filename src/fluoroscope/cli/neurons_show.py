"""``fluoroscope neurons show``: what a unit answers to."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.interrupt import interruptible
from fluoroscope.cli.options import (
    OUT,
    Call,
    Json,
    Seed,
    SuitableBatch,
    UnitLayer,
    lines_of,
    open_pictures,
    with_model,
    with_pictures,
)
from fluoroscope.cli.output import Move, Output
from fluoroscope.errors import InvalidParameterError
from fluoroscope.words import count, number, percent

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.neurons.answers.dissection import Dissection
    from fluoroscope.neurons.answers.naming import UnitNames
    from fluoroscope.neurons.answers.selectivity import UnitStatistics
    from fluoroscope.neurons.answers.top import TopPictures

# Units of a table of concepts at the most.
_ROWS = 12


@with_model
@with_pictures
def show(
    model: "Classifier",
    images: "ImageSet",
    layer: UnitLayer = None,
    call: Call = None,
    unit: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Repeatable. Default: the four of most relevance."),
    ] = None,
    by: Annotated[
        str, typer.Option(help="activation, or relevance: its part in the decision.")
    ] = "activation",
    against: Annotated[
        str | None,
        typer.Option(help="Another data set, as an adversarial one, to be shown beside it."),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Where concepts are: a folder a concept with a mask for each picture, or a mask "
            "for each picture and names.txt."
        ),
    ] = None,
    quantile: Annotated[
        float | None,
        typer.Option(
            help="With --masks: at this share of its places a unit is on. Default: 0.005."
        ),
    ] = None,
    iou: Annotated[
        float | None,
        typer.Option(help="With --masks: above it a unit is a concept's detector. Default: 0.04."),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(
            help="Name units by an image-text network: a directory, or hf/OWNER/NAME if cached."
        ),
    ] = None,
    words: Annotated[
        Path | None,
        typer.Option(help="With --names: a file with one label a line. Default: the classes."),
    ] = None,
    score: Annotated[
        str, typer.Option(help="With --names: pearson, cosine, auprc, f1 or iou.")
    ] = "pearson",
    top: Annotated[int, typer.Option(min=1, max=12, help="Pictures of each unit.")] = 6,
    reduction: Annotated[
        str, typer.Option(help="Of a unit's places: max or mean, to rank pictures by.")
    ] = "max",
    batch_size: SuitableBatch = None,
    seed: Seed = 0,
    out: Annotated[
        Path, typer.Option(*OUT, help="Directory for the sheets, and for what is read.")
    ] = Path("out/neurons"),
    json: Json = None,
) -> None:
    """Show what units answer to: their top pictures, and the patches they saw.

    Beside them stand the classes that excite each, how selective and how
    sparse it is. A call that was stopped goes on: what is read stays in --out.

    [bold]Examples:[/]
      fluoroscope neurons show -m digits-cnn -d digits --limit 200
      fluoroscope neurons show -m digits-cnn -d digits --unit 5 --by relevance
      fluoroscope neurons show -m NETWORK -d FOLDER --masks MASKS
    """
    from fluoroscope.neurons.answers.dissection import dissect, with_masks
    from fluoroscope.neurons.answers.image_text import find_network, label_presence
    from fluoroscope.neurons.answers.naming import name_units
    from fluoroscope.neurons.answers.sheets import draw
    from fluoroscope.neurons.answers.top import top_pictures
    from fluoroscope.neurons.places import results_directory

    output, directory = Output(json), results_directory(out, images)
    output.ready()
    labels = _labels(model, names, words)
    bars = _bars(masks, quantile, iou)
    # What is wrong is told before all pictures are read.
    if masks is not None:
        with_masks(images, masks, **bars)
    if names is not None:
        find_network(names)
    other = None
    if against is not None:
        other = open_pictures(against, None, None, model.channels)
    options: dict[str, Any] = {
        "call": call, "reduction": reduction, "batch_size": batch_size, "n": top, "by": by,
    }  # fmt: skip
    with output.telling(), interruptible() as interrupted:
        with output.measuring() as move:
            found = top_pictures(
                (model, images, layer), unit, out=directory / "read", cancelled=interrupted,
                on_share=_told(move, "reading"), **options,
            )  # fmt: skip
        second = None
        if other is not None and not interrupted():
            with output.measuring() as move:
                second = top_pictures(
                    (model, other, found.units.layer), found.chosen, out=directory / "against",
                    cancelled=interrupted, on_share=_told(move, "reading the other set"), **options,
                )  # fmt: skip
        stopped = interrupted()
    if not len(found.images):
        raise typer.Abort
    if second is not None and not len(second.images):
        second = None
    statistics = _statistics(found)
    _report(output, found, second, statistics)
    about = _described(found, second, statistics)
    if masks is not None and not stopped:
        with output.telling(), output.measuring() as move:
            dissection = dissect(
                model, images, masks, found.units.layer, call=call, batch_size=batch_size,
                **bars, on_share=_told(move, "holding against masks"),
            )  # fmt: skip
        about["dissection"] = dissection.describe()
        _report_concepts(output, dissection)
    if labels is not None and names is not None and not stopped:
        assert found.activations is not None
        with output.telling(), output.measuring() as move:
            presence = label_presence(
                names, images, labels, on_share=_told(move, "asking for labels")
            )
        named = name_units(
            found.activations, presence, labels, found.chosen, score=score, seed=seed
        )
        about["names"] = named.describe()
        _report_names(output, named)
    output.wrote(draw(found, directory, second), "units.png")
    output.json(about)
    if stopped:
        raise typer.Abort


def _bars(masks: Path | None, quantile: float | None, iou: float | None) -> dict[str, Any]:
    """What was given of ``--quantile`` and ``--iou``."""
    found = {
        name: value for name, value in (("quantile", quantile), ("iou", iou)) if value is not None
    }
    if found and masks is None:
        raise InvalidParameterError(
            f"--{next(iter(found))} goes with --masks, which was not given; expected both"
        )
    return found


def _labels(model: "Classifier", names: str | None, words: Path | None) -> list[str] | None:
    if names is None:
        if words is not None:
            raise InvalidParameterError(
                "--words says what units may be called; expected --names with it, an image-text "
                "network"
            )
        return None
    found = list(model.labels) if words is None else lines_of(words)
    return list(dict.fromkeys(label.strip() for label in found or [] if label.strip()))


def _report_concepts(output: Output, found: "Dissection") -> None:
    detectors = found.detectors
    output.say(
        f"{len(detectors):,} of {len(found.chosen):,} units are detectors of "
        f"{count(len(set(detectors.values())), 'concept')}: on at {number(found.quantile)} of "
        f"their places, IoU above {number(found.least)}, in {count(found.looked, 'picture')}; maps "
        "enlarged to the masks"
    )
    heads = ["unit>", "concept", "IoU>", "with other masks>", ""]
    output.table(heads, found.rows()[:_ROWS])
    for note in found.notes:
        output.note(note)


def _report_names(output: Output, found: "UnitNames") -> None:
    output.say(
        f"names by {found.score}, of {count(found.labels, 'label')}; beside them what activations "
        f"dealt at random reach, and which labels win {percent(found.coverage, 0)} of the draws "
        "where pictures are drawn anew"
    )
    output.table(["unit>", "name", "score>", "random>", "on pictures drawn anew"], found.rows())
    for note in found.notes:
        output.note(note)


def _told(move: "Move", what: str) -> "Callable[[float], None]":
    return lambda share: move(share, what)


def _statistics(found: "TopPictures") -> "UnitStatistics | None":
    from fluoroscope.neurons.answers.selectivity import unit_statistics

    read = found.activations
    return None if read is None or not len(read) else unit_statistics(read, read.classes)


def _described(
    found: "TopPictures", second: "TopPictures | None", statistics: "UnitStatistics | None"
) -> dict[str, Any]:
    about = None if statistics is None else statistics.describe()
    if about is not None:
        about["units"] = [about["units"][unit] for unit in found.chosen]
    return {
        **found.describe(),
        "against": None if second is None else second.describe(),
        "statistics": about,
    }


def _report(
    output: Output, found: "TopPictures", second: "TopPictures | None",
    statistics: "UnitStatistics | None",
) -> None:  # fmt: skip
    units = found.units
    by = f"relevance ({found.way})" if found.way else found.by
    output.say(f"{units.count:,} {units.kind} of the layer {units.layer}, pictures by {by}")
    if found.sees is not None:
        output.say(f"from the middle place {found.sees.said()}")
    rows = []
    for place, unit in enumerate(found.chosen):
        share = found.shares.get(unit)
        rows.append(
            [
                unit,
                "–" if share is None else percent(share),
                "" if statistics is None else statistics.said(unit),
                _classes(found, place),
                *([] if second is None else [_classes(second, place)]),
            ]
        )
    heads = ["unit", "relevance>", "what excites it", "its top pictures"]
    output.table([*heads, *(["in the other set"] if second else [])], rows)
    if statistics is not None:
        dead = int(statistics.dead.sum())
        if dead:
            verb = "is" if dead == 1 else "are"
            output.say(f"{dead:,} of {units.count:,} units {verb} dead: the same in every picture")
        if statistics.information.said:
            output.say(f"mutual information: {statistics.information.said}")
    notes = [*found.notes, *(second.notes if second else ())]
    for note in dict.fromkeys([*notes, *(statistics.notes if statistics else ())]):
        output.note(note)


def _classes(found: "TopPictures", place: int) -> str:
    """The classes of a unit's pictures, each once with its count."""
    counts: dict[str, int] = {}
    for one in found.found[place]:
        name = found.names[one.label if one.label >= 0 else one.predicted]
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{name} ({many})" for name, many in counts.items())
