"""Tensors in safetensors files, with a hash of all that is in them, so that harm is noticed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from fluoroscope.files import atomic_path, regular

_SEAL = "sha256"
# Of the file: the bytes that say how long the head is, and where in it texts lie.
_LENGTH, _TEXTS = 8, "__metadata__"


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str] | None = None
) -> str:
    """Write tensors by name, and texts about them; whole or not at all.

    Returns:
        The hash of all that.

    Raises:
        StorageError: the disk is full, or refuses.
    """
    ready = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    seal = seal_of(ready, about or {})
    with atomic_path(path) as draft:
        save_file(ready, draft, {**(about or {}), _SEAL: seal})
        _sort_texts(draft)
    return seal


def _sort_texts(file: Path) -> None:
    """The texts in the head by name: safetensors has them in another order in each process, and
    the same content is to be the same bytes.
    """
    with file.open("r+b") as opened:
        length = int.from_bytes(opened.read(_LENGTH), "little")
        head = json.loads(opened.read(length))
        head[_TEXTS] = dict(sorted(head[_TEXTS].items()))
        sorted_head = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
        assert len(sorted_head) <= length
        opened.seek(_LENGTH)
        opened.write(sorted_head.ljust(length))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What :func:`write_tensors` wrote.

    Raises:
        OSError, SafetensorError: it cannot be read.
        ValueError: it is damaged.
    """
    with safe_open(regular(path), framework="pt") as file:
        about = dict(file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if about.pop(_SEAL, None) != seal_of(tensors, about):
        raise ValueError("its content is not what was written: damaged, or of an earlier version")
    return tensors, about


def seal_of(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """SHA-256 of tensors by name and of texts about them."""
    shapes = {name: [str(value.dtype), list(value.shape)] for name, value in tensors.items()}
    digest = hashlib.sha256(json.dumps([dict(about), shapes], sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
