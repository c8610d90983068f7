"""Work that is killed at random moments, again and again, ends as if nobody had touched it.

In the suite some kills of a fixed seed for each kind of work; ``make fuzz`` kills for its minutes.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file

import fluoroscope as fs
from fluoroscope.cli import main
from fluoroscope.evaluation.plan import Plan, Stage
from fluoroscope.evaluation.runs.run_directory import RunDirectory
from fluoroscope.tensor_files import write_tensors

SECONDS = float(os.environ.get("FUZZ_SECONDS") or 0)
SEED = int(os.environ.get("FUZZ_SEED") or 0)
KILLS = 3


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
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10), torch.nn.Dropout())
    batch = next(fs.load_images("digits", channels=1).take(128).batches(128))
    recipe = fs.training.Recipe(epochs=40, batch_size=32)
    fs.training.fit(
        module, batch.images, batch.labels, recipe, checkpoint=out / "x.checkpoint.safetensors"
    )
    write_tensors(out / "trained.safetensors", module.state_dict())


def weights(out: Path) -> Any:
    return {name: value.tolist() for name, value in load_file(out / "trained.safetensors").items()}


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
    "train": (train, weights),
    "xray": (xray, findings),
    "attack": (attack, parts),
    "adversarial set": (adversarial, files),
}


def begin(work: Callable[[Path], None], out: Path) -> BaseProcess:
    context = get_context("forkserver")
    context.set_forkserver_preload(["fluoroscope.evaluation.evaluate", "fluoroscope.report.xray"])
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
    for number in range(sys.maxsize):
        if number and time.monotonic() > until:
            break
        out = tmp_path / str(number)
        out.mkdir()
        for _ in range(KILLS):
            process = begin(work, out)
            process.join(rng.uniform(0, usual))
            process.kill()
            process.join()
            kills += process.exitcode == -signal.SIGKILL
        last = begin(work, out)
        last.join()
        assert not last.exitcode
        assert outcome(out) == expected
        hidden = [file for file in out.rglob("*") if file.name.startswith(".fluoroscope")]
        assert not hidden, f"left after {kills} kills: {hidden}"
    assert kills
