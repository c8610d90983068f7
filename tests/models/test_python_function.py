"""Networks built by the user's own code."""

import sys
from pathlib import Path

import pytest
import torch

import fluoroscope as fs
from fluoroscope.errors import ModelFormatError, UnknownModelError

CODE = """
import torch
from torch import nn
import fluoroscope as fs

def network():
    return nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(16, 3))

def classifier():
    return fs.Classifier(network(), labels=["a", "b", "c"], channels=1, input_size=4, mean=[0.5])

def number():
    return 3

def needs(argument):
    return network()

def fails():
    raise RuntimeError("no weights\\nanywhere")

constant = 3
"""


@pytest.fixture
def own_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> str:
    """The name of a module in the current directory, another one for each test."""
    name = f"own_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(CODE)
    (tmp_path / f"{name}_broken.py").write_text("import a_library_nobody_has\n")
    (tmp_path / f"{name}_wrong.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    return name


def test_a_function_of_the_current_directory(own_code: str) -> None:
    path = list(sys.path)
    model = fs.load_model(f"python:{own_code}:network", input_size=4, channels=1)
    assert model(torch.rand(2, 1, 4, 4)).shape == (2, 3)
    assert model.name == f"python:{own_code}:network"
    assert not any(part.training for part in model.module.modules())
    assert not any(weight.requires_grad for weight in model.module.parameters())
    assert sys.path == path


def test_a_classifier_keeps_what_it_states(own_code: str) -> None:
    model = fs.load_model(f"python:{own_code}:classifier", std=[2.0])
    assert model.labels == ("a", "b", "c")
    assert (model.preprocessing.mean, model.preprocessing.std) == ((0.5,), (2.0,))


def test_with_a_checkpoint(own_code: str, tmp_path: Path) -> None:
    first = fs.load_model(f"python:{own_code}:network")
    torch.save({"state_dict": first.module.state_dict()}, tmp_path / "net.pt")
    second = fs.load_model(f"python:{own_code}:network", checkpoint=tmp_path / "net.pt")
    assert second.fingerprint() == first.fingerprint()
    torch.save({"2.weight": torch.zeros(4, 16)}, tmp_path / "other.pt")
    with pytest.raises(ModelFormatError, match=r"2\.weight \(4, 16\) instead of \(3, 16\)"):
        fs.load_model(f"python:{own_code}:network", checkpoint=tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("rest", "error", "message"),
    [
        (":netwrok", UnknownModelError, "did you mean 'network'"),
        (":constant", UnknownModelError, "no function 'constant'"),
        ("", UnknownModelError, "names no function"),
        ("_absent:f", UnknownModelError, "neither installed nor in the current directory"),
        (".absent:f", UnknownModelError, "there is no Python module"),
        (":number", ModelFormatError, "returned a int; expected a torch.nn.Module"),
        (":needs", ModelFormatError, "raised TypeError"),
        (":fails", ModelFormatError, "raised RuntimeError: no weights; expected"),
        ("_broken:f", ModelFormatError, "No module named 'a_library_nobody_has'"),
        ("_wrong:f", ModelFormatError, "raised ZeroDivisionError"),
    ],
)
def test_bad_names_and_bad_functions(
    own_code: str, rest: str, error: type[Exception], message: str
) -> None:
    path = list(sys.path)
    with pytest.raises(error, match=message) as raised:
        fs.load_model(f"python:{own_code}{rest}")
    assert "\n" not in str(raised.value)
    assert sys.path == path
