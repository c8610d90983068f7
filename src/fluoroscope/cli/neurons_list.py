"""``fluoroscope neurons list``: the layers of a network, and the units of each."""

from typing import TYPE_CHECKING, Annotated

import typer

from fluoroscope.cli.options import Json, sides_of, with_model
from fluoroscope.cli.output import Output
from fluoroscope.errors import FluoroscopeError, InvalidParameterError
from fluoroscope.words import count, shortened

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.models.layers import Layer
    from fluoroscope.neurons.reading.units import Units

# Characters of a module's class.
_MODULE = 22


@with_model
def list_(
    model: "Classifier",
    match: Annotated[
        str | None,
        typer.Option(help="Only layers whose name or module has this in it, as norm or Conv2d."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="224 or HEIGHTxWIDTH, of a network that takes pictures of any size."),
    ] = None,
    json: Json = None,
) -> None:
    """List the layers of a network: its units in each, and at how many places.

    [bold]Examples:[/]
      fluoroscope neurons list -m digits-cnn
      fluoroscope neurons list -m torchvision/resnet50 --match relu
    """
    from fluoroscope.neurons.reading.units import list_units
    from fluoroscope.neurons.reading.usual import usual_layer

    output, sides = Output(json), sides_of(size)
    found = list_units(model, sides)
    try:
        usual = usual_layer(model, sides)
    except FluoroscopeError:  # whoever names a layer does without
        usual = ""
    shown = [each for each in found if match is None or _fits(each[0], match)]
    if not found:
        raise InvalidParameterError(
            f"{model.name} has no layers that Python sees, as exported programs and TorchScript "
            "have none; expected the network from the Python code that it was made of"
        )
    if not shown:
        raise InvalidParameterError(
            f"match is {match!r}, and none of the {count(len(found), 'layer')} of {model.name} "
            "has that in its name or module; expected a part of one, or no match="
        )
    output.json(
        [
            {
                "layer": layer.name,
                "module": layer.kind,
                "calls": layer.calls,
                "shape": None if layer.shape is None else list(layer.shape),
                "units": None if units is None else units.count,
                "kind": None if units is None else units.kind,
                "usual": layer.name == usual,
            }
            for layer, units in shown
        ]
    )
    if json == "-":
        return
    output.table(
        ["layer", "module", "its units"],
        [
            [layer.name, _module(layer), _units(layer, units)]
            for layer, units in shown
            if layer.calls
        ],
        named=max(len(layer.name) for layer, _ in shown) <= output.console.width // 2,
    )
    idle = sum(not layer.calls for layer, _ in shown)
    more = f"; not used, or without a tensor: {idle}" if idle else ""
    output.say(f"{count(len(shown) - idle, 'layer')}{more}")
    if usual:
        output.say(f"Where no --layer is given its units are read at {usual}")


def _fits(layer: "Layer", text: str) -> bool:
    return text.lower() in layer.name.lower() or text.lower() in layer.kind.lower()


def _module(layer: "Layer") -> str:
    used = f", {layer.calls} uses" if layer.calls > 1 else ""
    return f"{shortened(layer.kind, _MODULE)}{used}"


def _units(layer: "Layer", units: "Units | None") -> str:
    """``64 channels, 7×7 places``; of tokens also how many belong to none."""
    if units is None:
        return "none" + (f" in {'×'.join(map(str, layer.shape))}" if layer.shape else "")
    told, grid = units.counted, units.grid
    if grid is None:
        places = 1
        for place, many in enumerate(units.shape, 1):
            places *= 1 if place == units.axis else many
        return told + (f", {count(places, 'place')}" if places > 1 else "")
    beside = f" + {count(grid.prefix, 'token')}" if grid.prefix else ""
    return f"{told}, {grid.height}×{grid.width} places{beside}"
