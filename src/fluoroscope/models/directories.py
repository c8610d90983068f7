"""A stranger's directory of a network, looked through before a library reads it.

What a configuration states is built as it stands: ten million layers, labels without end, files in
other places. Here numbers are held against the weights that are there, and whatever leads out of
the directory is refused.
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import Any

from safetensors import safe_open
from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.nn.parameter import is_lazy

from fluoroscope.errors import ModelFormatError
from fluoroscope.files import looking_up, regular_file
from fluoroscope.models.wording import first_line

_LONGEST = 2**24  # bytes of a configuration; those with 21,000 labels are a tenth of it
_INDEX = "model.safetensors.index.json"
# Numbers that libraries count up to, and sides of pictures, which they make.
_COUNT = re.compile(r"(layers?|depths?|blocks?|stages?|repeats?|labels|classes)$")
_SIDE = re.compile(r"(^|_)(size|height|width|edge)$")
_MOST, _LARGEST = 10**5, 4096
# Building may go through every weight several times, and a little more is no harm.
_AGAIN, _FREE_NUMBERS, _FREE_PARTS = 4, 10**7, 1000


def read_json(path: Path) -> dict[str, Any]:
    """The object in a configuration file.

    Raises:
        ModelFormatError: no such file, or no JSON object of a sensible length.
    """
    regular_file(path, "a JSON object", ModelFormatError)
    try:
        if path.stat().st_size > _LONGEST:
            raise ValueError(f"longer than {_LONGEST // 2**20} MiB")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise ModelFormatError(f"{path} is no readable JSON ({first_line(problem)})") from problem
    if not isinstance(content, dict):
        raise ModelFormatError(f"{path} holds a {type(content).__name__}; expected a JSON object")
    return content


def check_config(config: Any, path: Path, *, pictures: bool = False) -> None:
    """Refuse a configuration that asks for code or weights from elsewhere, or for no sensible size.

    Args:
        config: what ``read_json`` gave.
        path: for messages.
        pictures: whether its sizes are those of pictures, not of layers.
    """
    for key, value in _entries(config):
        if key.endswith("_implementation") and "/" in str(value):
            what = f"the kernel {value!r}, which is code from elsewhere and not run"
        elif key == "use_pretrained_backbone" and value:
            what = "published weights for its backbone, which are not fetched for a directory"
        elif key == "quantization_config" and value:
            what = "quantised weights, which have no gradients"
        elif _COUNT.search(key) and _sum(value) > _MOST:
            what = f"{_sum(value)} of {key}, where {_MOST} are the most that is built"
        elif pictures and _SIDE.search(key) and _sum(value) > 2 * _LARGEST:
            what = f"pictures of {value} by {key}, where {_LARGEST} is the largest side"
        else:
            continue
        raise ModelFormatError(f"{path} asks for {what}; take the line {key!r} out")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of a network, one file or those of an index; none where there are none.

    Raises:
        ModelFormatError: an index that names anything but safetensors in the same folder.
    """
    with looking_up(folder, ModelFormatError):
        if (folder / _INDEX).exists():
            return _shards(folder)
        whole = folder / "model.safetensors"
        return [whole] if whole.is_file() else []


@contextmanager
def no_larger_than(files: Iterable[Path]) -> Iterator[None]:
    """Lets this thread build modules for the weights in the files, and stops it where it builds far
    more than those.

    Raises:
        ModelFormatError: there are more, or the files are no safetensors.
    """
    tensors, numbers = _sizes(files)
    builder, built, made, parts = get_ident(), 0, 0, 0

    def count_parameter(module: nn.Module, name: str, value: nn.Parameter) -> None:
        nonlocal built, made
        if get_ident() != builder or value is None or is_lazy(value):
            return
        built += 1
        made += value.numel()
        if built > _AGAIN * tensors + _FREE_PARTS or made > _AGAIN * numbers + _FREE_NUMBERS:
            raise _too_large(tensors, numbers)

    def count_module(module: nn.Module, name: str, value: nn.Module | None) -> None:
        nonlocal parts
        parts += get_ident() == builder
        if parts > _AGAIN * tensors + 10 * _FREE_PARTS:
            raise _too_large(tensors, numbers)

    hooks = [
        register_module_parameter_registration_hook(count_parameter),
        register_module_module_registration_hook(count_module),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _too_large(tensors: int, numbers: int) -> ModelFormatError:
    return ModelFormatError(
        f"config.json describes a network far larger than its weights ({tensors} tensors of "
        f"{numbers} numbers); expected the configuration that they were trained with"
    )


def _entries(config: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    waiting = [config]
    while waiting:
        content = waiting.pop()
        if isinstance(content, dict):
            yield from ((str(key), value) for key, value in content.items())
            waiting += content.values()
        elif isinstance(content, list):
            waiting += content


def _sum(value: Any) -> int:
    """A number, or all those of a list or an object."""
    if isinstance(value, dict):
        value = list(value.values())
    listed = value if isinstance(value, list) else [value]
    return int(sum(abs(n) for n in listed if isinstance(n, int | float) and abs(n) < float("inf")))


def _shards(folder: Path) -> list[Path]:
    named = read_json(folder / _INDEX).get("weight_map")
    names = sorted({str(name) for name in named.values()}) if isinstance(named, dict) else []
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelFormatError(
                f"{folder / _INDEX} leads to {name!r}; expected safetensors in the same folder"
            )
        regular_file(folder / name, f"the safetensors that {_INDEX} names", ModelFormatError)
    return [folder / name for name in names]


def _sizes(files: Iterable[Path]) -> tuple[int, int]:
    tensors = numbers = 0
    for file in files:
        try:
            with safe_open(file, "pt") as content:
                for name in content.keys():  # noqa: SIM118  no mapping
                    size = 1
                    for side in content.get_slice(name).get_shape():
                        size *= side
                    tensors += 1
                    numbers += size
        # Whatever damaged files make safetensors raise.
        except Exception as problem:
            raise ModelFormatError(
                f"{file} cannot be read as safetensors ({first_line(problem)})"
            ) from problem
    return tensors, numbers
