"""The command line: thin, it calls what is below and prints what comes back.

Everything heavy is imported inside the commands, so that ``--help`` answers at once.
"""

import sys

import typer

from fluoroscope.cli.attack import attack, attacks
from fluoroscope.cli.class_map import class_map
from fluoroscope.cli.corrupt import corrupt
from fluoroscope.cli.evaluate import evaluate
from fluoroscope.cli.gradient import gradient
from fluoroscope.cli.labels import labels
from fluoroscope.cli.models import models
from fluoroscope.cli.morph import morph
from fluoroscope.cli.output import one_line
from fluoroscope.cli.predict import predict
from fluoroscope.cli.runs import runs
from fluoroscope.cli.train import train
from fluoroscope.cli.transfer import transfer
from fluoroscope.cli.xray import xray
from fluoroscope.errors import FluoroscopeError

app = typer.Typer(
    name="fluoroscope",
    help="Look inside PyTorch image classifiers through their inputs.",
    epilog="Start with: fluoroscope morph -m digits-cnn -i digits:7 --to 2 --gif",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(models)
app.add_typer(runs)
_COMMANDS = (
    *(predict, gradient, morph, attack, attacks, evaluate, transfer, corrupt, train),
    labels,
    xray,
)
for command in _COMMANDS:
    app.command()(command)
app.command("map")(class_map)


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    try:
        sys.exit(app(standalone_mode=False))
    except FluoroscopeError as error:
        message, code = str(error), 2
    except typer.TyperException as error:
        message, code = error.format_message(), error.exit_code
    except typer.Abort:
        message, code = "stopped", 130
    if message:
        sys.stderr.write(f"fluoroscope: {one_line(message)}\n")
    sys.exit(code)
