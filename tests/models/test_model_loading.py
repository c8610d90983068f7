"""Names, overrides, devices, and what is listed and shown."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fluoroscope as fs
from fluoroscope.errors import (
    InvalidParameterError,
    MissingExtraError,
    ModelFormatError,
    UnknownModelError,
)

BUILT_IN = ("digits-linear", "digits-cnn", "digits-robust")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(48, 2))


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_built_in_networks(name: str) -> None:
    model = fs.load_model(name)
    assert (model.name, model.channels, model.input_size) == (name, 1, (28, 28))
    assert model.labels == tuple("0123456789")
    assert not any(part.training for part in model.module.modules())
    assert not any(weight.requires_grad for weight in model.module.parameters())
    assert fs.load_model(name).module is not model.module


def test_a_module_is_wrapped_and_left_as_it_is() -> None:
    module = network().train()
    model = fs.load_model(module, labels=["a", "b"], input_size=4, std=[0.5] * 3)
    assert model.module is module
    assert module.training
    assert all(weight.requires_grad for weight in module.parameters())
    assert model(torch.rand(1, 3, 4, 4)).shape == (1, 2)
    assert (model.labels, model.input_size) == (("a", "b"), (4, 4))
    assert fs.describe_model(model)["source"] == "module"


def test_a_classifier_is_returned_as_it_is_or_restated() -> None:
    model = fs.Classifier(network(), mean=[0.1] * 3, input_size=(4, 4))
    assert fs.load_model(model).preprocessing == model.preprocessing
    assert fs.load_model(model).module is model.module
    changed = fs.load_model(model, channel_order="bgr", interpolation="bicubic", resize=(5, 6))
    assert (changed.preprocessing.channel_order, changed.preprocessing.resize) == ("bgr", (5, 6))
    assert changed.preprocessing.mean == (0.1,) * 3
    assert "changed by the caller" in changed.preprocessing.stated_by
    assert model.preprocessing.channel_order == "rgb"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit-cnn", "did you mean 'digits-cnn'"),
        ("resnet18", r"did you mean 'torchvision/resnet18'\? expected"),
        ("ResNet81", "did you mean 'torchvision/resnet18'"),
        ("google/vit-base-patch16-224", "did you mean 'hf/google/vit-base-patch16-224'"),
        ("./no/such/directory", "no network is called './no/such/directory'; expected"),
        ("", "no network is called ''"),
        (
            "qqqqqqqq",
            r"expected a built-in \(digits-linear, digits-cnn, digits-robust\), torchvision/NAME",
        ),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(UnknownModelError, match=message) as raised:
        fs.load_model(name)
    assert "\n" not in str(raised.value)


def test_files_that_are_no_networks(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "net.pth")
    with pytest.raises(ModelFormatError, match="weights but no network"):
        fs.load_model(tmp_path / "net.pth")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UnknownModelError, match="is a file, but no exported program"):
        fs.load_model(tmp_path / "notes.txt")
    with pytest.raises(ModelFormatError, match=r"lacks config\.json"):
        fs.load_model(tmp_path)


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 5000 + ".pt2", "a\0b", "~nobody-of-this-name"])
def test_names_that_the_file_system_refuses(name: str) -> None:
    with pytest.raises(UnknownModelError, match="cannot be looked up") as raised:
        fs.load_model(name)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400
    fs.describe_model(fs.Classifier(network(), name=name, input_size=4))


def test_a_home_directory_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "net").mkdir()
    with pytest.raises(ModelFormatError, match=f"{tmp_path}/net lacks config.json"):
        fs.load_model("~/net")


def test_a_torchscript_program_is_refused_as_such(tmp_path: Path) -> None:
    torch.jit.script(network()).save(tmp_path / "net.pt")
    with pytest.raises(ModelFormatError, match=r"is a TorchScript program.*torch\.jit\.load"):
        fs.load_model(tmp_path / "net.pt")


def test_where_the_weights_are_from(tmp_path: Path) -> None:
    assert fs.load_model("digits-linear").weights_from == "digits-linear"
    torch.save(fs.load_model("digits-linear").module.state_dict(), tmp_path / "net.pt")
    loaded = fs.load_model("digits-linear", checkpoint=tmp_path / "net.pt")
    assert loaded.weights_from == f"checkpoint {tmp_path / 'net.pt'}"
    assert fs.load_model("torchvision/squeezenet1_1", pretrained=False).weights_from == ""
    assert fs.load_model(network()).weights_from is None


def test_a_set_of_weights_is_chosen_by_name(tmp_path: Path) -> None:
    weights = fs.load_model("digits-linear").module.state_dict()
    zeros = {name: torch.zeros_like(value) for name, value in weights.items()}
    torch.save({"state_dict": weights, "state_dict_ema": zeros}, tmp_path / "net.pt")
    with pytest.raises(ModelFormatError, match="checkpoint_key='state_dict_ema'"):
        fs.load_model("digits-linear", checkpoint=tmp_path / "net.pt")
    chosen = fs.load_model(
        "digits-linear", checkpoint=tmp_path / "net.pt", checkpoint_key="state_dict_ema"
    )
    assert chosen(torch.rand(1, 1, 28, 28)).abs().max() == 0
    with pytest.raises(InvalidParameterError, match="checkpoint_key was given without checkpoint"):
        fs.load_model("digits-linear", checkpoint_key="state_dict_ema")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": [0.1, 0.2]}, "mean is"),
        ({"std": [0.0]}, "numbers above 0"),
        ({"input_size": (1, 2, 3)}, "expected one side or"),
        ({"input_size": 0}, "input_size is"),
        ({"labels": ["a", "b"]}, "labels holds 2 names; digits-linear has 10 classes"),
        ({"interpolation": "magic"}, "interpolation is 'magic'"),
        ({"device": "toaster"}, "device 'toaster' is not here"),
        ({"pretrained": False}, "expected a torchvision/ or timm/ name"),
    ],
)
def test_overrides_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message) as raised:
        fs.load_model("digits-linear", **options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("options", [{"checkpoint": "net.pt"}, {"pretrained": False}])
def test_what_only_goes_with_a_name(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match="expected a name"):
        fs.load_model(network(), **options)


def test_a_built_in_takes_a_checkpoint(tmp_path: Path) -> None:
    model = fs.load_model("digits-linear")
    weights = {name: torch.zeros_like(v) for name, v in model.module.state_dict().items()}
    torch.save(weights, tmp_path / "zero.pt")
    empty = fs.load_model("digits-linear", checkpoint=tmp_path / "zero.pt")
    assert empty(torch.rand(1, 1, 28, 28)).abs().max() == 0
    assert empty.fingerprint() != model.fingerprint()


def test_devices() -> None:
    assert fs.load_model("digits-linear", device="cpu").device == torch.device("cpu")
    best = "cuda" if torch.cuda.is_available() else "cpu"
    assert fs.load_model("digits-linear", device="auto").device.type == best
    if best == "cpu":
        with pytest.raises(InvalidParameterError, match="device 'cuda' is not here"):
            fs.load_model("digits-linear", device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_module_moves_to_another_device_as_a_copy() -> None:
    module = network()
    model = fs.load_model(module, device="cuda", input_size=4)
    assert model.device.type == "cuda"
    assert next(module.parameters()).device.type == "cpu"
    assert model(torch.rand(1, 3, 4, 4, device="cuda")).device.type == "cuda"


def test_a_missing_library_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fluoroscope.models.hub.find_spec", lambda library: None)
    for name in ("timm/resnet18", "hf/owner/name"):
        with pytest.raises(MissingExtraError, match=r"pip install 'fluoroscope\[hub\]'"):
            fs.load_model(name)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_is_described_with_its_training(name: str) -> None:
    described = fs.describe_model(name)
    assert json.loads(json.dumps(described)) == described
    assert described["source"] == "built-in"
    assert described["training"]
    assert described["labels"] == list("0123456789")
    assert described["sha256"] == fs.load_model(name).fingerprint()


def test_the_list_has_the_built_ins_and_every_form_of_name() -> None:
    listed = fs.list_models()
    assert json.loads(json.dumps(listed)) == listed
    assert [entry["name"] for entry in listed["built_in"]] == list(BUILT_IN)
    assert all(entry["training"] for entry in listed["built_in"])
    forms = {entry["form"].split("/")[0].split(":")[0] for entry in listed["forms"]}
    assert forms == {
        "invertible", "torchvision", "timm", "hf", "DIRECTORY", "FILE.pt2", "python"
    }  # fmt: skip
    assert listed["libraries"]["torchvision"] is True
