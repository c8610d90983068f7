"""One training in several processes, each of which learns from its share of every batch.

Every process draws and augments the whole batch as one alone would, takes its share, and adds up
what the others found: the terms of the loss, then the gradients, each weighted by the size of its
share. So after every update all have the same weights, to the last bit, and they are those of one
process but for rounding. What needs the whole batch at once is another matter: batch norm
normalises over a share, and dropout draws for a share. Where running statistics are kept they are
averaged, too.

The processes speak through Lightning Fabric (package lightning-fabric).
"""

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.errors import ClusterError, InvalidParameterError, MissingExtraError
from fluoroscope.process import warnings_lock
from fluoroscope.training.trainer.companion import Running

# Far from every seed of a step; each process but the first draws dropout from its own.
_OWN_SEED = 0x9E3779B97F4A7C15
# Where torchrun and Slurm say how many of the processes are on this machine.
_ON_THIS_MACHINE = ("LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE")


class Alone:
    """The one process of a usual training: all of each batch is its share."""

    rank = 0

    def begin(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        running: Sequence[Running],
        behind: int,
    ) -> int:
        """Go out from what the first process has; the steps that lie behind."""
        return behind

    def at_work(self) -> AbstractContextManager[None]:
        """Around a step."""
        return nullcontext()

    def share(self, pictures: int, seed: int, device: torch.device) -> slice:
        """Which of so many pictures are learnt from here."""
        return slice(None)

    def means(self, found: list[float]) -> list[float]:
        """Numbers that are means over the share, as means over the batch."""
        return found

    def mean(self, found: Sequence[Tensor]) -> list[Tensor]:
        """Tensors that are means over the share, as means over the batch."""
        return list(found)

    def gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Make the gradients those of the batch."""

    def statistics(self, module: nn.Module) -> None:
        """Make running statistics those of the batch."""

    def looked(self, running: Sequence[Running]) -> None:
        """Hand on what was kept after a look at a step, which the first process alone takes."""

    def compare(self, module: nn.Module, running: Sequence[Running], number: int) -> None:
        """Refuse to go on with processes that have come apart."""


class LostError(ClusterError):
    """Another process of the training is gone."""


class Together(Alone):
    """One of several processes, joined by a launched ``lightning_fabric.Fabric``."""

    def __init__(self, fabric: Any, threads: int, wait: Callable[[], None]) -> None:
        self._fabric, self._threads, self._wait = fabric, threads, wait
        self.rank: int = fabric.global_rank
        self._count: int = fabric.world_size
        self._weight = 1 / self._count
        self._sent: dict[int, dict[str, Tensor]] = {}

    def begin(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        running: Sequence[Running],
        behind: int,
    ) -> int:
        first = (
            module.state_dict(),
            optimizer.state_dict()["state"],
            [one.tensors() for one in _learning(running)],
            behind,
        )
        weights, state, kept, behind = self._from_first(first if self.rank == 0 else None)
        if self.rank:
            module.load_state_dict(weights)
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
            for one, tensors in zip(_learning(running), kept, strict=True):
                one.restore(tensors)
        return behind

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self._wait()
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def share(self, pictures: int, seed: int, device: torch.device) -> slice:
        if self.rank:
            own = (seed + self.rank * _OWN_SEED) % 2**63
            torch.default_generator.manual_seed(own)
            if device.type != "cpu":
                torch.get_device_module(device).manual_seed(own)
        # Batch norm learns nothing of one picture: a batch so small is learnt from whole by each.
        if pictures < 2 * self._count:
            self._weight = 1 / self._count
            return slice(None)
        # Every so manieth, so that each has its part of a second source, whose pictures come last.
        share = slice(self.rank, None, self._count)
        self._weight = len(range(pictures)[share]) / pictures
        return share

    def means(self, found: list[float]) -> list[float]:
        (mean,) = self.mean([torch.tensor(found, dtype=torch.float64, device=self._fabric.device)])
        return [float(value) for value in mean]

    def mean(self, found: Sequence[Tensor]) -> list[Tensor]:
        made: list[Tensor] = [*found]
        # One message for each type, whatever the number of tensors.
        for kind in {one.dtype for one in found}:
            places = [place for place, one in enumerate(found) if one.dtype == kind]
            flat = torch.cat([found[place].detach().reshape(-1) for place in places])
            flat = self._sum(flat * self._weight)
            parts = flat.split([found[place].numel() for place in places])
            for place, part in zip(places, parts, strict=True):
                made[place] = part.view_as(found[place])
        return made

    def gradients(self, optimizer: torch.optim.Optimizer) -> None:
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        missing = [weight.grad is None for weight in weights]
        found = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        anywhere = self.means([float(not gone) for gone in missing])
        for weight, there, mean in zip(weights, anywhere, self.mean(found), strict=True):
            # What nobody has stays none: the optimiser passes it by.
            weight.grad = mean if there else None

    def statistics(self, module: nn.Module) -> None:
        kept = [
            value
            for part in module.modules()
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats
            for value in (part.running_mean, part.running_var)
            if value is not None
        ]
        if kept:
            with torch.no_grad():
                for value, mean in zip(kept, self.mean(kept), strict=True):
                    value.copy_(mean)

    def looked(self, running: Sequence[Running]) -> None:
        for place, one in enumerate(_learning(running)):
            if type(one).look is Running.look:
                continue
            changed = None
            if self.rank == 0:
                now = {name: value.detach().clone() for name, value in one.tensors().items()}
                if not _same(now, self._sent.get(place)):
                    self._sent[place] = changed = now
            changed = self._from_first(changed)
            if self.rank and changed is not None:
                one.restore(changed)

    def compare(self, module: nn.Module, running: Sequence[Running], number: int) -> None:
        kept = [module.state_dict(), *(one.tensors() for one in _learning(running))]
        held = [value for one in kept for value in one.values() if isinstance(value, Tensor)]
        sums = torch.stack([one.double().sum().nan_to_num() for one in held])
        highest, lowest = self._highest(torch.stack([sums, -sums]).to(self._fabric.device))
        if bool((highest != -lowest).any()):
            raise InvalidParameterError(
                f"after step {number} the processes of the training have different weights, since "
                "the loss, or what goes along with it, keeps something of its own share of a "
                "batch; expected what is the same in all: train in one process"
            )

    def _sum(self, found: Tensor) -> Tensor:
        with self._spoken():
            summed: Tensor = self._fabric.all_reduce(found.contiguous(), reduce_op="sum")
        return summed

    def _highest(self, found: Tensor) -> Tensor:
        with self._spoken():
            highest: Tensor = self._fabric.all_reduce(found, reduce_op="max")
        return highest

    def _from_first(self, given: Any) -> Any:
        with self._spoken():
            return self._fabric.broadcast(given)

    @contextmanager
    def _spoken(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as problem:  # of gloo and NCCL, when another hangs up
            raise LostError(
                "another process of the training is gone; start all of them again: with a "
                "checkpoint they go on from it"
            ) from problem


def _learning(running: Sequence[Running]) -> list[Running]:
    """Those by which the weights differ; whoever only watches is with the first process alone."""
    return [one for one in running if not one.watches]


def _same(now: dict[str, Tensor], before: dict[str, Tensor] | None) -> bool:
    return (
        before is not None
        and now.keys() == before.keys()
        and all(torch.equal(value, before[name]) for name, value in now.items())
    )


def check_processes(processes: int, device: torch.device | None = None) -> int:
    """How many processes are to learn a network on this device.

    Raises:
        InvalidParameterError: fewer than one, or others than a launcher started.
        MissingExtraError: Lightning Fabric is not installed.
        ClusterError: this process speaks with others already.
    """
    if not isinstance(processes, int) or processes < 1:
        raise InvalidParameterError(f"processes is {processes!r}; expected 1 or more")
    if processes == 1:
        return processes
    if find_spec("lightning_fabric") is None or find_spec("cloudpickle") is None:
        raise MissingExtraError(
            "training in several processes needs Lightning Fabric; install it with pip install "
            "'fluoroscope[cluster]', or train in one"
        )
    environment = launched()
    if environment is not None:
        if environment.world_size() != processes:
            raise InvalidParameterError(
                f"processes is {processes}, and a launcher started {environment.world_size()}; "
                "expected the same number"
            )
    elif torch.distributed.is_initialized():
        raise ClusterError(
            "this process speaks with others through torch.distributed already; expected none to, "
            "or all of them started by a launcher such as torchrun"
        )
    elif device is not None and device.type != "cpu":
        raise InvalidParameterError(
            f"processes is {processes}, and the network is on {device}; expected one on the CPU, "
            "or one process for each GPU, started by a launcher such as torchrun"
        )
    return processes


def is_first(processes: int) -> bool:
    """Whether this one of so many processes judges and writes: the only one that no launcher
    started.
    """
    environment = launched() if processes > 1 else None
    return environment is None or environment.global_rank() == 0


def of_shares(module: nn.Module) -> list[str]:
    """What is not as in one process."""
    kinds = {
        "batch norm normalises over": nn.modules.batchnorm._BatchNorm,
        "dropout draws for": nn.modules.dropout._DropoutNd,
    }
    parts = list(module.modules())
    found = [how for how, kind in kinds.items() if any(isinstance(part, kind) for part in parts)]
    if not found:
        return []
    return [
        f"{' and '.join(found)} each process's share of a batch: several learn the same each time, "
        "but not what one would"
    ]


def launched() -> Any:
    """The environment that torchrun or Slurm made for several processes, if one of them did."""
    with as_it_was():
        from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
        from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

        for kind in (TorchElasticEnvironment, SLURMEnvironment):
            if kind.detect():
                found = kind()
                return found if found.world_size() > 1 else None
    return None


@contextmanager
def joined(
    environment: Callable[[], Any],
    processes: int,
    local: int,
    device: torch.device,
    *,
    settings: Mapping[str, str] = MappingProxyType({}),
    threads: int | None = None,
    wait: Callable[[], None] = lambda: None,
) -> Iterator[Together]:
    """This process as one of so many, of which ``local`` are on this machine; they part at the end.

    ``settings`` are what a launcher would have put into the environment; ``wait`` is called before
    every step.
    """
    ours = not torch.distributed.is_initialized()
    with as_it_was() as quiet:
        from lightning_fabric import Fabric

        quiet()
        os.environ.update(settings)
        fabric = Fabric(
            accelerator=device.type,
            devices=local,
            num_nodes=processes // local,
            strategy="ddp",
            plugins=[environment()],
        )
        fabric.launch()
    try:
        yield Together(fabric, threads or torch.get_num_threads(), wait)
    finally:
        if ours and torch.distributed.is_initialized():
            with suppress(RuntimeError):  # of those that are gone
                torch.distributed.destroy_process_group()


@contextmanager
def by_launcher(environment: Any, device: torch.device) -> Iterator[Together]:
    """This process as one of those that a launcher started."""
    processes = environment.world_size()
    local = [os.environ[name] for name in _ON_THIS_MACHINE if name in os.environ]
    here = int((local or [processes])[0])
    with joined(lambda: environment, processes, here, device) as group:
        yield group


@contextmanager
def as_it_was() -> Iterator[Callable[[], None]]:
    """Fabric may set in the environment what it likes: none of it remains. Once it is imported it
    says nothing of itself after a call of what is given.
    """
    before = dict(os.environ)
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    with warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield partial(logger.setLevel, logging.ERROR)
        finally:
            logger.setLevel(level)
            for name in os.environ.keys() - before.keys():
                del os.environ[name]
            os.environ.update(before)
