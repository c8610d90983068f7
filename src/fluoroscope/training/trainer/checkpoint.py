"""Where a training stands, on disk: what it takes to go on after a kill as if nothing had been.

One safetensors file holds the weights and the optimiser's tensors, and in its header, as JSON, what
training this is and the last step. It is replaced whole or not at all, and nothing in it is ever
run. Random states are not among it: every step draws from the seed, so they are drawn anew.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from fluoroscope.errors import InvalidParameterError, ModelFormatError
from fluoroscope.models.wording import first_line
from fluoroscope.tensor_files import read_tensors, write_tensors
from fluoroscope.training.trainer.companion import Running


def save_checkpoint(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    beside: Sequence[Mapping[str, Tensor]],
    identity: Mapping[str, Any],
    step: Mapping[str, Any],
) -> None:
    """Write where the training of this ``identity`` stands after ``step``; both plain values.

    ``beside`` are the tensors of each thing that goes along with it.

    Raises:
        InvalidParameterError: the network keeps something other than tensors in its state.
    """
    tensors: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            raise InvalidParameterError(
                f"the network keeps a {type(value).__name__} under {name}; expected tensors alone: "
                "train it without a checkpoint"
            )
        tensors[f"weights.{name}"] = value
    for index, entries in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in entries.items()}
    for index, kept in enumerate(beside):
        tensors |= {f"beside.{index}.{name}": value for name, value in kept.items()}
    # Copies, since a file cannot hold weights that share memory.
    copies = {name: value.detach().clone() for name, value in tensors.items()}
    header = {"identity": json.dumps(identity), "step": json.dumps(step)}
    write_tensors(path, copies, header)


def read_step(path: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The step after which the training of this ``identity`` stands; ``None`` without a file.

    Raises:
        InvalidParameterError: the file is of another training.
        ModelFormatError: it cannot be read.
    """
    if not path.is_file():
        return None
    try:
        header = read_tensors(path)[1]  # whose seal covers the step, too
        theirs, step = json.loads(header["identity"]), json.loads(header["step"])
    except (SafetensorError, OSError, ValueError, KeyError) as problem:
        raise _unreadable(path, problem) from problem
    ours = json.loads(json.dumps(identity))
    differing = [
        f"{name} was {theirs.get(name)}, now {ours.get(name)}"
        for name in {**theirs, **ours}
        if theirs.get(name) != ours.get(name)
    ]
    if differing:
        raise InvalidParameterError(
            f"{path} was left by another training ({'; '.join(differing)}); expected the same to "
            "go on with: give another directory, or delete the file"
        )
    found: dict[str, Any] = step
    return found


def load_checkpoint(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, beside: int = 0
) -> list[dict[str, Tensor]]:
    """Give the network and its optimiser back what they had; and the tensors of so many things
    that went along.

    Raises:
        ModelFormatError: the file cannot be read, or does not fit the network.
    """
    weights: dict[str, Tensor] = {}
    state: dict[int, dict[str, Tensor]] = {}
    kept: list[dict[str, Tensor]] = [{} for _ in range(beside)]
    try:
        for key, value in read_tensors(path)[0].items():
            kind, _, name = key.partition(".")
            if kind == "weights":
                weights[name] = value
                continue
            index, _, entry = name.partition(".")
            if kind == "beside":
                if int(index) < beside:
                    kept[int(index)][entry] = value
            else:
                state.setdefault(int(index), {})[entry] = value
        module.load_state_dict(weights)
    except (SafetensorError, OSError, ValueError, IndexError, RuntimeError) as problem:
        raise _unreadable(path, problem) from problem
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return kept


def describe(value: Any) -> Any:
    """A function, a partial, a companion or a dataclass of settings as plain values, and several of
    them; others as they are.
    """
    settings = getattr(value, "settings", None)
    if is_dataclass(settings):  # of what was begun from them
        return describe(settings)
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} ({sha256(value)[:16]})"
    if isinstance(value, partial):
        options = ", ".join(f"{name}={value!r}" for name, value in value.keywords.items())
        return f"{describe(value.func)}({options})"
    if is_dataclass(value) and not isinstance(value, type):
        stated = {field.name: describe(getattr(value, field.name)) for field in fields(value)}
        return {"kind": type(value).__name__, **stated}
    if isinstance(value, list | tuple):
        return [describe(each) for each in value]
    if callable(value) or isinstance(value, Running):
        named = value if hasattr(value, "__qualname__") else type(value)
        return f"{named.__module__}.{named.__qualname__}"
    return value


def sha256(*tensors: Tensor) -> str:
    """The hash of the tensors' bytes, one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _unreadable(path: Path, problem: Exception) -> ModelFormatError:
    return ModelFormatError(
        f"{path} cannot be read as a checkpoint ({first_line(problem)}); expected one that this "
        "training left: delete it to begin anew"
    )
