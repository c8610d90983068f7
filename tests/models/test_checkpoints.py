"""Files of weights, good and bad."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fluoroscope.errors import ModelFormatError
from fluoroscope.models.checkpoints import load_checkpoint


def network(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, classes))


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def prefixed(weights: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {prefix + name: value for name, value in weights.items()}


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model."])
@pytest.mark.parametrize("nest", [None, "state_dict", "model", "model_state_dict"])
def test_the_usual_forms_of_a_checkpoint_fit(tmp_path: Path, prefix: str, nest: str | None) -> None:
    trained, fresh = network(), network()
    weights = prefixed(trained.state_dict(), prefix)
    torch.save({nest: weights, "epoch": 3} if nest else weights, tmp_path / "net.pt")
    load_checkpoint(fresh, tmp_path / "net.pt")
    assert same(fresh, trained)


def test_safetensors(tmp_path: Path) -> None:
    trained, fresh = network(), network()
    save_file(trained.state_dict(), tmp_path / "net.safetensors")
    load_checkpoint(fresh, tmp_path / "net.safetensors")
    assert same(fresh, trained)


def test_a_prefix_that_belongs_to_the_network_stays(tmp_path: Path) -> None:
    trained, fresh = (nn.ModuleDict({"model": network()}) for _ in range(2))
    torch.save(trained.state_dict(), tmp_path / "net.pt")
    load_checkpoint(fresh, tmp_path / "net.pt")
    assert same(fresh, trained)


def test_old_checkpoints_lack_the_counters_of_batch_norm(tmp_path: Path) -> None:
    weights = network().state_dict()
    del weights["1.num_batches_tracked"]
    torch.save(weights, tmp_path / "net.pt")
    load_checkpoint(network(), tmp_path / "net.pt")


def test_what_does_not_fit_is_named_and_nothing_is_changed(tmp_path: Path) -> None:
    weights = network(classes=5).state_dict()
    del weights["0.bias"]
    weights |= {f"extra.{number}": torch.zeros(1) for number in range(5)}
    torch.save(weights, tmp_path / "net.pt")
    fresh = network()
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    with pytest.raises(ModelFormatError) as raised:
        load_checkpoint(fresh, tmp_path / "net.pt")
    message = str(raised.value)
    assert "1 missing: 0.bias" in message
    assert "5 unexpected: extra.0, extra.1, extra.2 and 2 more" in message
    assert "2 misshaped: 3.weight (5, 8) instead of (3, 8), 3.bias (5,) instead of (3,)" in message
    assert "\n" not in message
    assert all(torch.equal(before[name], value) for name, value in fresh.state_dict().items())


class Mischief:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("name", ["net.pt", "net.bin"])
def test_a_pickle_that_would_run_code_does_not(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "ran"
    torch.save({"0.weight": Mischief(marker)}, tmp_path / name)
    with pytest.raises(ModelFormatError, match="could run code"):
        load_checkpoint(network(), tmp_path / name)
    assert not marker.exists()
    torch.load(tmp_path / name, weights_only=False)
    assert marker.exists(), "the trap itself must work"


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "net.pt")
    with pytest.raises(ModelFormatError, match="a state_dict alone"):
        load_checkpoint(network(), tmp_path / "net.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "net"),
        (b"not weights at all", "net"),
        (pickle.dumps([1, 2]), "net"),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files_that_are_no_weights(
    tmp_path: Path, content: bytes, message: str, suffix: str
) -> None:
    (tmp_path / f"net{suffix}").write_bytes(content)
    with pytest.raises(ModelFormatError, match=message):
        load_checkpoint(network(), tmp_path / f"net{suffix}")


def test_checkpoints_without_weights(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(ModelFormatError, match="holds a list"):
        load_checkpoint(network(), tmp_path / "list.pt")
    torch.save({"optimizer": {"lr": 0.1}, "epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(ModelFormatError, match="no tensors but optimizer, epoch"):
        load_checkpoint(network(), tmp_path / "empty.pt")
    with pytest.raises(ModelFormatError, match="does not exist"):
        load_checkpoint(network(), tmp_path / "absent.pt")
