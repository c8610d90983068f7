"""``fluoroscope neurons``: what the units of a layer answer to, and what becomes of it."""

import typer

from fluoroscope.cli.neurons_adversarial import adversarial
from fluoroscope.cli.neurons_consistency import consistency
from fluoroscope.cli.neurons_detect import detect
from fluoroscope.cli.neurons_list import list_
from fluoroscope.cli.neurons_read import read
from fluoroscope.cli.neurons_show import show
from fluoroscope.cli.options import Command

neurons = typer.Typer(
    name="neurons",
    help="List a network's layers and their units; read what units say of pictures.",
    no_args_is_help=True,
)
neurons.command("list", cls=Command)(list_)
neurons.command("adversarial", cls=Command)(adversarial)
neurons.command("show", cls=Command)(show)
neurons.command("consistency", cls=Command)(consistency)
neurons.command("read", cls=Command)(read)
neurons.command("detect", cls=Command)(detect)
