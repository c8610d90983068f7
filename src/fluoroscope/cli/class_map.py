"""``fluoroscope map``: how far each class lies from each, and what is met on the way."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.interrupt import interruptible
from fluoroscope.cli.options import (
    OUT,
    AtChance,
    BatchSize,
    Json,
    OnGrid,
    Seed,
    prepared,
    with_model,
    with_pictures,
)
from fluoroscope.cli.output import Output
from fluoroscope.words import NORMS, Ruler

if TYPE_CHECKING:
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.evaluation.class_map import ClassMap, MapProgress
    from fluoroscope.models.classifier import Classifier

# Classes whose neighbours are said on the terminal, and way stations of a route's hop.
_LINES, _STATIONS = 25, 3


@with_model
@with_pictures
def class_map(
    model: "Classifier",
    images: "ImageSet",
    threat: Annotated[
        str, typer.Option(help="The norm, as l2; or with how far a picture may go, as l2:3.")
    ] = "linf",
    classes: Annotated[
        str | None, typer.Option(help="Only between these: labels with ; between, or numbers.")
    ] = None,
    pictures: Annotated[
        int | None,
        typer.Option(min=1, help="Of each class; default 10, and 1 where pairs are sampled."),
    ] = None,
    targets: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Classes that each picture is led to, two thirds the nearest, the others drawn; "
            "default: all up to 20 classes, else 6.",
        ),
    ] = None,
    route: Annotated[
        str | None, typer.Option(help="Two labels with ; between: what lies between them?")
    ] = None,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Search on the network as it is, not on a prepared copy."),
    ] = False,
    at_chance: AtChance = False,
    on_grid: OnGrid = False,
    batch_size: BatchSize = 128,
    out: Annotated[Path, typer.Option(*OUT, help="Directory for class_map.json and .png.")] = Path(
        "out/map"
    ),
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Map the classes: how little leads from each to each, and which are met on the way.

    [bold]Examples:[/]
      fluoroscope map --model digits-cnn --data digits
      fluoroscope map -m NETWORK -d FOLDER --classes "giant panda;ostrich;vulture"
      fluoroscope map -m NETWORK --data FOLDER --route "giant panda;vulture"
    """
    from fluoroscope.evaluation.class_map import class_map as run
    from fluoroscope.files import output_directory, remove
    from fluoroscope.pictures.class_maps import class_map_figure
    from fluoroscope.pictures.maps import write_figure

    named = None if classes is None else [name.strip() for name in classes.split(";")]
    ends = _ends(model, route)
    directory, output = output_directory(out), Output(json)
    with output.telling(), interruptible() as interrupted, output.measuring() as move:

        def told(progress: "MapProgress") -> None:
            move(progress.done / progress.total, f"{progress.done} of {progress.total} searches")

        found = run(
            prepared(model, images, plain),
            images,
            threat=threat,
            classes=named,
            pictures=pictures,
            targets=targets,
            grid=8 if on_grid else None,
            batch_size=batch_size,
            seed=seed,
            at_chance=at_chance,
            on_progress=told,
            cancelled=interrupted,
        )
    ruler = Ruler(found.norm, model.channels)
    remove(directory / "class_map.png")  # never beside another map's numbers
    written = [found.save(directory)]
    if found.pairs:
        far = found.distance * ruler.scaled(1.0)
        figure = class_map_figure(far, found.labels, norm=found.norm, title=model.name)
        figure.axes[-1].set_ylabel(f"median {ruler.unit}")
        written.append(write_figure(directory / "class_map.png", figure))
    _report(output, found, ruler)
    between = None if ends is None else _between(output, found, ruler, *ends)
    output.wrote(written)
    output.json({**found.describe(), "route": between})
    if interrupted():
        raise typer.Abort


def _ends(model: "Classifier", route: str | None) -> tuple[int, int] | None:
    from fluoroscope.errors import InvalidParameterError

    if route is None:
        return None
    names = route.split(";")
    if len(names) != 2:
        raise InvalidParameterError(
            f"route is {route!r}; expected two labels with ; between, as 'giant panda;vulture'"
        )
    first, last = (model.find_class(name.strip()) for name in names)
    return first, last


def _report(output: Output, found: "ClassMap", ruler: Ruler) -> None:
    sources = sorted({pair.source for pair in found.pairs})
    rows = []
    for source in sources[:_LINES]:
        near = [
            f"{found.labels[pair.target]} {ruler.short(pair.distance)}"
            for pair in found.neighbours(source)
        ]
        rows.append([found.labels[source], ", ".join(near)])
    output.table(["class", f"nearest by {NORMS.get(found.norm, found.norm)}"], rows)
    if len(sources) > _LINES:
        output.say(f"and {len(sources) - _LINES} more classes in class_map.json")
    output.say(f"{len(found.pairs)} pairs: {found.chosen}")
    for note in found.record["notes"]:
        output.note(note)
    if not found.complete:
        output.say("note: stopped early; what was found so far")


def _between(
    output: Output, found: "ClassMap", ruler: Ruler, first: int, last: int
) -> dict[str, Any] | None:
    """What lies between two classes, said and as plain values."""
    way = found.route(first, last)
    names = found.labels
    if way is None:
        output.say(f"no measured pairs lead from {names[first]} to {names[last]}")
        return None
    hops = [
        f" -{ruler.short(hop)}-> {names[label]}"
        for hop, label in zip(way.hops, way.classes[1:], strict=True)
    ]
    direct = "not measured" if math.isnan(way.direct) else ruler.short(way.direct)
    output.say(f"{names[first]}{''.join(hops)} (straight: {direct})")
    straight = found.pair(first, last)
    stations = [] if straight is None else list(straight.stations)
    if stations:
        met = (f"{names[each.label]} ({each.count})" for each in stations[:_STATIONS])
        output.say(f"met on the straight way: {', '.join(met)}")
    return {
        "classes": [names[label] for label in way.classes],
        "hops": list(way.hops),
        "direct": None if math.isnan(way.direct) or math.isinf(way.direct) else way.direct,
        "stations": [names[each.label] for each in stations],
    }
