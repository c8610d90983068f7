"""``fluoroscope neurons read``: what a layer's units say of every picture of a data set."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.interrupt import interruptible
from fluoroscope.cli.options import (
    OUT,
    Address,
    Call,
    Engine,
    Json,
    SuitableBatch,
    UnitReduction,
    Workers,
    with_model,
    with_pictures,
)
from fluoroscope.cli.output import Output

if TYPE_CHECKING:
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.neurons.reading.activations import Activations

FILES = ("activations.npy", "rows.parquet", "activations.json")


@with_model
@with_pictures
def read(
    model: "Classifier",
    images: "ImageSet",
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="By its name; see: fluoroscope neurons list. Repeatable: all in one pass. "
            "Default: the last with maps that the logits depend on."
        ),
    ] = None,
    call: Call = None,
    reduction: UnitReduction = "mean",
    batch_size: SuitableBatch = None,
    engine: Engine = "local",
    workers: Workers = None,
    address: Address = None,
    out: Annotated[
        Path,
        typer.Option(
            *OUT, help="Directory for activations.npy, rows.parquet and activations.json."
        ),
    ] = Path("out/activations"),
    json: Json = None,
) -> None:
    """Read what the units of a layer say of every picture: one number each.

    A reading that was stopped or killed goes on where it was with the same command.

    [bold]Examples:[/]
      fluoroscope neurons read -m digits-cnn -d digits --out out/digits
      fluoroscope neurons read -m NETWORK -d DATA --layer layer4 --reduction max
    """
    from fluoroscope.neurons.reading.read import read as run
    from fluoroscope.neurons.reading.read import read_layers

    output = Output(json)
    output.ready()
    names = list(dict.fromkeys(layer or []))
    places = [out / _folder(name) for name in names] if len(names) > 1 else [out]
    with output.telling(), interruptible() as interrupted, output.measuring() as move:
        shared: dict[str, Any] = {
            "call": call,
            "reduction": reduction,
            "batch_size": batch_size,
            "on_share": lambda share: move(share, f"reading {images.name}"),
            "cancelled": interrupted,
            "engine": engine,
            "workers": workers,
            "address": address,
        }
        if len(names) > 1:
            found = read_layers(model, images, names, outs=places, **shared)
        else:
            found = [run(model, images, names[0] if names else None, out=out, **shared)]
    informed: list[dict[str, float | None]] = []
    for one in found:
        informed.append(_report(output, one))
    if len(found[0]) < len(images):
        output.say(f"what was read is kept in {out}; the same command goes on there")
        raise typer.Abort
    output.wrote([place / name for place in places for name in FILES])
    told = zip(found, informed, strict=True)
    output.json([{**one.describe(), **information} for one, information in told])


def _report(output: Output, found: "Activations") -> dict[str, float | None]:
    """Say it, and give what the units tell of the classes as plain values."""
    from fluoroscope.engine.information import information
    from fluoroscope.neurons.reading.activations import said

    units = found.units
    told = information(found.values, found.labels, len(found.classes))
    facts = [*found.facts(), ("mutual information", told.said)]
    use = "" if units.call is None else f", use {units.call} from 0"
    output.table(
        [f"layer {units.layer}{use}", f"{units.counted}, {said(found.reduction)}"],
        [[name, value] for name, value in facts if value],
    )
    for note in found.notes:
        output.note(note)
    return told.describe()


def _folder(layer: str) -> str:
    """A layer's name as that of a folder; a stranger's network may have a path for one."""
    return re.sub(r"[^\w.-]+", "-", layer)
