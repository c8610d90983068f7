"""The room in which a target is fuzzed: a child process with bounds on memory, time and reach.

The child notes which input it is at before it opens it, so that whatever ends it the input can be
named. An input follows from the seed, the target and its number alone; the first are whole.
"""

import os
import pickle
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

import fluoroscope as fs
from tests.fuzz.mutate import SECRET, Tree, mutated, write

# Of memory a child may take for one input, and what it may take in all beside what it had before.
_PEAK, _GROWTH = 1.5 * 2**30, 3 * 2**30
# Seconds for one input, on a busy machine, and for making whole files.
_EACH, _BEGIN = 20.0, 240.0
# Faults of different places that are told at once.
_MOST = 5


class _Reached(BaseException):
    """Something outside the folder was read, dialled or run. No handler of errors may take it."""


def faults(target: str, seed: int, inputs: int | None, seconds: float | None) -> list[str]:
    """What went wrong with so many inputs, or for so long; a copy of each such input is kept."""
    killed: list[tuple[int, str]] = []
    start, ends = 0, time.monotonic() + (seconds or 0)
    with tempfile.TemporaryDirectory(prefix="fluoroscope-fuzzing-") as top:
        place = Path(top)
        while len(killed) < _MOST:
            left = None if seconds is None else ends - time.monotonic()
            options = (target, seed, start, inputs, left, top)
            child = _context().Process(target=_work, args=options)
            child.start()
            problem = _watch(child, place)
            number = _number(place)
            if problem is not None and number is None:
                return [f"{target}: whole files do not go through: the child {problem}"]
            if problem is None or number is None:
                break
            killed.append((number, f"the child {problem}"))
            start = number + 1  # go on behind it
        notes = sorted(place.glob("fault-*.txt"))
        found = [(int(path.stem[6:]), path.read_text("utf-8")) for path in notes] + killed
        return [_told(target, seed, number, words, place) for number, words in found[:_MOST]]


def _context() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload(
        ["fluoroscope.evaluation.evaluate", "fluoroscope.models.builtin", "torchvision"]
    )
    return context


def _told(target: str, seed: int, number: int, words: str, place: Path) -> str:
    copy = Path(tempfile.gettempdir(), "fluoroscope-fuzz", f"{target}-{seed}-{number}")
    shutil.rmtree(copy, ignore_errors=True)
    _put(target, seed, number, pickle.loads((place / "trees").read_bytes()), copy)
    return f"{target}, seed {seed}, input {number}, kept in {copy}:\n{words}"


def _put(target: str, seed: int, number: int, trees: list[Tree], folder: Path) -> None:
    """Write one input into a new folder."""
    folder.mkdir(parents=True)
    r = Random(f"{seed} {target} {number}")
    whole = number < len(trees)
    tree = trees[number] if whole else mutated(r.choice(trees), trees, r)
    write(tree, folder, r, special=not whole)


def _watch(child: BaseProcess, place: Path) -> str | None:
    """Wait for the child's end; what is wrong with it, if anything is."""
    last, since = _number(place), time.monotonic()
    while child.is_alive():
        child.join(0.1)
        now = _number(place)
        if now != last:
            last, since = now, time.monotonic()
        if time.monotonic() - since > (_BEGIN if last is None else _EACH):
            child.kill()
            child.join()
            return f"hangs for more than {_EACH:.0f} seconds"
    return None if child.exitcode == 0 else f"ends with code {child.exitcode}"


def _number(place: Path) -> int | None:
    """Of the input that the child is at, or was at last."""
    try:
        return int((place / "at").read_text())
    except (OSError, ValueError):
        return None


def _work(
    target: str, seed: int, start: int, inputs: int | None, seconds: float | None, top: str
) -> None:
    """In the child: open one input after the other."""
    from tests.fuzz.targets import TARGETS

    place, door = Path(top), TARGETS[target].door
    folder, kept = place / "inside" / "folder", place / "trees"
    if not kept.exists():
        whole = place / "whole"
        whole.mkdir()
        kept.write_bytes(pickle.dumps(TARGETS[target].seeds(whole)))
    trees: list[Tree] = pickle.loads(kept.read_bytes())
    shutil.rmtree(folder, ignore_errors=True)
    _put(target, seed, 0, trees, folder)
    Image.new("RGB", (12, 12), "red").save(folder.parent / SECRET)
    door(folder)  # which is whole: were it refused, nothing behind the first check would be reached
    shutil.rmtree(folder)
    ends, known, number = time.monotonic() + (seconds or 0), set[str](), start
    with _guarded(folder.parent / SECRET):
        while number < inputs if inputs is not None else time.monotonic() < ends:
            _put(target, seed, number, trees, folder)
            (place / "at").write_text(str(number))
            before = _peak()
            problem = _attempt(door, folder)
            more = _peak() - before
            if more > _PEAK:
                problem = ("memory", f"took {more / 2**20:.0f} MiB")
            if problem is not None and problem[0] not in known:
                known.add(problem[0])
                note = place / f"fault-{number}.txt"
                note.write_text(problem[1], "utf-8", "backslashreplace")
            shutil.rmtree(folder)
            number += 1
    print(f"{target}: {number} inputs, {time.process_time():.1f} s", file=sys.stderr)


def _attempt(door: Any, folder: Path) -> tuple[str, str] | None:
    """The place of a fault and what it was, if there was one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            door(folder)
    except fs.FluoroscopeError:
        return None
    except (Exception, _Reached) as fault:
        trace = traceback.extract_tb(fault.__traceback__)
        own = [at for at in trace if "fluoroscope" in Path(at.filename).parts]
        where = f"{own[-1].filename}:{own[-1].lineno}" if own else ""
        return f"{type(fault).__name__} {where}", traceback.format_exc()[-3000:]
    return None


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def _guarded(secret: Path) -> Iterator[None]:
    """Until the process ends: no more memory, and no other program, host or folder."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + int(_GROWTH)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hidden = os.path.realpath(secret)

    def look(event: str, values: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "os.system", "os.exec", "subprocess.Popen"):
            raise _Reached(f"{event}: {values!r}")
        opens = event == "open" and isinstance(values[0], str | bytes)
        if opens and os.path.realpath(os.fsdecode(values[0])) == hidden:
            raise _Reached(f"{values[0]!r} outside the folder was read")

    sys.addaudithook(look)
    yield
