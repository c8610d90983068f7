"""One training in several processes: the result of one, whoever is killed."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import ClusterError, InvalidParameterError, MissingExtraError
from fluoroscope.inversion.exclusion.run import ExclusionRun
from fluoroscope.training.beside.averaging import WeightAverage
from fluoroscope.training.beside.awp import AdversarialWeightPerturbation
from fluoroscope.training.job import run as run_module
from fluoroscope.training.job.history import History
from fluoroscope.training.job.run import TrainingRun
from fluoroscope.training.losses.adversarial import TRADESLoss
from fluoroscope.training.trainer import together, workers
from fluoroscope.training.trainer.companion import Running
from fluoroscope.training.trainer.fitting import fit, fit_stream
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.second import SecondSource
from fluoroscope.training.trainer.step import FitStep

IMAGES = torch.rand(61, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(61) % 2
PLACE = Path(__file__)


def noisy(images: Tensor, labels: Tensor) -> Tensor:
    return (images + 0.1 * torch.randn_like(images)).clamp(0, 1)


@dataclass(frozen=True)
class Counting:
    """What looks at a step and keeps something of it: the first process alone looks."""

    def begin(self, module: nn.Module, classes: int) -> "Counted":
        return Counted(self)


class Counted(Running):
    def __init__(self, settings: Counting) -> None:
        self.settings, self.seen = settings, torch.zeros(1)

    def tensors(self) -> dict[str, Tensor]:
        return {"seen": self.seen}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.seen = tensors["seen"].clone()

    def look(self, module: nn.Module, step: FitStep) -> FitStep:
        self.seen = self.seen + step.loss
        return step


# Batches of 15, so that shares differ.
SETTINGS: dict[str, Any] = {
    "recipe": Recipe(epochs=2, batch_size=15, weight_decay=0.01, augment=noisy),
    "seed": 7,
    "loss": TRADESLoss(threat=fs.Linf(0.1), steps=2),
    "beside": [
        History(),
        WeightAverage(decay=0.9),
        AdversarialWeightPerturbation(gamma=0.01),
        Counting(),
    ],
    "second": SecondSource(IMAGES[:9], LABELS[:9], share=0.2),
    "held_out": (IMAGES[:20], LABELS[:20]),
}


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))


def vector(module: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(module.parameters()).detach()


def children(of: int) -> list[int]:
    found = Path(f"/proc/{of}/task/{of}/children").read_text().split()
    return [
        int(one) for one in found
        if b"fluoroscope.training.trainer.workers" in Path(f"/proc/{one}/cmdline").read_bytes()
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole() -> tuple[list[FitStep], Tensor, dict[str, Any]]:
    """What two processes make of it, and what is left of them."""
    before, threads, random = dict(os.environ), torch.get_num_threads(), torch.get_rng_state()
    module, steps = network(), []
    for step in fit_stream(module, IMAGES, LABELS, processes=2, **SETTINGS):
        steps.append(step)
        assert dict(os.environ) == before
        assert torch.get_num_threads() == threads
        assert torch.equal(torch.get_rng_state(), random)
    left = {"children": children(os.getpid()), "group": torch.distributed.is_initialized()}
    return steps, vector(module), left


@pytest.mark.cluster
def test_two_processes_make_what_one_makes(whole: tuple[list[FitStep], Tensor, Any]) -> None:
    steps, weights, left = whole
    module = network()
    alone = list(fit_stream(module, IMAGES, LABELS, **SETTINGS))
    for one, two in zip(alone, steps, strict=True):
        assert two.loss == pytest.approx(one.loss, rel=1e-5)
        assert two.terms == pytest.approx(one.terms, rel=1e-4, abs=1e-7)
        assert (two.number, two.epoch, two.learning_rate) == (
            one.number,
            one.epoch,
            one.learning_rate,
        )
        assert (two.accuracy, two.held_out) == pytest.approx((one.accuracy, one.held_out))
    assert torch.allclose(weights, vector(module), rtol=1e-5, atol=1e-7)
    assert not torch.equal(weights, vector(network()))
    assert left == {"children": [], "group": False}


@pytest.mark.cluster
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="workers are found in /proc")
def test_a_killed_worker_costs_but_time(
    whole: tuple[list[FitStep], Tensor, Any], tmp_path: Path
) -> None:
    path = tmp_path / "training.safetensors"
    module = network()
    steps = fit_stream(module, IMAGES, LABELS, processes=2, checkpoint=path, **SETTINGS)
    for _ in range(6):
        next(steps)
    os.kill(children(os.getpid())[0], signal.SIGKILL)
    with pytest.raises(
        ClusterError, match=r"process 2 of 2 was ended by SIGKILL.* goes on"
    ) as told:
        next(steps)
    assert "\n" not in str(told.value)
    assert not children(os.getpid())
    assert all(weight.grad is None for weight in module.parameters())
    with pytest.raises(InvalidParameterError, match="processes was 2, now None"):
        fit(network(), IMAGES, LABELS, checkpoint=path, **SETTINGS)
    again = network()
    fit(again, IMAGES, LABELS, processes=2, checkpoint=path, **SETTINGS)
    assert torch.equal(vector(again), whole[1])


# No guard, and what is learnt stands in the script itself.
SCRIPT = f"""
import sys
sys.path.insert(0, {str(PLACE.parent)!r})
from torch import nn
import fluoroscope as fs
from test_processes import IMAGES, LABELS, network
class Doubled(nn.Sequential):
    def forward(self, images):
        return 2 * super().forward(images)
