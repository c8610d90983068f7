"""``fluoroscope invert``: what a network believes classes look like, many pictures of each."""

import typer

from fluoroscope.cli.invert_assess import assess
from fluoroscope.cli.options import Command

invert = typer.Typer(
    name="invert",
    help="Pictures of classes by a generator, and what such pictures are worth.",
    no_args_is_help=True,
)
invert.command(cls=Command)(assess)
