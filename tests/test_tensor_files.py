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


def test_the_same_content_is_the_same_bytes(tmp_path: Path) -> None:
    about = {"z": "1", "a": '"quoted" \\ \n\x01\x7f', "é": "数字 🙂", "b": "2", "c": "3"}
    written = set()
    for number in range(8):  # of 720 orders one
        path = tmp_path / f"{number}.safetensors"
        texts = dict(random.Random(number).sample([*about.items()], len(about)))
        write_tensors(path, {"a": torch.arange(3.0)}, texts)
        found, said = read_tensors(path)
        assert said == about
        assert torch.equal(found["a"], torch.arange(3.0))
        written.add(path.read_bytes())
    assert len(written) == 1
