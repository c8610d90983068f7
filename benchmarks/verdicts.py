"""Verdicts that are kept: what each plan says of each bed, and what it cost.

One evaluation is one directory under ``KEPT``, and a file beside it that says what came of it. It
is made anew if what it is of has changed (network, pictures, bound, seed, the plan's stages), or if
that is asked for; one that was broken off begins anew, so passes and seconds are always of one go.
Of changed code nothing is known here: the commit is noted, and the tables say it.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor, nn

import fluoroscope as fs
from benchmarks.old_fast import old_fast
from benchmarks.timing import on_threads
from benchmarks.verdict_beds import Bed
from fluoroscope.attacks.registry import ATTACKS
from fluoroscope.engine.threats import Threat, as_threat
from fluoroscope.errors import NoGradientError
from fluoroscope.evaluation.plan import Plan, Stage, made
from fluoroscope.evaluation.plans import PLANS
from fluoroscope.evaluation.runs.run_directory import RunDirectory
from fluoroscope.files import atomic_path, remove

KEPT = Path("out/benchmarks/verdicts")
BATCH = 256


def relaxation_alone(threat: Threat) -> Plan:
    """The attack by constraint relaxation and nothing else."""
    return Plan("relaxation", (Stage("cr", made("cr", threat)),))


WAYS: dict[str, Callable[[Threat], Plan]] = {
    "standard": PLANS["standard"],
    "old fast": old_fast,
    "fast": PLANS["fast"],
    **({"constraint relaxation": relaxation_alone} if "cr" in ATTACKS else {}),
}
"""The plans that are compared; the first is what the others are held against."""


@dataclass
class Passes:
    """What went through a module."""

    forwards: int = 0
    backwards: int = 0

    @contextmanager
    def counted(self, *modules: nn.Module) -> Iterator[None]:
        """Inside, the modules' images count, and those whose gradients come back."""

        def back(gradient: Tensor) -> None:
            self.backwards += len(gradient)

        def forth(_: nn.Module, __: tuple[Tensor, ...], output: Any) -> None:
            logits = output if isinstance(output, Tensor) else output.logits
            self.forwards += len(logits)
            if logits.requires_grad:
                logits.register_hook(back)

        hooks = [module.register_forward_hook(forth) for module in modules]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


@dataclass(frozen=True)
class Found:
    """A verdict, and what it cost."""

    count: int
    fooled: tuple[int, ...]
    """Numbers of the pictures misclassified, clean or within the bound."""
    seconds: float
    """By the processor's clock."""
    wall: float
    """By the clock on the wall."""
    forwards: int
    backwards: int
    refused: str = ""
    """Why the plan could not be made on this network."""
    commit: str = ""
    date: str = ""
    load: tuple[float, float] = (0.0, 0.0)
    """Processes that wanted a processor, at the beginning and at the end."""

    @property
    def total(self) -> int:
        """Passes forward and back."""
        return self.forwards + self.backwards

    @property
    def surviving(self) -> int:
        """Pictures."""
        return self.count - len(self.fooled)


def verdict(
    name: str, bed: Bed, bound: str, seed: int, way: str, *, limit: int | None = None,
    anew: bool = False, make: bool = True, opened: tuple[fs.Classifier, fs.ImageSet] | None = None,
) -> Found | None:  # fmt: skip
    """What that plan says of that bed, made now if it was not before, unless none is to be made."""
    model, data = opened or bed.open(limit)
    plan = WAYS[way](as_threat(bound))
    identity = json.loads(json.dumps({
        "model": model.fingerprint(), "data": data.identity(), "bound": bound, "seed": seed,
        "plan": plan.describe(), "prepared": bed.prepared, "batch": BATCH,
    }))  # fmt: skip
    place = where(name, bound, len(data), way, seed)
    about = _beside(place)
    if not anew and about.is_file() and _read(about)["identity"] == identity:
        return _found(about)
    if not make:
        return None
    remove(about)
    found = _made(model, data, bound, plan, seed, bed.prepared, place)
    with atomic_path(about) as draft:
        text = json.dumps(asdict(found) | {"identity": identity}, indent=1)
        draft.write_text(text + "\n", encoding="utf-8")
    return found


def kept(name: str, bound: str, count: int, way: str, seed: int) -> Found | None:
    """The same if it was made before, whatever its plan was then."""
    about = _beside(where(name, bound, count, way, seed))
    return _found(about) if about.is_file() else None


def where(name: str, bound: str, count: int, way: str, seed: int) -> Path:
    """The directory of one evaluation: bed, bound, number of pictures, then plan and seed."""
    said = bound.replace(":", "-").replace("/", "of")
    return KEPT / name.replace(":", "/") / f"{said}-{count}" / f"{way.replace(' ', '-')}-seed{seed}"


def _beside(place: Path) -> Path:
    return place.with_name(f"{place.name}.json")


def _read(about: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(about.read_text(encoding="utf-8"))
    return said


def _found(about: Path) -> Found:
    said = _read(about)
    del said["identity"]
    return Found(**said | {key: tuple(said[key]) for key in ("fooled", "load")})


def _made(
    model: fs.Classifier, data: fs.ImageSet, bound: str, plan: Plan, seed: int, prepared: bool,
    place: Path,
) -> Found:  # fmt: skip
    passes, searched = Passes(), fs.prepare(model) if prepared else model
    modules = {model.module, searched.module}
    place.mkdir(parents=True, exist_ok=True)
    load, began, refused = os.getloadavg()[0], now(), ""
    with on_threads(1), passes.counted(*modules):
        try:
            fs.evaluate(
                searched, data, threat=bound, plan=plan, out=place, resume=False, seed=seed,
                batch_size=BATCH, at_chance=True,
            )  # fmt: skip
        except NoGradientError as problem:
            refused = str(problem)
    seconds, wall = since(began)
    fooled: tuple[int, ...] = ()
    if not refused:
        rows = RunDirectory(place).tables()
        fooled = tuple(sorted(set(rows.filter(rows["success"])["index"].to_pylist())))
    return Found(
        len(data), fooled, round(seconds, 3), round(wall, 3), passes.forwards, passes.backwards,
        refused, _COMMIT, f"{datetime.now(UTC):%Y-%m-%d}",
        (round(load, 1), round(os.getloadavg()[0], 1)),
    )  # fmt: skip


def now() -> tuple[float, float]:
    """The processor's clock and the one on the wall."""
    return time.process_time(), time.perf_counter()


def since(began: tuple[float, float]) -> tuple[float, float]:
    """Seconds by both."""
    seconds, wall = now()
    return seconds - began[0], wall - began[1]


def _commit() -> str:
    """The short name of the commit, with a ``+`` where the source differs from it."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"], capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    return said.stdout.strip()


# Of the code that is loaded, which may change on disk while it runs.
_COMMIT = _commit()
