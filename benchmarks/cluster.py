"""Evaluations of whole data sets: on a Ray cluster of this machine, in memory, read again.

Needs MNIST in ../shared.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import fluoroscope as fs
from benchmarks.page import PAGE, Scale, Section, Skipped
from benchmarks.peers import MNIST
from benchmarks.timing import interleaved
from fluoroscope.engine.memory import keep_freed_memory
from fluoroscope.evaluation.plan import Plan, Stage

_WORKERS = 2
_KERNELS = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def cluster(scale: Scale) -> Section:
    """Two workers of a Ray cluster against the plain loop, its start apart."""
    if not MNIST.is_dir():
        raise Skipped(f"it needs {MNIST}")
    keep_freed_memory()  # as the command line does, and workers
    section = Section(PAGE, "cluster", "Two workers of a Ray cluster against the plain loop")
    count = scale.limit or 4000
    part = max(1, count // 20)
    model = fs.load_model("digits-cnn")
    images = fs.load_images(MNIST, "test", channels=1)
    plan = cheap_plan(scale.steps or 100, everyone=True)

    def run(pictures: int, part: int, **engine: Any) -> fs.Verdict:
        taken = images.take(pictures)
        return fs.evaluate(model, taken, threat="linf:0.1", plan=plan, part=part, **engine)

    timing = interleaved(
        {
            "plain": lambda: run(count, part),
            "ray": lambda: run(count, part, engine="ray", workers=_WORKERS),
            "start": lambda: run(_WORKERS, 1, engine="ray", workers=_WORKERS),
        },
        scale.repeats or 3,
        warm=False,
    )
    plain, ray, start = (timing.seconds[name] for name in ("plain", "ray", "start"))
    same = timing.results["plain"].forwards == timing.results["ray"].forwards
    alone = [a - b for a, b in zip(ray, start, strict=True)]
    rows = [
        _rate("the plain loop", count, plain, plain),
        _rate(f"Ray, {_WORKERS} workers, all of it", count, ray, plain),
        _rate(f"Ray, {_WORKERS} workers, less its start", count, alone, plain),
    ]
    section.text(
        f"{count:,} test digits of MNIST in parts of {part}, `digits-cnn`, Linf 0.1, one stage: "
        f"PGD of {scale.steps or 100} steps on all that are classified correctly, to the last "
        f"step. The plain loop has {count(torch.get_num_threads(), 'thread')}, each worker its "
        "share of the processors. Ray's start is what the same call takes on two pictures: its "
        "processes, their imports, the network's way there. Both count the same passes: "
        + ("yes" if same else "NO")
        + "."
    )
    section.table(["by", "seconds>", "pictures/s>", "of the plain loop's>", "turns>"], rows)
    section.text(f"Ray's start: {min(start):.1f} to {max(start):.1f} s.")
    return section


def evaluate_memory(scale: Scale) -> Section:
    """What an evaluation holds in memory at most, on few pictures and on many; reading it again."""
    if not MNIST.is_dir():
        raise Skipped(f"it needs {MNIST}")
    section = Section(PAGE, "evaluate-memory", "An evaluation's memory, and reading it again")
    rows = []
    most = scale.limit or 10_000
    for kernels in (True, False):
        for count in (most // 5, most):
            with tempfile.TemporaryDirectory() as folder:
                first, again = (_measured(count, Path(folder), kernels) for _ in range(2))
                size = sum(f.stat().st_size for f in (Path(folder) / "parts").iterdir())
            assert first["forwards"] == again["forwards"]
            rows.append(
                [
                    f"{count:,}", "yes" if kernels else "no",
                    f"{first['peak']:.0f}", f"{first['seconds']:.1f}",
                    f"{again['seconds']:.2f}", f"{again['seconds'] / first['seconds']:.1%}",
                    f"{again['peak']:.0f}", f"{size / count:.0f}",
                ]
            )  # fmt: skip
    section.text(
        "`fs.evaluate` of `digits-cnn` on test digits of MNIST at Linf 0.1, a plan of FGSM and PGD "
        "with 20 steps, its rows kept in a directory; then the same call in a new process, which "
        "finds everything there. Seconds are the call's, imports apart; memory is the highest "
        "resident of the process. *Kernels kept*: oneDNN, with which PyTorch convolves on a "
        "processor, keeps a kernel for each batch size it has met, of at most 1,024; that grows "
        "until all have come up, and is all that grows "
        f"(`{_KERNELS}=0` switches it off).",
    )
    section.table(
        ["pictures", "kernels kept", "peak, MiB>", "seconds>", "read again, s>", "of the run>",
         "peak, MiB>", "bytes a picture>"],
        rows,
    )  # fmt: skip
    return section


def cheap_plan(steps: int, *, everyone: bool) -> Plan:
    """PGD alone, to its last step, or after FGSM and until fooled."""
    pgd = fs.attack("pgd", eps=0.1, steps=steps, step_size=0.01)
    if everyone:
        return Plan("pgd", (Stage("pgd", pgd, keep="last", everyone=True),))
    return Plan("cheap", (Stage("fgsm", fs.attack("fgsm", eps=0.1)), Stage("pgd", pgd)))


def _rate(by: str, count: int, seconds: list[float], plain: list[float]) -> list[str]:
    middle = sorted(range(len(seconds)), key=seconds.__getitem__)[len(seconds) // 2]
    ratios = sorted(a / b for a, b in zip(plain, seconds, strict=True))
    return [
        by, f"{seconds[middle]:.1f}", f"{count / seconds[middle]:.1f}",
        f"{ratios[len(ratios) // 2]:.2f}", f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
    ]  # fmt: skip


def _measured(count: int, out: Path, kernels: bool) -> dict[str, float]:
    command = [sys.executable, "-c", _CALL, str(MNIST), str(count), str(out)]
    settings = os.environ | ({} if kernels else {_KERNELS: "0"})
    ran = subprocess.run(command, check=True, capture_output=True, text=True, env=settings)
    return dict(json.loads(ran.stdout.splitlines()[-1]))


_CALL = """
import json, resource, sys, time
import fluoroscope as fs
from benchmarks.cluster import cheap_plan
from fluoroscope.engine.memory import keep_freed_memory
data, count, out = sys.argv[1:]
model, images = fs.load_model("digits-cnn"), fs.load_images(data, "test", channels=1)
plan = cheap_plan(20, everyone=False)
fs.evaluate  # imports what it needs
keep_freed_memory()  # as the command line does
began = time.perf_counter()
verdict = fs.evaluate(model, images.take(int(count)), threat="linf:0.1", plan=plan, out=out)
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "peak": peak, "forwards": verdict.forwards}))
"""

SECTIONS = {"cluster": cluster, "evaluate-memory": evaluate_memory}
