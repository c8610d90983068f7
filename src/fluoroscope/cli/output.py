"""What the commands say: tables and progress on stderr, machine-readable JSON where asked.

Labels, file names and what a stranger's files hold are data: nothing in them is markup or emoji,
and nothing in them steers a terminal.
"""

import json
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol, TextIO, TypeVar

from rich.box import SIMPLE
from rich.console import Console, JustifyMethod
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
)
from rich.table import Table
from rich.text import Text

from fluoroscope.cli.time_left import TimeLeft
from fluoroscope.cli.waiting import waiting
from fluoroscope.errors import FluoroscopeWarning, InvalidParameterError, ResultFormatError
from fluoroscope.files import atomic_path, check_place
from fluoroscope.words import duration

T = TypeVar("T")
# Seconds between two looks at a bar.
_EVERY = 0.1
# Arguments of the library that are options of every command with a network.
_ARGUMENTS = {
    name: name.replace("_", "-")
    for name in (
        *("channels", "channel_order", "input_size", "resize", "interpolation", "outputs"),
        *("labels", "mean", "std", "checkpoint", "checkpoint_key", "device"),
        *("batch_size", "at_chance", "invert", "frost"),
    )
} | {"images": "input-size"}
# Arguments, and the option that stands for them in commands that have none of their name.
_OTHERWISE = {
    "eps": "threat",
    "norm": "threat",
    "grid": "on_grid",
    "corruptions": "corruption",
    "real": "data",
    "train": "train_split",
    "weight": "selective",
}
# What the library calls otherwise than an option of that name.
_NOT_ARGUMENTS = {"data", "model", "image", "images", "json", "out", "run", "split", "first"}
# Signs of a message.
_LONGEST = 2000
# Letters of a bar's line that its words leave: the bar, the share of it, the time left.
_BAR = 30
# Letters of a line of words in a table, at least.
_WORDS = 12
# The notes and warnings of this command so far.
_told: list[str] = []


# Options of this command, by the name of their argument.
_options: dict[str, str] = {}


def begin() -> None:
    """Another command has told of nothing yet."""
    _told.clear()
    _Console.unread = False
    _options.clear()


def speak_of(options: dict[str, str]) -> None:
    """From now on what the library says of these arguments is said of these options."""
    _options.update((name, as_) for name, as_ in options.items() if name not in _NOT_ARGUMENTS)
    _options.update(
        (name, options[other])
        for name, other in _OTHERWISE.items()
        if other in options and name not in options
    )


def unread() -> bool:
    """Whether somebody stopped reading before this command had said everything."""
    return _Console.unread


def told_already(note: str) -> bool:
    """Whether a note was told, by itself or among others; from now on it was."""
    known = any(note in one for one in _told)
    _told.append(note)
    return known


def harmless(text: object) -> str:
    """The text with a space for each sign that would do something else than be seen.

    And not for ever: what is quoted in it may be of any length.
    """
    words = str(text)
    if len(words) > _LONGEST:
        words = f"{words[: _LONGEST // 2]} … {words[-_LONGEST // 2 :]}"
    return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in words)


def one_line(text: object) -> str:
    """The same in one line."""
    return " ".join(harmless(text).split())


def fitting(words: str, room: int) -> str:
    """Words in so many letters, cut at the end if need be."""
    return words if len(words) <= max(1, room) else f"{words[: max(1, room) - 1].rstrip()}…"


def in_options(text: str) -> str:
    """What the library says of its arguments, said of options: ``--channels 1``."""
    known = _ARGUMENTS | _options
    names = "|".join(map(re.escape, known))

    def option(found: re.Match[str]) -> str:
        name, value = known[found[1]], found[2] or found[3]
        link = "=" if " " in name else " "  # of --weight NAME=VALUE, and of all others
        return f"--{name}" + (f"{link}{value}" if value and name != "8bit" else "")

    given = rf"""(?<![\w./-])({names})=(?:["']([\w./:-]+)["']|(\d+)|True)?(?![\w=])"""
    # At the beginning, if it is no file's name that stands there.
    first = rf"^({names})(?= (?:is (?!empty|an? |no )|was (?:not )?given|holds [\d']))()()"
    missing = rf"(?<![\w-])({names})(?= is missing)()()"
    dashed = {name.replace("_", "-"): name for name in known}
    head = re.match(r"[a-z]+(?:-[a-z0-9]+)+", text)
    if head and head[0] in dashed:
        text = dashed[head[0]] + text[head.end() :]
    for pattern in (given, first, missing):
        text = re.sub(pattern, option, text)
    return text


