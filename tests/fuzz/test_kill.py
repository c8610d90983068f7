"""Work that is killed at random moments, again and again, ends as if nobody had touched it.

In the suite some kills of a fixed seed for each kind of work; ``make fuzz`` kills for its minutes.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from itertools import count
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from pyarrow import parquet

import fluoroscope as fs
from fluoroscope.cli import main
from fluoroscope.evaluation.plan import Plan, Stage
from fluoroscope.evaluation.runs.run_directory import RunDirectory
from fluoroscope.training.beside.averaging import WeightAverage
from fluoroscope.training.beside.awp import AdversarialWeightPerturbation
from fluoroscope.training.gates.gates import ClassGates
from fluoroscope.training.losses.adversarial import PGDLoss
from fluoroscope.training.trainer import books

SECONDS = float(os.environ.get("FUZZ_SECONDS") or 0)
SEED = int(os.environ.get("FUZZ_SEED") or 0)
KILLS = 3
# Folders that are tried until something was killed before it ended.
FOLDERS = 10
# A training keeps more than others do: of the network, the optimiser, and all that goes along.
OF_TRAININGS = 20
# What the work below would import in each process anew, that of other libraries included.
IMPORTED = [
    "fluoroscope.evaluation.evaluate", "fluoroscope.report.xray", "fluoroscope.training.job.run",
    "fluoroscope.neurons.adversarial.making", "fluoroscope.data.tables",
    "fluoroscope.attribution.cam.eigen_cam", "fluoroscope.attribution.deeplift",
    "fluoroscope.attribution.guided_backprop", "fluoroscope.attribution.masks.feature_ablation",
    "torch._dynamo", "datasets", "jinja2", "matplotlib.backends.backend_svg", "matplotlib.figure",
    "pandas", "scipy.ndimage", "scipy.optimize", "scipy.sparse", "scipy.stats",
]  # fmt: skip


def evaluate(out: Path) -> None:
    stages = (
        Stage("fgsm", fs.attack("fgsm", eps=0.05)),
        Stage("pgd", fs.attack("pgd", eps=0.05, steps=10)),
    )
    images = fs.load_images("digits", channels=1).take(60)
    fs.evaluate(
        fs.load_model("digits-linear"), images, threat="linf:0.05", plan=Plan("short", stages),
        out=out, part=6, save_images=True,
    )  # fmt: skip


def rows(out: Path) -> Any:
    images = {file.name: file.read_bytes() for file in out.glob("parts/*.safetensors")}
    return RunDirectory(out).tables().drop_columns(["seconds"]).to_pydict(), images


def train(out: Path) -> None:
    torch.manual_seed(1)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 5, stride=4), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(144, 10),
    )  # fmt: skip
    books.CHECKPOINT_EVERY = 0.0  # after every step
    moved = PGDLoss(threat=fs.Linf(0.1), steps=1)
    fs.training.train(
        module, fs.load_images("digits", channels=1).take(60), out=out, epochs=2, batch_size=16,
        augment="shift", loss=ClassGates(adversarial=moved, warm_up=0, every=2),
        beside=[WeightAverage(decay=0.9), AdversarialWeightPerturbation()],
    )  # fmt: skip


def trained(out: Path) -> Any:
    """All that it wrote; of the record what is not of the hour."""
    files = {file.name: file.read_bytes() for file in out.iterdir()}
    (record,) = (json.loads(files.pop(name)) for name in [*files] if name.endswith(".json"))
    return files, {name: value for name, value in record.items() if name not in ("seconds", "date")}


def xray(out: Path) -> None:
    images = fs.load_images("digits", channels=1).take(20)
    report = fs.xray(
        fs.load_model("digits-linear"), images, threat="linf:0.1", run=out,
        sections=["clean", "gradients", "pictures"],
    )  # fmt: skip
    (out / "found.json").write_text(json.dumps(report.describe()["sections"]))


def findings(out: Path) -> Any:
    return json.loads((out / "found.json").read_text())


def attack(out: Path) -> None:
    made = ["pgd", "-m", "digits-linear", "--data", "digits", "--limit", "60", "--eps", "0.1"]
    sys.argv = ["fluoroscope", "attack", *made, "--to", "all", "--out", str(out)]
    main()


def parts(out: Path) -> Any:
    return {
        file.name: parquet.read_table(file).to_pydict()
        if file.suffix == ".parquet"
        else file.read_bytes()
        for file in out.glob("part-*")
    }


def adversarial(out: Path) -> None:
    images = fs.load_images("digits", channels=1).take(120)
    fs.neurons.adversarial_set(fs.load_model("digits-linear"), images, out=out / "set", targets=5)


def files(out: Path) -> Any:
    return {file.name: file.read_bytes() for file in (out / "set").rglob("*") if file.is_file()}


WORK: dict[str, tuple[Callable[[Path], None], Callable[[Path], Any]]] = {
    "evaluate": (evaluate, rows),
    "train": (train, trained),
    "xray": (xray, findings),
    "attack": (attack, parts),
    "adversarial set": (adversarial, files),
}


def begin(work: Callable[[Path], None], out: Path) -> BaseProcess:
    context = get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    process = context.Process(target=work, args=(out,))
    process.start()
    return process


def nothing(_: Path) -> None:
    """What a process costs in which nothing is done."""


@pytest.mark.parametrize("name", WORK)
def test_killed_work_ends_as_if_nobody_had_touched_it(name: str, tmp_path: Path) -> None:
    work, outcome = WORK[name]
    whole, rng, kills = tmp_path / "whole", Random(SEED), 0
    whole.mkdir()
    begin(nothing, whole).join()  # the server of processes imports when it is first asked for one
    untouched = begin(work, whole)
    began = time.monotonic()
    untouched.join()
    assert not untouched.exitcode
    usual, expected = time.monotonic() - began, outcome(whole)
    until = time.monotonic() + SECONDS
    for number in count():
        if number and time.monotonic() > until and (kills or number >= FOLDERS):
            break
        out = tmp_path / str(number)
        out.mkdir()
        many, killed = (OF_TRAININGS if name == "train" else KILLS), 0
        while killed < many:
            began = time.monotonic()
            process = begin(work, out)
            process.join(rng.uniform(0, usual))
            process.kill()
            process.join()
            if process.exitcode == -signal.SIGKILL:
                killed += 1
            elif name != "train":  # begun again it would do nothing more; a training begins anew
                # The machine may have been busier when nobody touched it.
                usual = usual if killed else min(usual, time.monotonic() - began)
                break
        kills += killed
        last = begin(work, out)
        last.join()
        assert not last.exitcode
        assert outcome(out) == expected
        hidden = [file for file in out.rglob("*") if file.name.startswith(".fluoroscope")]
        assert not hidden, f"left after {kills} kills: {hidden}"
    assert kills
