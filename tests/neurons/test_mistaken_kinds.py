"""What is of another kind than what a door of the room takes is told in a sentence."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import fluoroscope as fs

MODEL, X = fs.load_model("digits-cnn"), torch.rand(1, 28, 28)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda n: n.find_units(MODEL, None), "layer is None, which digits-cnn does not have"),
        (lambda n: n.find_units(MODEL, 5), "layer is 5, .* did you mean 5"),
        (
            lambda n: n.find_units(MODEL, "5", -1),
            "call is -1, .* used 1 time in a pass; expected 0$",
        ),
        (lambda n: n.find_units(MODEL, "5", "0"), "call is '0', .* expected 0$"),
        (lambda n: n.read(MODEL, X, "5", reduction=3), "reduction is 3; expected mean, max"),
        (lambda n: n.unit_statistics(None), "activations are a NoneType"),
        (lambda n: n.consistency(None, None), "real is a NoneType; expected what fs.neurons.read"),
        (lambda n: n.trace(MODEL, X, put=float("nan")), "put is nan; expected finite numbers"),
    ],
)
def test_it_is_told(call: Callable[[Any], object], words: str) -> None:
    with pytest.raises(fs.FluoroscopeError, match=words):
        call(fs.neurons)


def test_one_layer_is_as_good_as_a_list_of_one() -> None:
    [found] = fs.neurons.read_layers(MODEL, X[None], "5")
    assert found.units.layer == "5"
