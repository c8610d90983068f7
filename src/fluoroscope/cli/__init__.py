"""The command line: thin, it calls what is below and prints what comes back.

Everything heavy is imported inside the commands, so that ``--help`` answers at once.
"""

import errno
import io
import os
import platform
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from fluoroscope.cli.attack import attack, attacks
from fluoroscope.cli.attribute import attribute
from fluoroscope.cli.audit import audit
from fluoroscope.cli.class_map import class_map
from fluoroscope.cli.corrupt import corrupt
from fluoroscope.cli.depth import depth
from fluoroscope.cli.evaluate import evaluate
from fluoroscope.cli.gradient import gradient
from fluoroscope.cli.invert import invert
from fluoroscope.cli.labels import labels
from fluoroscope.cli.latent import latent
from fluoroscope.cli.models import models
from fluoroscope.cli.morph import morph
from fluoroscope.cli.neurons import neurons
from fluoroscope.cli.options import Command
from fluoroscope.cli.output import Output, begin, in_options, one_line, unread
from fluoroscope.cli.portrait import portrait
from fluoroscope.cli.predict import predict
from fluoroscope.cli.report import report
from fluoroscope.cli.runs import runs
from fluoroscope.cli.studio import studio
from fluoroscope.cli.trace import trace
from fluoroscope.cli.train import train
from fluoroscope.cli.transfer import transfer
from fluoroscope.cli.waiting import STOPPED, stoppable
from fluoroscope.cli.xray import xray
from fluoroscope.errors import FluoroscopeError

# What is said of a stream that takes nothing any more; files are not meant.
_STREAM_FAULTS = (errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EBADF, errno.EDQUOT, errno.EFBIG)

app = typer.Typer(
    name="fluoroscope",
    epilog="Start with: fluoroscope morph -m digits-cnn -i digits:7 --to 2 --gif",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        there = f"PyTorch {version('torch')}, Python {platform.python_version()}"
        typer.echo(f"fluoroscope {version('fluoroscope')} ({there})")
        raise typer.Exit


@app.callback()
def fluoroscope(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Look inside PyTorch image classifiers through their inputs."""


app.add_typer(attribute)
app.add_typer(portrait)
app.add_typer(neurons)
app.add_typer(depth)
app.add_typer(models)
app.add_typer(runs)
app.add_typer(report)
app.add_typer(invert)
_COMMANDS = (
    *(predict, gradient, morph, attack, attacks, evaluate, transfer, corrupt, train),
    audit,
    trace,
    latent,
    labels,
    xray,
    studio,
)
for command in _COMMANDS:
    app.command(cls=Command)(command)
app.command("map", cls=Command)(class_map)


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    _streams()
    begin()
    before = signal.signal(signal.SIGTERM, _end)
    try:
        code, message = _outcome()
        try:
            sys.stdout.flush()
        except OSError as problem:
            code, message = _unwritable(problem)
        if message:
            with suppress(OSError):  # nobody is there to be told
                if code == STOPPED and sys.stderr.isatty():
                    sys.stderr.write("\r\x1b[K")  # over the ^C that the terminal shows
                sys.stderr.write(f"fluoroscope: {one_line(in_options(message))}\n")
                sys.stderr.flush()
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.exit(code)


@cache
def _built() -> Callable[..., Any]:
    """The commands with all their options, made once: whoever calls `main` often, as tests do,
    does not wait for it each time.
    """
    return typer.main.get_command(app)


def _outcome() -> tuple[int, str]:
    """The exit code of the command, and what is to be said of it."""
    try:
        with Output("-").telling(), stoppable():
            code = _built()(standalone_mode=False) or int(unread())
            return code, "stopped" if code == STOPPED else ""
    except FluoroscopeError as error:
        return 2, str(error)
    except typer.TyperException as error:
        return error.exit_code, error.format_message()
    except typer.Abort as stop:
        if isinstance(stop.__cause__, EOFError):
            raise stop.__cause__ from None  # a fault of ours, which typer takes for a Ctrl-D
        return STOPPED, "stopped"
    except KeyboardInterrupt:
        return STOPPED, "stopped"
    except _Ended:
        return 128 + signal.SIGTERM, ""
    except OSError as problem:
        if problem.filename is not None or problem.errno not in _STREAM_FAULTS:
            raise
        return _unwritable(problem)


def _unwritable(problem: OSError) -> tuple[int, str]:
    """Standard output takes nothing any more; nothing is tried again when the interpreter ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    if problem.errno == errno.EPIPE:
        return 1, ""  # whoever read has read enough
    return (
        2,
        f"standard output cannot be written: {problem.strerror}; make room, or write elsewhere",
    )


def _streams() -> None:
    """Streams that the caller has closed lead nowhere, and no character is too strange for one."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - until the end
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Ended(BaseException):
    """SIGTERM; no SystemExit, which a network may raise and is then told that it did."""


def _end(*_: object) -> None:
    """SIGTERM: end at once, but by way of what clears up."""
    raise _Ended
