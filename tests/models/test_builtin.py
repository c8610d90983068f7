"""The built-in networks are what their records say."""

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.gradient.gradient_sign import PGD
from fluoroscope.errors import UnknownModelError
from fluoroscope.models.builtin import build_architecture, load_builtin
from fluoroscope.models.names import BUILTIN, builtin_record

WEIGHTS = files("fluoroscope.models") / "weights"
# What the networks must reach: MNIST's test split, and the built-in pictures.
REQUIRED = {
    "digits-linear": (0.920, 0.85),
    "digits-cnn": (0.992, 0.95),
    "digits-robust": (0.98, 0.90),
}
every_builtin = pytest.mark.parametrize("name", BUILTIN)


@cache
def split(data: str, part: str | None) -> tuple[Tensor, Tensor]:
    batches = list(fs.load_images(data, part, channels=1).batches(1000))
    labels = [batch.labels for batch in batches if batch.labels is not None]
    return torch.cat([batch.images for batch in batches]), torch.cat(labels)


def share_right(model: fs.Classifier, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        answers = torch.cat([model(batch).argmax(1) for batch in images.split(1000)])
    return (answers == labels).double().mean().item()


@every_builtin
def test_weights_are_the_recorded_ones(name: str) -> None:
    content = (WEIGHTS / f"{name}.safetensors").read_bytes()
    record = builtin_record(name)
    assert hashlib.sha256(content).hexdigest() == record["sha256"]
    assert load_builtin(name).fingerprint() == record["model_sha256"]
    assert len(content) <= 1_000_000


@every_builtin
def test_record_says_how_to_repeat_it(name: str) -> None:
    record = builtin_record(name)
    assert record["command"].startswith(f"fluoroscope train {name} --data ")
    assert f"--seed {record['seed']} " in record["command"]
    assert record["data"]["train"] == 60_000
    assert record["data"]["test"] == 10_000
    assert record["parameters"] == sum(w.numel() for w in build_architecture(name).parameters())
    assert {"recipe", "seconds", "date", "torch", "machine", "note"} <= set(record)


@every_builtin
def test_reads_the_built_in_pictures(name: str) -> None:
    reached = share_right(load_builtin(name), *split("digits", None))
    assert reached == pytest.approx(builtin_record(name)["accuracy"]["built_in_pictures"], abs=2e-3)
    assert reached >= REQUIRED[name][1]


@every_builtin
def test_reads_mnist(name: str, shared: Path) -> None:
    reached = share_right(load_builtin(name), *split(str(shared / "data" / "mnist"), "test"))
    assert reached == pytest.approx(builtin_record(name)["accuracy"]["test"], abs=5e-4)
    assert reached >= REQUIRED[name][0]


def test_the_robust_network_withstands_what_fools_the_other(shared: Path) -> None:
    images, labels = split(str(shared / "data" / "mnist"), "test")
    images, labels = images[:200], labels[:200]
    attack = PGD(threat=fs.Linf(0.3), steps=20)
    resisted = {}
    for name in ("digits-cnn", "digits-robust"):
        found = attack(load_builtin(name), images, labels)
        resisted[name] = 1 - found.success.double().mean().item()
    assert resisted["digits-cnn"] < 0.1
    assert resisted["digits-robust"] > 0.9


def test_the_robust_networks_record_counts_what_it_withstood() -> None:
    record = builtin_record("digits-robust")
    weak, strong = record["adversarial"]["test"]
    assert (strong["attack"], strong["steps"], strong["restarts"]) == ("PGD", 100, 10)
    assert strong["pictures"] == 1000
    assert strong["accuracy"] == strong["right"] / 1000 >= 0.88
    # Had it bent its gradient rather than hardened, one step would fare far worse than many.
    assert weak["accuracy"] - strong["accuracy"] < 0.1


@every_builtin
def test_is_ready_for_input_work(name: str) -> None:
    model = load_builtin(name)
    assert model.labels == tuple("0123456789")
    assert (model.channels, model.input_size, model.num_classes) == (1, (28, 28), 10)
    assert not any(part.training for part in model.module.modules())
    assert not any(weight.requires_grad for weight in model.module.parameters())
    # Each part is used once and is a module of its own, as attribution methods want it.
    kinds = (nn.Flatten, nn.Linear, nn.Conv2d, nn.ReLU)
    assert all(isinstance(part, kinds) for part in model.module.children())


def test_linear_is_softmax_regression() -> None:
    model = load_builtin("digits-linear")
    weights = model.module.state_dict()
    images = torch.rand(3, 1, 28, 28)
    expected = images.flatten(1) @ weights["1.weight"].T + weights["1.bias"]
    torch.testing.assert_close(model(images), expected)


def test_each_load_is_a_network_of_its_own() -> None:
    first, second = load_builtin("digits-linear"), load_builtin("digits-linear")
    first.module[1].weight.zero_()  # type: ignore[index]
    assert second.module[1].weight.any()  # type: ignore[index]


@pytest.mark.parametrize("call", [build_architecture, load_builtin, builtin_record])
def test_unknown_name(call: object) -> None:
    assert callable(call)
    with pytest.raises(UnknownModelError, match="'digits-rnn'; expected digits-linear or digits"):
        call("digits-rnn")
