"""``fluoroscope invert list`` and ``show``: conditionings, presets and terms, without PyTorch."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.options import Json
from fluoroscope.cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluoroscope.inversion.generator.names import About


def list_(json: Json = None) -> None:
    """List how a generator can be told its class, the presets, and what it can lower."""
    from fluoroscope.inversion.generator.names import CONDITIONINGS, NAMES, PRESETS, TERMS

    output = Output(json)
    output.json([{"name": name, **asdict(one)} for name, one in NAMES.items()])
    if json == "-":
        return
    _table(output, CONDITIONINGS, "conditioning", "how the generator is told its class")
    _table(output, PRESETS, "preset", "all settings together")
    _table(output, TERMS, "term", "what is lowered, each with its --weight")
    output.say("One with its formula and source: fluoroscope invert show NAME")


def show(
    what: Annotated[str, typer.Argument(help="Name of a conditioning, a preset or a term.")],
    json: Json = None,
) -> None:
    """Show one of them: formula and source, and of a preset all its settings."""
    from fluoroscope.inversion.generator.names import about

    found = about(what)
    settings = _settings(what) if found.kind == "preset" else {}
    output = Output(json)
    output.json({"name": what, **asdict(found), **({"settings": settings} if settings else {})})
    if json == "-":
        return
    rows = [
        ["what", found.summary],
        ["formula", found.formula],
        ["from", found.source],
        *([["caution", found.caution]] if found.caution else []),
        *([option, str(value)] for option, value in settings.items()),
    ]
    output.table([found.kind, what], rows, named=True)


def _table(output: Output, about: "Mapping[str, About]", kind: str, title: str) -> None:
    rows = [[name, one.summary, one.source] for name, one in about.items()]
    output.table([kind, "what it is", "from"], rows, title, named=True)


def _settings(preset: str) -> dict[str, Any]:
    """Its numbers, flat, and where they come from."""
    from fluoroscope.inversion.generator.settings import PRESETS, SOURCES

    values = asdict(PRESETS[preset])
    inner = {**values.pop("weights"), **values.pop("how")}
    chosen = {name: value for name, value in {**values, **inner}.items() if value is not None}
    return {**chosen, "where its numbers come from": SOURCES[preset]}
