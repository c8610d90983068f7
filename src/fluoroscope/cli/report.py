"""``fluoroscope report``: what is made of reports that were kept."""

from pathlib import Path
from typing import Annotated

import typer

from fluoroscope.cli.options import OUT, Command, Json
from fluoroscope.cli.output import Output

report = typer.Typer(
    name="report", help="Put two X-rays side by side on one page.", no_args_is_help=True
)


@report.callback()
def group() -> None:
    """Put two X-rays side by side on one page."""


@report.command(cls=Command)
def compare(
    a: Annotated[Path, typer.Argument(help="Directory that xray --run kept.")],
    b: Annotated[Path, typer.Argument(help="Another, such as of the network once hardened.")],
    out: Annotated[Path, typer.Option(*OUT, help="The page.")] = Path("out/report/compare.html"),
    title: Annotated[str | None, typer.Option(help="The heading of the page.")] = None,
    json: Json = None,
) -> None:
    """Two X-rays side by side, before and after: what changed, and can it be chance?

    The networks are not needed. Directories of evaluate will do, for what they hold.

    [bold]Example:[/] fluoroscope report compare out/before out/after --out compare.html
    """
    from fluoroscope.report.comparison import compare_reports

    output = Output(json)
    made = compare_reports(a, b, title=title)
    path = made.save(out)
    output.say(made.summary)
    for name, why in made.missing.items():
        output.say(f"left out: {name}. {why}")
    output.say(f"wrote {path}; open it in a browser")
    output.json(made.describe())
