"""``fluoroscope neurons list``: the layers of a network, and the units of each."""

from typing import TYPE_CHECKING, Annotated

import typer

from fluoroscope.cli.options import Json, sides_of, with_model
from fluoroscope.cli.output import Output

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier


@with_model
def list_(
    model: "Classifier",
    size: Annotated[
        str | None,
        typer.Option(help="224 or HEIGHTxWIDTH, of a network that takes pictures of any size."),
    ] = None,
    json: Json = None,
) -> None:
    """List the layers of a network: what each gives out for a picture, and its units.

    [bold]Example:[/] fluoroscope neurons list -m digits-cnn
    """
    from fluoroscope.neurons.reading.units import list_units

    output, found = Output(json), list_units(model, sides_of(size))
    output.json(
        [
            {
                "layer": layer.name,
                "module": layer.kind,
                "calls": layer.calls,
                "shape": None if layer.shape is None else list(layer.shape),
                "units": None if units is None else units.count,
                "kind": None if units is None else units.kind,
            }
            for layer, units in found
        ]
    )
    if json == "-":
        return
    output.table(
        ["layer", "module", "gives out", "units>", "uses>"],
        [
            [
                layer.name,
                layer.kind,
                "" if layer.shape is None else "×".join(map(str, layer.shape)),
                "" if units is None else f"{units.count:,} {units.kind}",
                layer.calls,
            ]
            for layer, units in found
            if layer.calls
        ],
    )
