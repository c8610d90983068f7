"""``fluoroscope models``: which networks there are, and what one expects of a picture."""

from textwrap import indent
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.options import Command, Json, load, with_statements
from fluoroscope.cli.output import Output

if TYPE_CHECKING:
    from torch import Tensor

    from fluoroscope.models.classifier import Classifier

# Built-in pictures that a network is shown.
PICTURES = 4

models = typer.Typer(name="models", help="List networks, or show one.", no_args_is_help=True)


@models.command("list")
def list_(json: Json = None) -> None:
    """Networks that come built in, and the forms of name that load others."""
    from fluoroscope.models.names import list_models

    found = list_models()
    output = Output(json)
    output.json(found)
    if json != "-":
        _print_list(output, found)


@models.command(cls=Command)
@with_statements
def show(
    name: Annotated[str, typer.Argument(help="A network's name, as for --model.")],
    *,
    stated: dict[str, Any],
    json: Json = None,
) -> None:
    """What a network expects, who states it, and what a first look finds doubtful in it.

    [bold]Example:[/] fluoroscope models show digits-cnn
    """
    from fluoroscope.engine.first_look import look_at
    from fluoroscope.models.loading import describe_model

    loaded = load(name, **stated)
    loaded.look = look_at(loaded, _pictures(loaded))
    described = describe_model(loaded)
    described["first_look"] |= {"shown": f"{PICTURES} built-in digits"}
    output = Output(json)
    output.json(described)
    if json != "-":
        found = described["first_look"]
        told = described | {"first_look": found | {"doubts": found["doubts"] or "none"}}
        output.table(["", name], ((_words(key), _plain(value)) for key, value in told.items()))


def _pictures(model: "Classifier") -> "Tensor":
    """Built-in digits as the network takes pictures ``(N, C, H, W)``."""
    from fluoroscope.data.imageset import load_images

    digits = next(iter(load_images("digits", channels=1).take(PICTURES).batches(PICTURES))).images
    pictures = model.fit(digits.expand(-1, model.channels, -1, -1))
    return pictures.to(model.device, model.dtype)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        told = {_words(key): _plain(inner) for key, inner in value.items() if inner not in ([], {})}
        # What has several lines stands below its name, a little to the right.
        return "\n".join(
            f"{key}:\n{indent(text, '  ')}" if "\n" in text else f"{key}: {text}"
            for key, text in told.items()
        )
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return "not stated" if value is None else str(value)


def _words(key: str) -> str:
    return key.replace("_", " ")


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
