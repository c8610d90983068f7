"""Labels as they are stored or typed, and what is no label."""

import re

import numpy as np
import pyarrow as pa
import pytest
import torch

from fluoroscope.data.columns import read_classes


@pytest.mark.parametrize(
    ("column", "numbers", "names"),
    [
        ([2, 0, 1], [2, 0, 1], None),
        (np.array([2, 0], np.uint8), [2, 0], None),
        (torch.tensor([2.0, 0.0]), [2, 0], None),
        ([np.int64(3), torch.tensor(1)], [3, 1], None),
        ([True, False], [1, 0], None),
        ([2, None, -1], [2, -1, -1], None),
        ([2.0, float("nan")], [2, -1], None),
        (["dog", "cat", "", None], [1, 0, -1, -1], ("cat", "dog")),
        (np.array(["b", "a"]), [1, 0], ("a", "b")),
        (torch.eye(3)[[2, 0]], [2, 0], None),
        ([[0, 1], [1, 0]], [1, 0], None),
        (pa.array([[0, 1], None, [1, 0]]), [1, -1, 0], None),
        ([[4], [2]], [4, 2], None),
        (pa.array(["x", "y", "x"]).dictionary_encode(), [0, 1, 0], ("x", "y")),
        (pa.chunked_array([["b"], ["a", "b"]]), [1, 0, 1], ("a", "b")),
    ],
)
def test_labels(column: object, numbers: list[int], names: tuple[str, ...] | None) -> None:
    read = read_classes(column)
    assert read.numbers is not None
    assert read.numbers.tolist() == numbers
    assert read.numbers.dtype == torch.int64
    assert (read.names, read.why) == (names, None)


def test_words_are_numbered_by_all_names() -> None:
    read = read_classes(["dog"], ["ape", "cat", "dog"])
    assert (read.numbers.tolist(), read.names) == ([2], ("ape", "cat", "dog"))


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ([0.5, 1.0], r"not whole \(0.5\)"),
        ([float("inf")], "not whole"),
        (torch.tensor([[0.9, 0.1]]), "not one-hot"),
        ([[1, 1], [0, 1]], "not one-hot"),
        ([[0, 1], [1]], "not one-hot"),
        (["a", 1], "several kinds"),
        ([True, 2], "several kinds"),
        ([None, None], "holds no value"),
        ([-1, -1], "holds no label"),
        ([{"a": 1}], "holds struct"),
        (np.array([2**63], np.uint64), "above"),
        (np.array([1 + 1j]), "several kinds"),
        ([object()], "several kinds"),
    ],
)
def test_what_is_no_label(column: object, why: str) -> None:
    read = read_classes(column)
    assert read.numbers is None
    assert re.search(why, read.why or "")
