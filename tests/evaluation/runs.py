"""A small run that several tests start, kill and go on with."""

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import fluoroscope as fs
from fluoroscope.evaluation.plan import Plan, Stage
from fluoroscope.evaluation.runs.run_directory import RunDirectory

PICTURES, PART = 40, 8


def plan() -> Plan:
    made = {
        "fgsm": fs.attack("fgsm", eps=0.05),
        "apgd": fs.attack("apgd", eps=0.05, steps=10),
        "square": fs.attack("square", eps=0.05, queries=30),
    }
    return Plan("short", tuple(Stage(name, attack) for name, attack in made.items()))


def run(out: Path | None, **options: Any) -> fs.Verdict:
    """From the start, or from where it was stopped, to the end."""
    images = fs.load_images("digits", channels=1).take(PICTURES)
    options = {"threat": "linf:0.05", "plan": plan(), "part": PART, "batch_size": 4} | options
    return fs.evaluate(fs.load_model("digits-cnn"), images, out=out, **options)


def rows(out: Path) -> dict[str, list[object]]:
    """Everything that was written, but the seconds."""
    return dict(RunDirectory(out).tables().drop_columns(["seconds"]).to_pydict())


def parts(out: Path) -> set[str]:
    """The files of finished stages."""
    folder = out / "parts"
    return (
        {file.name for file in folder.iterdir() if file.name[0] != "."}
        if folder.is_dir()
        else set()
    )


def process(target: Callable[..., object], *args: Any, **options: Any) -> BaseProcess:
    """One that can be killed, from a server that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["fluoroscope.evaluation.evaluate", "fluoroscope.models.builtin"]
    )
    started = context.Process(target=target, args=args, kwargs=options, daemon=False)
    started.start()
    return started


def kill(one: BaseProcess) -> bool:
    """Whether it was still alive, and is no more by our hand."""
    one.kill()
    one.join()
    return one.exitcode == -signal.SIGKILL