recipe = fs.training.Recipe(epochs=1000, batch_size=15)
for step in fs.training.fit_stream(Doubled(*network()), IMAGES, LABELS, recipe, processes=2):
    print(step.number, flush=True)
"""


@pytest.mark.cluster
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="workers are found in /proc")
def test_ctrl_c_ends_all_that_a_script_without_a_guard_began(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    running = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stdout.readline() == "1\n"
    (worker,) = children(running.pid)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    _, errors = running.communicate(timeout=60)
    assert errors.strip().endswith("KeyboardInterrupt")
    assert running.returncode == -signal.SIGINT
    assert not Path(f"/proc/{worker}").exists()


LAUNCHED = f"""
import sys
sys.path.insert(0, {str(PLACE.parent)!r})
from pathlib import Path
from test_processes import IMAGES, LABELS, SETTINGS, network, vector
import fluoroscope as fs
rank, module = __import__("os").environ["RANK"], network()
place = Path(sys.argv[1])
for step in fs.training.fit_stream(
    module, IMAGES, LABELS, processes=2, checkpoint=place / "checkpoint", **SETTINGS
):
    pass
(place / rank).write_text(repr((step.number, vector(module).tolist())))
"""


@pytest.mark.cluster
def test_processes_of_a_launcher_are_taken(
    whole: tuple[list[FitStep], Tensor, Any], tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(LAUNCHED)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    subprocess.run(
        [*launcher, "--standalone", script, tmp_path], check=True, capture_output=True, timeout=120
    )
    expected = repr((whole[0][-1].number, whole[1].tolist()))
    assert [(tmp_path / rank).read_text() for rank in "01"] == [expected] * 2
    assert (tmp_path / "checkpoint").is_file()


class Fabric:
    """Two processes that found the same, or so many times as much."""

    device, global_rank, world_size = torch.device("cpu"), 0, 2

    def __init__(self, times: float = 1.0) -> None:
        self.times = times

    def all_reduce(self, found: Tensor, reduce_op: str) -> Tensor:
        other = self.times * found
        return found + other if reduce_op == "sum" else torch.maximum(found, other)


def test_shares() -> None:
    group, device = together.Together(Fabric(), 1, lambda: None), torch.device("cpu")
    other = together.Together(Fabric(), 1, lambda: None)
    other.rank = 1
    for pictures in (4, 5, 15):
        one, two = (part.share(pictures, 1, device) for part in (group, other))
        both = [*range(pictures)[one], *range(pictures)[two]]
        assert sorted(both) == list(range(pictures))
        assert group._weight + other._weight == 1
        assert group._weight == len(range(pictures)[one]) / pictures
    # Too few for batch norm are learnt from whole by both, and count half each.
    assert [part.share(3, 1, device) for part in (group, other)] == [slice(None)] * 2
    assert group._weight == other._weight == 0.5
    # What draws after that draws otherwise in each.
    draws = []
    with torch.random.fork_rng():
        for part in (group, other):
            torch.manual_seed(5)
            part.share(15, 5, device)
            draws.append(torch.rand(4))
    assert not torch.equal(*draws)


def test_gradients_statistics_and_what_nobody_has() -> None:
    group = together.Together(Fabric(times=3.0), 1, lambda: None)
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2).double())
    optimizer = torch.optim.SGD(net.parameters())
    for weight in list(net.parameters())[:2]:
        weight.grad = torch.ones_like(weight)
    net[2].weight.grad = torch.ones_like(net[2].weight)
    group.gradients(optimizer)
    assert torch.equal(net[0].bias.grad, torch.full((2,), 2.0))
    assert torch.equal(net[2].weight.grad, torch.full((2, 2), 2.0).double())
    assert net[1].weight.grad is None
    group.statistics(net)
    assert torch.equal(net[1].running_var, torch.full((2,), 2.0))
    assert int(net[1].num_batches_tracked) == 0


def test_processes_that_came_apart_do_not_go_on() -> None:
    net = nn.Linear(2, 2)
    together.Together(Fabric(), 1, lambda: None).compare(net, [Running()], 4)
    with pytest.raises(InvalidParameterError, match=r"after step 4 .*train in one process"):
        together.Together(Fabric(times=0.5), 1, lambda: None).compare(net, [], 4)


def test_what_cannot_be_done_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for wrong in (0, -1, 1.5):
        with pytest.raises(InvalidParameterError, match=rf"processes is {wrong}; expected 1 or"):
            fit_stream(network(), IMAGES, LABELS, processes=wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameterError, match="on cuda:0; expected one on the CPU, or one"):
        together.check_processes(2, torch.device("cuda:0"))
    launcher = SimpleNamespace(world_size=lambda: 4)
    with monkeypatch.context() as patch:
        patch.setattr(together, "launched", lambda: launcher)
        with pytest.raises(InvalidParameterError, match="is 2, and a launcher started 4"):
            together.check_processes(2, cpu)
    with monkeypatch.context() as patch:
        patch.setattr(torch.distributed, "is_initialized", lambda: True)
        with pytest.raises(ClusterError, match=r"speaks with others .* already"):
            together.check_processes(2, cpu)
    monkeypatch.setattr(together, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fluoroscope\[cluster\]'"):
        together.check_processes(2, cpu)


def test_what_shares_change_is_told() -> None:
    from fluoroscope.training.trainer.together import of_shares

    net = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout())
    (told,) = of_shares(net)
    assert re.match("batch norm normalises over and dropout draws for each process's share", told)
    assert not of_shares(network())


@pytest.fixture
def run_of_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingRun:
    """A training of the command in two processes, that begins none of them."""
    asked: list[int] = []

    def fit_alone(*given: Any, processes: int, **settings: Any) -> Any:
        asked.append(processes)
        return fit_stream(*given, **settings)

    monkeypatch.setattr(run_module, "fit_stream", fit_alone)
    run = TrainingRun("digits-linear", "digits", out=tmp_path, limit=20, epochs=1, processes=2)
    for _ in run:
        pass
    assert asked == [2]
    return run


def test_the_command_says_how_many(run_of_two: TrainingRun) -> None:
    assert " --processes 2 " in run_of_two.command
    assert run_of_two.result.record["command"] == run_of_two.command


def test_of_a_launcher_s_processes_the_first_alone_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(run_module, "is_first", lambda processes: False)
    run = request.getfixturevalue("run_of_two")
    assert not list(tmp_path.glob("digits-linear.json"))
    assert not list(tmp_path.glob("digits-linear.safetensors"))
    with pytest.raises(InvalidParameterError, match="not trained yet"):
        _ = run.result


def test_a_recipe_that_does_more_between_two_steps(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match="processes is 2, and recipe exclude inverts"):
        ExclusionRun("digits-linear", "digits", out=tmp_path, processes=2)


def test_more_pictures_than_each_should_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MEMORY", 2**10)
    with pytest.raises(InvalidParameterError, match=r"each of the 2 .*launcher such as torchrun"):
        next(fit_stream(network(), IMAGES, LABELS, processes=2, **SETTINGS))
