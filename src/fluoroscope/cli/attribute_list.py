"""``fluoroscope attribute list`` and ``show``: the methods in plain words, without PyTorch."""

import re
from typing import Annotated, Any

import typer

from fluoroscope.cli.options import Json
from fluoroscope.cli.output import Output

# What stands over each group of the list.
_GROUPS = {
    "slope": "which way a brighter pixel moves it",
    "part": "what each pixel adds",
    "heat": "where it looks",
}


def list_(json: Json = None) -> None:
    """List the methods: what their maps are, what they promise, and what they cost."""
    from fluoroscope.attribution.names import METHODS

    output = Output(json)
    output.json([_described(name) for name in METHODS])
    if json == "-":
        return
    for group, title in _GROUPS.items():
        rows = [
            [name, about.summary, _in_a_word(about.promise), about.cost]
            for name, about in METHODS.items()
            if about.reads == group
        ]
        if rows:
            output.table(["method", "its map", "promises", "costs"], rows, title, named=True)
    output.say(
        "captum:NAME asks Captum for one of its own. One with its options: fluoroscope attribute "
        "show METHOD"
    )


def show(
    method: Annotated[str, typer.Argument(help="A method's name.")],
    json: Json = None,
) -> None:
    """Show one method: paper, formula, what it promises and costs, its options."""
    from fluoroscope.attribution.names import about as told_of

    about = told_of(method)
    output = Output(json)
    output.json(_described(method))
    if json == "-":
        return
    options = [f"{name}: {meaning}" for name, meaning in about.options.items()]
    output.table(
        [method, about.paper],
        [
            ["its map", about.summary],
            ["formula", about.formula],
            ["is read as", _GROUPS[about.reads]],
            ["promises", about.promise],
            ["costs", about.cost],
            *([["caution", about.caution]] if about.caution else []),
            ["options", "\n".join(options) or "none"],
            ["in Python", f'fs.attribute(model, images, method="{method}")'],
        ],
    )


def _in_a_word(promise: str) -> str:
    """``completeness``, of all that is said of it."""
    return re.split(r"[:,;]", promise)[0]


def _described(name: str) -> dict[str, Any]:
    from dataclasses import asdict

    from fluoroscope.attribution.names import about

    told = asdict(about(name))
    told.pop("home")
    return {"name": name, **told, "options": dict(told["options"])}
