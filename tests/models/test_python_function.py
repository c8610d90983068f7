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

def ends():
    raise SystemExit(2)

class Odd(Exception):
    def __str__(self):
        raise ValueError

def odd():
    raise Odd

def long():
    raise ValueError("x" * 10**6)

def a_class():
    return nn.Flatten

def pair():
    return network(), ["a", "b"]

def weights():
    return network().state_dict()

def on_meta():
    return network().to("meta")

def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))

def fresh():
    return nn.Sequential(nn.BatchNorm2d(1), network())

def scripted():
    return torch.jit.trace(network().eval(), torch.rand(1, 1, 4, 4))

made = network()
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
    (tmp_path / f"{name}_script.py").write_text("import sys\nsys.exit('usage: train')\n")
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


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_scripted_network_is_held_still_too(own_code: str) -> None:
    model = fs.load_model(f"python:{own_code}:scripted", input_size=4, channels=1)
    assert model(torch.rand(1, 1, 4, 4)).shape == (1, 3)
    assert not any(weight.requires_grad for weight in model.module.parameters())


def test_a_classifier_keeps_what_it_states(own_code: str) -> None:
    model = fs.load_model(f"python:{own_code}:classifier", std=[2.0])
    assert model.labels == ("a", "b", "c")
    assert (model.preprocessing.mean, model.preprocessing.std) == ((0.5,), (2.0,))


def test_a_network_itself_in_place_of_a_function(own_code: str) -> None:
    model = fs.load_model(f"python:{own_code}:made", input_size=4, channels=1)
    assert model(torch.rand(2, 1, 4, 4)).shape == (2, 3)


def test_whether_anything_was_loaded_is_known_of_batch_norms_alone(
    own_code: str, tmp_path: Path
) -> None:
    fresh = fs.load_model(f"python:{own_code}:fresh")
    assert fresh.weights_from == ""
    assert fs.load_model(f"python:{own_code}:network").weights_from is None
    torch.save(fresh.module.state_dict(), tmp_path / "net.pt")
    loaded = fs.load_model(f"python:{own_code}:fresh", checkpoint=tmp_path / "net.pt")
    assert loaded.weights_from == f"checkpoint {tmp_path / 'net.pt'}"


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
        (":ends", ModelFormatError, "raised SystemExit: 2"),
        (":odd", ModelFormatError, "raised Odd: Odd"),
        (":long", ModelFormatError, "raised ValueError: x{300}…; expected"),
        (":a_class", ModelFormatError, "returned the class Flatten, not an object"),
        (":pair", ModelFormatError, "returned a tuple of Sequential, list; expected"),
        (":weights", ModelFormatError, "of tensors, which are weights without a network"),
        (":on_meta", ModelFormatError, r"whose 2\.weight has no memory \(device meta\)"),
        (":lazy", ModelFormatError, r"whose 1\.weight has no memory \(lazy\)"),
        ("_script:f", ModelFormatError, "raised SystemExit: usage: train"),
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
