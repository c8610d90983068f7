"""Files of weights: reading them without running anything, and fitting them to a module.

Weights are safetensors, or a ``state_dict`` saved by ``torch.save`` and read with
``weights_only=True``, which builds tensors and plain containers and nothing else.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fluoroscope.errors import ModelFormatError
from fluoroscope.files import regular_file
from fluoroscope.models.archives import refuse_programs
from fluoroscope.models.state_dicts import COUNTER, find_weights, some
from fluoroscope.models.wording import first_line

_UNREAD = re.compile(r"GLOBAL (\S+)")


def load_checkpoint(module: nn.Module, path: str | Path, key: str | None = None) -> None:
    """Give a module the weights of a file; every name and shape must fit.

    The file may be whatever a training script saved: the weights are looked for at every depth of
    it and behind every prefix (``state_dict``, ``model_ema``, ``module.``, ``_orig_mod.`` ...).

    Args:
        module: what the weights go into; it is changed only if all names and shapes fit.
        path: safetensors, or what ``torch.save`` wrote.
        key: where in the file they lie, such as ``"state_dict_ema"``; needed where several sets of
            weights fit and differ.

    Raises:
        ModelFormatError: no such file, no weights in it, weights that do not fit or are no dense
            numbers, or several sets of them.
    """
    file = regular_file(path, "a .safetensors or .pt file of weights", ModelFormatError)
    wanted = module.state_dict()
    _check_module(module, wanted, file)
    weights = find_weights(read_weights(file), wanted, file, key)
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    fitting = {
        name: _converted(value, wanted[name], name, name in parameters, file)
        for name, value in weights.items()
    }
    try:
        left = module.load_state_dict(fitting, strict=False)
    # Modules may check in ways of their own.
    except Exception as problem:
        why = " ".join(str(problem).split())[:300]
        raise ModelFormatError(
            f"checkpoint {file} does not fit the network ({why}); expected the state_dict of the "
            "same architecture"
        ) from problem
    ignored = [name for name in left.missing_keys if not name.endswith(COUNTER)]
    if ignored:
        raise ModelFormatError(
            f"checkpoint {file}: the network took none of the weights for {some(ignored)}; "
            "expected modules that load what their state_dict names"
        )


def read_weights(path: Path) -> Any:
    """What a weights file holds, without running anything that is in it.

    Raises:
        ModelFormatError: it is broken, or holds pickled objects other than tensors.
    """
    refuse_programs(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    # Whatever damaged files make the libraries raise.
    except Exception as problem:
        unread = _UNREAD.search(str(problem)) if isinstance(problem, UnpicklingError) else None
        if unread is None:
            raise ModelFormatError(
                f"{path} cannot be read as weights ({first_line(problem)}); expected safetensors, "
                "or a state_dict saved by torch.save"
            ) from problem
        raise ModelFormatError(
            f"{path} holds something other than tensors ({unread[1]}), which was not read since it "
            "could run code; expected safetensors, or a state_dict alone saved by torch.save: "
            "where you trust the file, load it with weights_only=False and save its state_dict"
        ) from problem


def stated_labels(path: str | Path) -> tuple[str, ...] | None:
    """The names of the classes that a safetensors file states in its head; ``None`` of another.

    Raises:
        ModelFormatError: no such file, or one that is broken.
    """
    said = statements(path)
    try:
        return labels_in(said)
    except (ValueError, RecursionError) as problem:
        raise _broken(Path(path), problem) from problem


def statements(path: str | Path) -> dict[str, str]:
    """What a safetensors file states in its head, by name; nothing of another kind of file.

    Raises:
        ModelFormatError: no such file, or one that is broken.
    """
    file = regular_file(path, "a .safetensors or .pt file of weights", ModelFormatError)
    if file.suffix != ".safetensors":
        return {}
    refuse_programs(file)
    try:
        with safe_open(file, framework="pt") as found:
            return dict(found.metadata() or {})
    # Whatever damaged files make the libraries raise.
    except Exception as problem:
        raise _broken(file, problem) from problem


def labels_in(said: Mapping[str, str]) -> tuple[str, ...] | None:
    """The names of the classes among statements; ``None`` where there is no list of them.

    Raises:
        ValueError, RecursionError: what stands there is no JSON.
    """
    labels = json.loads(said["labels"]) if "labels" in said else None
    return tuple(map(str, labels)) if isinstance(labels, list) else None


def _broken(file: Path, problem: BaseException) -> ModelFormatError:
    return ModelFormatError(
        f"{file} cannot be read as weights ({first_line(problem)}); expected safetensors, or a "
        "state_dict saved by torch.save"
    )


def nothing_loaded(module: nn.Module) -> bool:
    """Whether a module shows that it was never trained nor given weights.

    Only batch norms show it: their running statistics are still what they start from.
    """
    norms = [
        part
        for part in module.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is not None
    ]
    return bool(norms) and not any(
        bool(norm.running_mean.any()) or bool((norm.running_var != 1).any())  # type: ignore[union-attr]
        for norm in norms
    )


def _check_module(module: nn.Module, wanted: Mapping[str, Any], file: Path) -> None:
    for name, value in wanted.items():
        state = "not yet of any shape" if is_lazy(value) else "on the meta device"
        if is_lazy(value) or (isinstance(value, Tensor) and value.is_meta):
            raise ModelFormatError(
                f"checkpoint {file} cannot be loaded: {name} of {type(module).__name__} is {state};"
                " expected a network whose weights have memory to go to"
            )


def _converted(value: Any, wanted: Any, name: str, parameter: bool, file: Path) -> Any:
    """The numbers in the type that the network keeps them in.

    Raises:
        ModelFormatError: they are no dense numbers of that kind, or not all of them are finite.
    """
    if not isinstance(value, Tensor) or not isinstance(wanted, Tensor):
        return value
    kind = _unusual(value)
    if kind is None and value.is_complex() and not wanted.is_complex():
        kind = "complex"
    if kind is None and value.is_floating_point() != wanted.is_floating_point():
        kind = str(value.dtype).removeprefix("torch.")
    if kind is not None:
        raise ModelFormatError(
            f"checkpoint {file}: {name} is {kind}; expected a dense tensor of "
            f"{str(wanted.dtype).removeprefix('torch.')}: convert it and save the state_dict again"
        )
    converted = value.detach().to(wanted.dtype)
    if not converted.is_floating_point():
        return converted
    # Buffers such as masks may be infinite.
    if bool(converted.isnan().any()) or (parameter and bool(converted.isinf().any())):
        raise ModelFormatError(
            f"checkpoint {file}: {name} is not finite (NaN or infinite as "
            f"{str(wanted.dtype).removeprefix('torch.')}); expected the weights of a training that "
            "did not diverge"
        )
    return converted


def _unusual(value: Tensor) -> str | None:
    if value.is_nested:
        return "nested"
    if value.layout != torch.strided:
        return str(value.layout).removeprefix("torch.")
    if value.is_quantized:
        return "quantised"
    return "without numbers (meta)" if value.is_meta else None
