"""``fluoroscope models``: which networks there are, and what one expects of a picture."""

from typing import Annotated, Any

import typer

from fluoroscope.cli.options import (
    Checkpoint,
    CheckpointKey,
    Device,
    InputSize,
    Json,
    Labels,
    Mean,
    Std,
    load,
)
from fluoroscope.cli.output import Output

models = typer.Typer(name="models", help="List networks, or show one.", no_args_is_help=True)


@models.command("list")
def list_(json: Json = None) -> None:
    """Networks that come built in, and the forms of name that load others."""
    from fluoroscope.models.loading import list_models

    found = list_models()
    output = Output(json)
    output.json(found)
    if json != "-":
        _print_list(output, found)


@models.command()
def show(
    name: Annotated[str, typer.Argument(help="A network's name, as for --model.")],
    checkpoint: Checkpoint = None,
    checkpoint_key: CheckpointKey = None,
    labels: Labels = None,
    mean: Mean = None,
    std: Std = None,
    input_size: InputSize = None,
    device: Device = "cpu",
    json: Json = None,
) -> None:
    """What a network expects: size, channels and normalisation, and who states them.

    [bold]Example:[/] fluoroscope models show digits-cnn
    """
    from fluoroscope.models.loading import describe_model

    loaded = load(
        name, checkpoint, labels, mean, std, input_size, device, checkpoint_key=checkpoint_key
    )
    described = describe_model(loaded)
    output = Output(json)
    output.json(described)
    if json != "-":
        output.table(["", name], ((key, _plain(value)) for key, value in described.items()))


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return "not stated" if value is None else str(value)


def _print_list(output: Output, found: dict[str, Any]) -> None:
    output.table(
        ["built in", "parameters>", "MNIST test>", "built-in pictures>"],
        (
            [
                entry["name"],
                entry["training"]["parameters"],
                *(f"{100 * share:.2f} %" for share in entry["training"]["accuracy"].values()),
            ]
            for entry in found["built_in"]
        ),
    )
    missing = [name for name, installed in found["libraries"].items() if not installed]
    output.table(
        ["other names", "what"], ([entry["form"], entry["meaning"]] for entry in found["forms"])
    )
    if missing:
        output.say(f"not installed: {', '.join(missing)}; pip install 'fluoroscope[hub]'")
