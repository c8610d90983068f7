"""Files of weights: reading them without running anything, and fitting them to a module.

Weights are safetensors, or a ``state_dict`` saved by ``torch.save`` and read with
``weights_only=True``, which builds tensors and plain containers and nothing else.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fluoroscope.errors import ModelFormatError
from fluoroscope.models.wording import first_line

# Where training scripts keep the weights inside a checkpoint, and what wrappers put before a name.
_NESTS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.", "model.")


def load_checkpoint(module: nn.Module, path: str | Path) -> None:
    """Give a module the weights of a file; every name and shape must fit.

    Weights nested under "state_dict", "model_state_dict" or "model" are found, and the prefixes
    that ``DataParallel``, ``torch.compile`` and Lightning put before every name are taken off.

    Raises:
        ModelFormatError: no such file, no weights in it, or weights that do not fit.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelFormatError(
            f"checkpoint {file} does not exist; expected a .safetensors or .pt file"
        )
    wanted = module.state_dict()
    weights = _without_prefix(_state_dict(read_weights(file), file), wanted)
    _check_fit(weights, wanted, file)
    module.load_state_dict(weights, strict=False)


def read_weights(path: Path) -> Any:
    """What a weights file holds, without running anything that is in it.

    Raises:
        ModelFormatError: it is broken, or holds pickled objects other than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as problem:
        raise ModelFormatError(
            f"{path} holds something other than tensors, which was not read since it could run "
            "code; expected safetensors, or a state_dict alone saved by torch.save"
        ) from problem
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as problem:
        raise ModelFormatError(
            f"{path} cannot be read as weights ({first_line(problem)}); expected safetensors, or a "
            "state_dict saved by torch.save"
        ) from problem


def _state_dict(content: Any, file: Path) -> dict[str, Tensor]:
    for nest in _NESTS:
        if isinstance(content, Mapping) and isinstance(content.get(nest), Mapping):
            content = content[nest]
    if not isinstance(content, Mapping):
        raise ModelFormatError(
            f"checkpoint {file} holds a {type(content).__name__}; expected a state_dict: "
            "names and tensors"
        )
    weights = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not weights:
        raise ModelFormatError(
            f"checkpoint {file} holds no tensors but {_some(map(str, content))}; expected a "
            f"state_dict, at the top or under {', '.join(map(repr, _NESTS))}"
        )
    return weights


def _without_prefix(weights: dict[str, Tensor], wanted: Mapping[str, Any]) -> dict[str, Tensor]:
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in weights) and not all(
            name.startswith(prefix) for name in wanted
        ):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def _check_fit(weights: Mapping[str, Tensor], wanted: Mapping[str, Any], file: Path) -> None:
    misshaped = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(value.shape)}"
        for name, value in wanted.items()
        if isinstance(value, Tensor) and name in weights and weights[name].shape != value.shape
    ]
    problems = {
        "missing": [name for name in wanted if name not in weights and _matters(name, wanted)],
        "unexpected": [name for name in weights if name not in wanted],
        "misshaped": misshaped,
    }
    found = [f"{len(names)} {kind}: {_some(names)}" for kind, names in problems.items() if names]
    if found:
        raise ModelFormatError(
            f"checkpoint {file} does not fit the network; {'; '.join(found)}; expected the "
            "state_dict of the same architecture with the same number of classes"
        )


def _matters(name: str, wanted: Mapping[str, Any]) -> bool:
    # Batch norm's counter is of no use outside training, and old checkpoints lack it.
    return isinstance(wanted[name], Tensor) and not name.endswith("num_batches_tracked")


def _some(names: Iterable[str], count: int = 3) -> str:
    listed = list(names)
    more = f" and {len(listed) - count} more" if len(listed) > count else ""
    return ", ".join(listed[:count]) + more