class _Time(ProgressColumn):
    """How long it has been, and what is left where that is known."""

    def render(self, task: Task) -> Text:
        left = "" if task.time_remaining is None else f", {duration(task.time_remaining)} left"
        return Text(f"{duration(round(task.elapsed or 0.0))}{left}")


class Move(Protocol):
    """Moves a bar."""

    def __call__(self, share: float, state: str, left: float | None = None) -> None:
        """To a share, with a word on the state, and how many seconds are left if that is known."""


class _Console(Console):
    unread: ClassVar[bool] = False
    """Whether somebody stopped reading what this command says."""

    def __init__(self, *, stderr: bool) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, stderr=stderr)

    def on_broken_pipe(self) -> None:
        """Whoever read has read enough; the files that were asked for are written all the same."""
        self.quiet = _Console.unread = True

    def print(self, *objects: Any, **how: Any) -> None:
        with waiting.hidden():
            super().print(*objects, **how)


class Output:
    """Where one command's words go.

    With ``--json -`` standard output carries nothing but the JSON, and what is for people goes to
    standard error; likewise where another form is wanted there, of those in ``targets``.
    """

    def __init__(self, json_target: str | None, **targets: str | None) -> None:
        self.json_target = json_target
        there = [name for name, one in {"json": json_target, **targets}.items() if one == "-"]
        if len(there) > 1:
            raise InvalidParameterError(
                f"--{there[0]} and --{there[1]} are both -; expected one of them on standard "
                "output, and a file for the other"
            )
        self.console = _Console(stderr=bool(there))
        self._progress = _Console(stderr=True)

    def ready(self) -> None:
        """Refuse a place where the JSON cannot be written before any work is done for it.

        Raises:
            StorageError: there is no such directory, or nothing can be written there.
        """
        if self.json_target not in (None, "-"):
            assert self.json_target is not None
            check_place(self.json_target)

    def say(self, text: str) -> None:
        """A line for people; on a terminal broken between words."""
        self.console.print(harmless(text), soft_wrap=not self.console.is_terminal)

    def note(self, text: str) -> None:
        """Something that a reader of the result should know."""
        words = one_line(in_options(text))
        if not told_already(words):
            self.say(f"note: {words}")

    def table(
        self,
        columns: list[str],
        rows: Iterable[Iterable[Any]],
        title: str = "",
        *,
        named: bool = False,
        whole: bool = False,
    ) -> None:
        """A table for people; columns whose name ends in ``>`` are set flush right.

        Where rows are ``named`` the first column holds words that are typed, and never broken.
        With ``whole`` those set flush right are not, where some room is left for the others' words.
        """
        cells = [list(map(harmless, row)) for row in rows]
        right = [place for place, column in enumerate(columns) if column.endswith(">")]
        taken = sum(max(len(row[place]) for row in [columns, *cells]) + 2 for place in right)
        whole = whole and taken + _WORDS <= self.console.width
        table = Table(
            box=SIMPLE, title=harmless(title) or None, title_justify="left", pad_edge=False,
            collapse_padding=whole,
        )  # fmt: skip
        for place, column in enumerate(columns):
            justify: JustifyMethod = "right" if column.endswith(">") else "left"
            table.add_column(
                harmless(column.removesuffix(">")),
                justify=justify,
                overflow="fold",
                no_wrap=(named and not place) or (whole and place in right),
            )
        for row in cells:
            table.add_row(*row)
        self.console.print(table)

    def progress(self, items: Iterable[T], total: int | None, what: str) -> Iterator[T]:
        """Pass the items on under a bar with the time left; it vanishes when done."""
        with waiting.hidden(), self._bar() as bar:
            yield from bar.track(items, total=total, description=harmless(what))

    @contextmanager
    def counting(self, total: int, what: str) -> Iterator[Callable[[float, str], None]]:
        """A bar that is moved by calling what it gives with a count and a word on the state."""
        with waiting.hidden(), self._bar() as bar:
            task = bar.add_task(harmless(what), total=total)
            yield lambda count, state: bar.update(
                task, advance=count, description=harmless(f"{what} ({state})")
            )

    @contextmanager
    def measuring(self) -> Iterator["Move"]:
        """A bar that is moved by calling what it gives with the share done and the state.

        Whoever knows better than the share how many seconds are left may say so, too.
        """
        with (
            waiting.hidden(),
            Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                TaskProgressColumn(),
                TextColumn("{task.fields[left]}", justify="right"),
                console=self._progress,
                transient=True,
                disable=not self._progress.is_terminal,
                expand=True,
            ) as bar,
        ):
            task, moved, clock = bar.add_task("beginning", total=1.0, left=""), -_EVERY, TimeLeft()

            def move(share: float, state: str, left: float | None = None) -> None:
                nonlocal moved
                now = time.monotonic()
                if now - moved >= _EVERY:
                    moved = now
                    shown = clock.at(now, share, left)
                    words = fitting(harmless(state), self._progress.width - _BAR)
                    bar.update(task, completed=share, description=words, left=shown)

            yield move

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Warnings as lines for people, each once."""

        def tell(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            text = one_line(in_options(str(message)))
            if issubclass(category, FluoroscopeWarning) and not told_already(text):
                # Above the bar, if one is there.
                words = harmless(f"warning: {text}")
                self._progress.print(words, soft_wrap=not self._progress.is_terminal)

        with warnings.catch_warnings():
            warnings.simplefilter("always", FluoroscopeWarning)
            warnings.showwarning = tell
            yield

    def _bar(self) -> Progress:
        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Time(),
            console=self._progress,
            transient=True,
            disable=not self._progress.is_terminal,
        )

    def json(self, value: Any) -> None:
        """The result for machines, to standard output or a file, if it was asked for."""
        if self.json_target is None:
            return
        text = json_text(value)
        if self.json_target == "-":
            try:
                text.encode(sys.stdout.encoding or "utf-8")  # a notebook's or a test's has none
            except UnicodeEncodeError:
                text = json.dumps(value, indent=1)
            _print(text + "\n")
            return
        self.file(self.json_target, text + "\n")

    def file(self, target: str | None, text: str) -> None:
        """A text to standard output or a file, if it was asked for."""
        if target == "-":
            _print(text)
        elif target is not None:
            with atomic_path(target) as draft:
                draft.write_text(text, encoding="utf-8")
            self.say(f"wrote {target}")

    def wrote(self, paths: list[Path], first: str | None = None) -> None:
        """Which files a command left, by directory; of many one, and how many more there are."""
        for directory in dict.fromkeys(path.parent for path in paths):
            names = [path.name for path in paths if path.parent == directory]
            if first in names and len(names) > 1:
                self.say(f"wrote {directory / first} and {len(names) - 1:,} more beside it")
                continue
            self.say(f"wrote {directory}/  {'  '.join(names)}")


def earlier_run(output: Output, finished: Path) -> str:
    """What is said, also in the picture of what is forming, where an earlier run's files lie.

    They stay until they are replaced, and a new run that is killed leaves both.
    """
    if not finished.exists():
        return ""
    output.note(
        f"{finished} and what belongs to it are what an earlier run left, until this one ends"
    )
    return f"{finished.name} and what belongs to it are what an earlier run left"


def stopped(output: Output, checkpoint: Path, step: int, total: int) -> None:
    """Say how a training that was broken off goes on, where it has left a checkpoint."""
    if checkpoint.is_file():
        output.say(
            f"stopped after step {step:,} of {total:,}; the same command goes on from "
            f"{checkpoint}, which is at most a minute older"
        )


def _print(text: str) -> None:
    with waiting.hidden():
        sys.stdout.write(text)


def json_text(value: Any) -> str:
    """Plain values as JSON in which every character can be written down and shown.

    Raises:
        ResultFormatError: numbers that JSON does not have.
    """
    try:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ResultFormatError(
            f"the result cannot be written as JSON ({error}); expected finite numbers alone"
        ) from error
    return re.sub(r"[^ -~\n]+", lambda found: "".join(map(_escaped, found[0])), text)


def _escaped(sign: str) -> str:
    return sign if sign.isprintable() else json.dumps(sign)[1:-1]
