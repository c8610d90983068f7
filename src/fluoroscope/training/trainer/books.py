"""What a training writes while it goes on, and by what it knows its own checkpoint."""

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.errors import InvalidParameterError
from fluoroscope.training.trainer.checkpoint import (
    describe,
    load_checkpoint,
    read_step,
    save_checkpoint,
    sha256,
)
from fluoroscope.training.trainer.companion import Companion, Running
from fluoroscope.training.trainer.preprocessed import Preprocessed
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.second import SecondSource
from fluoroscope.training.trainer.step import FitStep, Loss

# Seconds after which a checkpoint is written within an epoch.
CHECKPOINT_EVERY = 60.0


def training_identity(
    module: nn.Module,
    images: Tensor,
    targets: Tensor,
    recipe: Recipe,
    seed: int,
    loss: Loss | Companion,
    beside: Sequence[Companion | Running] = (),
    second: SecondSource | None = None,
    processes: int = 1,
) -> dict[str, Any]:
    """What makes two trainings the same, as plain values."""
    beside = [one for one in beside if not getattr(one, "watches", False)]
    return {
        "fluoroscope": version("fluoroscope"),
        "parameters": sum(weight.numel() for weight in module.parameters()),
        **describe(recipe),
        "seed": seed,
        "loss": describe(loss),
        **({"beside": [describe(one) for one in beside]} if beside else {}),
        "pictures": f"{len(images)} ({sha256(images, targets)[:16]})",
        **({} if second is None else {"second": second.describe()}),
        **({"processes": processes} if processes > 1 else {}),
    }


class Books:
    """Where a training writes how far it is, and what it finds there at the start."""

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self._path, self._identity = path, identity
        self._written = perf_counter()
        found = read_step(path, identity)
        self.found = None if found is None else FitStep(**found)

    def restore(
        self, module: nn.Module, optimizer: torch.optim.Optimizer, running: Sequence[Running]
    ) -> None:
        for one, kept in zip(
            running, load_checkpoint(self._path, module, optimizer, len(running)), strict=True
        ):
            one.restore(kept)

    def note(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        running: Sequence[Running],
        step: FitStep,
        now: bool,
    ) -> None:
        if now or perf_counter() - self._written >= CHECKPOINT_EVERY:
            _check_weights(module, step.number, kept=self._path.exists())
            kept = [one.tensors() for one in running]
            save_checkpoint(self._path, module, optimizer, kept, self._identity, asdict(step))
            self._written = perf_counter()


def _check_weights(module: nn.Module, number: int, kept: bool) -> None:
    """Refuse to write what has gone wrong over what was good.

    Raises:
        InvalidParameterError: a weight is no finite number.
    """
    network = module.network if isinstance(module, Preprocessed) else module
    for name, value in network.state_dict().items():
        if isinstance(value, Tensor) and not bool(torch.isfinite(value).all()):
            before = "; the last checkpoint is of before" if kept else ""
            raise InvalidParameterError(
                f"{name} is not finite after step {number}; expected finite weights: lower the "
                f"learning rate{before}"
            )
