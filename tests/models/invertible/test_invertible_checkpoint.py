"""Invertible networks from files: what the file states is what is built, within reason."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import fluoroscope as fs
from fluoroscope.errors import ModelFormatError
from fluoroscope.models.invertible.network import Shape
from fluoroscope.models.invertible.stated import invertible_classifier, statement

SHAPE = Shape(3, 6, 4, 3, scales=1, blocks=1, hidden=2, contraction=0.5)


def saved(path: Path, head: dict[str, str] | None = None) -> fs.Classifier:
    torch.manual_seed(0)
    model = invertible_classifier(SHAPE, ("cat", "dog", "axolotl"))
    save_file(model.module.state_dict(), path, statement(model) if head is None else head)
    return model


def test_a_file_says_what_it_is_of(tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    made = saved(file)
    found = fs.load_model("invertible", checkpoint=file)
    assert found.labels == ("cat", "dog", "axolotl")
    assert (found.channels, found.input_size) == (3, (6, 4))
    assert found.module.shape == SHAPE
    images = torch.rand(2, 3, 6, 4)
    assert torch.equal(found(images), made.to()(images))
    assert found.fingerprint() == made.fingerprint()
    assert not found.module.training


def test_without_a_file_there_is_nothing_to_load(tmp_path: Path) -> None:
    with pytest.raises(fs.FluoroscopeError, match="invertible has no weights in the package"):
        fs.load_model("invertible")
    with pytest.raises(fs.FluoroscopeError, match="did you mean 'invertible'"):
        fs.load_model("invertable")
    torch.save({}, tmp_path / "mine.pt")
    with pytest.raises(fs.FluoroscopeError, match="does not say what invertible network"):
        fs.load_model("invertible", checkpoint=tmp_path / "mine.pt")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden": 10**12}, "cannot be .hidden is 1000000000000"),
        ({"height": 1024, "width": 1024, "classes": 100_000}, "weights; expected at most"),
        ({"depth": 3}, "not a mapping of blocks"),
        ({"channels": "3"}, "channels is '3'"),
        ({"contraction": float("nan")}, "contraction is nan"),
        ({"classes": 4}, "labels holds 3 names"),
    ],
)
def test_what_there_cannot_be_is_refused(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    file = tmp_path / "mine.safetensors"
    model = invertible_classifier(SHAPE, ("a", "b", "c"))
    saved(file, statement(model) | {"invertible": json.dumps(SHAPE.describe() | changes)})
    with pytest.raises(fs.FluoroscopeError, match=said):
        fs.load_model("invertible", checkpoint=file)


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "[" * 10_000, '{"channels": 1}'])
def test_what_is_no_statement_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.safetensors"
    saved(file, {"invertible": text})
    with pytest.raises(ModelFormatError, match="an invertible network that there cannot be"):
        fs.load_model("invertible", checkpoint=file)


def test_weights_of_another_shape_do_not_fit(tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    model = invertible_classifier(Shape(3, 6, 4, 3, scales=1, blocks=2, hidden=2))
    saved(file, statement(model))
    with pytest.raises(ModelFormatError):
        fs.load_model("invertible", checkpoint=file)
