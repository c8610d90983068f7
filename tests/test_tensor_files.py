"""Tensors on disk: every flipped bit is noticed."""

import random
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from fluoroscope.tensor_files import read_tensors, write_tensors


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    tensors = {"b": torch.arange(6.0).view(2, 3).T, "a": torch.tensor(3), "empty": torch.zeros(0)}
    write_tensors(path, tensors, {"of": "something"})
    found, about = read_tensors(path)
    assert about == {"of": "something"}
    assert all(torch.equal(found[name], value) for name, value in tensors.items())
    whole, rng = path.read_bytes(), random.Random(3)
    for _ in range(200):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        with pytest.raises((ValueError, SafetensorError)):
            read_tensors(path)


def test_what_is_no_file_of_ours(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no file, but a directory"):
        read_tensors(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "none")
