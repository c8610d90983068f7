"""``fluoroscope portrait list`` and ``show``: the presets in plain words, without PyTorch."""

from dataclasses import asdict
from typing import Annotated

import typer

from fluoroscope.cli.options import Json
from fluoroscope.cli.output import Output

# What else is given in Python, by what a preset needs.
_GIVEN = {
    "none": "",
    "a start": ", start=picture",
    "of all classes": ", real=(images, classes_of_these)",
    "of each class": ", real=(images, classes_of_these)",
}


def list_(json: Json = None) -> None:
    """List the presets: what their portraits are, what they cost and need."""
    from fluoroscope.inversion.names import PRESETS, USUAL

    output = Output(json)
    output.json([{"name": name, **asdict(about)} for name, about in PRESETS.items()])
    if json == "-":
        return
    output.table(
        ["preset", "its portraits", "needs real pictures", "passes>"],
        (
            [name, about.summary, about.needs, about.cost.split()[0]]
            for name, about in PRESETS.items()
        ),
        named=True,
    )
    output.say(
        "A pass is one picture through the network and back, for each portrait; up to 64 pixels "
        f"some take fewer. {USUAL} is drawn if none is named. One with its formula and constants: "
        "fluoroscope portrait show PRESET"
    )


def show(
    preset: Annotated[str, typer.Argument(help="A preset's name.")], json: Json = None
) -> None:
    """Show one preset: paper, formula, constants, cost, what it needs."""
    from fluoroscope.inversion.names import PRESETS, check_preset

    check_preset(preset)
    output, about = Output(json), PRESETS[preset]
    output.json({"name": preset, **asdict(about)})
    if json == "-":
        return
    output.table(
        [preset, about.paper],
        [
            ["its portraits", about.summary],
            ["take it when", about.when],
            ["formula", about.formula],
            ["constants", about.constants],
            ["costs", about.cost],
            ["real pictures", about.needs],
            *([["caution", about.caution]] if about.caution else []),
            ["in Python", f'fs.portrait(model, classes, method="{preset}"{_GIVEN[about.needs]})'],
        ],
    )
