"""``fluoroscope depth``: depth from one picture, by units that answer to a depth of their own."""

import typer

from fluoroscope.cli.depth_ablate import ablate
from fluoroscope.cli.depth_diagnose import diagnose
from fluoroscope.cli.depth_show import show
from fluoroscope.cli.depth_train import train
from fluoroscope.cli.options import Command

depth = typer.Typer(
    name="depth",
    help="Depth from one picture: train a network on rendered scenes, and look at its units.",
    no_args_is_help=True,
)
depth.command("train", cls=Command)(train)
depth.command("show", cls=Command)(show)
depth.command("ablate", cls=Command)(ablate)
depth.command("diagnose", cls=Command)(diagnose)
