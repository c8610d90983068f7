"""Files of weights, good and bad."""

import os
import pickle
import random
import zipfile
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fluoroscope.errors import ModelFormatError
from fluoroscope.models.checkpoints import load_checkpoint, nothing_loaded


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
    with pytest.raises(ModelFormatError, match=r"there is no file .*absent\.pt; expected"):
        load_checkpoint(network(), tmp_path / "absent.pt")


def save(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "prefix",
    [
        "_orig_mod.module.",
        "model._orig_mod.",
        "model.module.",
        "net.",
        "backbone.",
        "a.b.c.",
        "_fsdp_wrapped_module.",
    ],
)
@pytest.mark.parametrize(
    "nest", [(), ("net",), ("state_dict_ema",), ("models", "classifier", "weights")]
)
def test_any_prefix_under_any_nest(tmp_path: Path, prefix: str, nest: tuple[str, ...]) -> None:
    trained, fresh = network(), network()
    content: Any = prefixed(trained.state_dict(), prefix)
    for key in reversed(nest):
        content = {key: content, "epoch": 3, "best": 93.0}
    moments = {number: {"exp_avg": v} for number, v in enumerate(trained.parameters())}
    content = {"net": content, "optimizer": {"state": moments, "param_groups": [{"lr": 0.1}]}}
    load_checkpoint(fresh, save(content, tmp_path / "net.pth"))
    assert same(fresh, trained)


def test_wrappers_inside_names_and_around_the_network(tmp_path: Path) -> None:
    trained = network()
    inside = {f"0._orig_mod.{n[2:]}" if n[0] == "0" else n: v for n, v in weights(trained).items()}
    fresh = network()
    load_checkpoint(fresh, save(inside, tmp_path / "inside.pt"))
    assert same(fresh, trained)
    wrapped = nn.ModuleDict({"model": network()})
    load_checkpoint(wrapped, save(weights(trained), tmp_path / "plain.pt"))
    assert same(wrapped, trained)


def weights(module: nn.Module) -> dict[str, Any]:
    return dict(module.state_dict())


def test_what_is_no_weight_of_the_network_is_left_out(tmp_path: Path) -> None:
    trained, fresh = network(), network()
    counters = {"total_ops": torch.zeros(1), "0.total_params": torch.zeros(1)}
    load_checkpoint(fresh, save(weights(trained) | counters, tmp_path / "thop.pt"))
    assert same(fresh, trained)
    lightning = prefixed(weights(trained), "model.") | {"loss.weight": torch.ones(3)}
    fresh = network()
    load_checkpoint(fresh, save({"state_dict": lightning, "epoch": 1}, tmp_path / "net.ckpt"))
    assert same(fresh, trained)


def test_what_may_be_missed_beside_a_network_is_named(tmp_path: Path) -> None:
    trained, fresh = network(), network()
    more = prefixed(weights(trained), "body.") | {"head.weight": torch.ones(2, 3)}
    path = save(more, tmp_path / "net.pt")
    with pytest.raises(ModelFormatError, match=r"1 unexpected: head\.weight.*checkpoint_key='body"):
        load_checkpoint(fresh, path)
    load_checkpoint(fresh, path, "body")
    assert same(fresh, trained)


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (lambda a, b: {"state_dict": a, "state_dict_ema": b}, ("state_dict", "state_dict_ema")),
        (
            lambda a, b: {"state_dict": prefixed(a, "model.") | prefixed(b, "ema.module.")},
            ("model", "ema"),
        ),
        (lambda a, b: {**a, "ema": {"shadow": b}}, ("", "ema")),
    ],
)
def test_several_sets_of_weights_are_chosen_by_name(
    tmp_path: Path, content: Any, keys: tuple[str, str]
) -> None:
    plain, averaged = network(), network()
    path = save(content(weights(plain), weights(averaged)), tmp_path / "net.pt")
    fresh = network()
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    with pytest.raises(ModelFormatError, match=r"2 sets of weights .* checkpoint_key='") as raised:
        load_checkpoint(fresh, path)
    assert keys[1] in str(raised.value)
    assert all(torch.equal(before[name], value) for name, value in fresh.state_dict().items())
    for key, expected in zip(keys, (plain, averaged), strict=True):
        load_checkpoint(fresh, path, key)
        assert same(fresh, expected)
    with pytest.raises(
        ModelFormatError, match="no weights that fit the network under 'nowhere'; it"
    ):
        load_checkpoint(fresh, path, "nowhere")


def test_the_same_weights_twice_are_no_question(tmp_path: Path) -> None:
    trained, fresh = network(), network()
    load_checkpoint(
        fresh, save({"last": weights(trained), "best": weights(trained)}, tmp_path / "net.pt")
    )
    assert same(fresh, trained)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("sparse_coo", lambda value: value.to_sparse()),
        ("sparse_csr", lambda value: value.to_sparse_csr()),
        ("quantised", lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)),
        (r"without numbers \(meta\)", lambda value: value.to("meta")),
        ("complex", lambda value: value.to(torch.complex64)),
        ("int64", lambda value: value.long()),
        ("bool", lambda value: value > 0),
        ("not finite", lambda value: value / 0),
        ("not finite", lambda value: value.double() * 1e300),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_no_dense_finite_numbers(tmp_path: Path, kind: str, change: Any) -> None:
    content = weights(network())
    content["3.weight"] = change(content["3.weight"])
    fresh = network()
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    with pytest.raises(ModelFormatError, match=rf"3\.weight is {kind}") as raised:
        load_checkpoint(fresh, save(content, tmp_path / "net.pt"))
    assert "\n" not in str(raised.value)
    assert all(torch.equal(before[name], value) for name, value in fresh.state_dict().items())


def test_other_precisions_are_converted(tmp_path: Path) -> None:
    trained, fresh = network(), network()
    content = {
        name: v.double() if v.is_floating_point() else v for name, v in weights(trained).items()
    }
    load_checkpoint(fresh, save(content, tmp_path / "net.pt"))
    assert same(fresh, trained)


def test_networks_that_cannot_take_weights(tmp_path: Path) -> None:
    path = save(weights(network()), tmp_path / "net.pt")
    with pytest.raises(ModelFormatError, match=r"0\.weight of Sequential is on the meta device"):
        load_checkpoint(network().to("meta"), path)
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(ModelFormatError, match=r"1\.weight of Sequential is not yet of any shape"):
        load_checkpoint(lazy, path)


def test_hyperparameters_beside_the_weights_are_not_unpickled(tmp_path: Path) -> None:
    content = {"state_dict": weights(network()), "args": Namespace(lr=0.1)}
    with pytest.raises(ModelFormatError, match=r"\(argparse\.Namespace\).*save its state_dict"):
        load_checkpoint(network(), save(content, tmp_path / "net.ckpt"))


def test_programs_are_refused_as_such(tmp_path: Path) -> None:
    torch.jit.script(network()).save(tmp_path / "net.pt")
    with pytest.raises(ModelFormatError, match="is a TorchScript program"):
        load_checkpoint(network(), tmp_path / "net.pt")


def test_archives_that_unpack_to_far_more_than_they_weigh(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", bytes(2**27))
    with pytest.raises(ModelFormatError, match="would unpack to 128 MiB"):
        load_checkpoint(network(), tmp_path / "net.pt")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_refused_in_a_line(tmp_path: Path, zipped: bool) -> None:
    rng, path = random.Random(0), tmp_path / "net.pt"
    torch.save(weights(network()), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[rng.randrange(min(len(whole), 900))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged if rng.random() < 0.7 else whole[: rng.randrange(len(whole))])
        with suppress(ModelFormatError):
            load_checkpoint(network(), path)


def test_places_where_no_file_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    for path, message in (
        (tmp_path / "pipe.pt", "is a pipe, device or socket"),
        (Path("/dev/zero"), "is a pipe, device or socket"),
        (tmp_path, "is a directory"),
        (tmp_path / ("x" * 5000), "cannot be looked up"),
        ("a\0b", "zero bytes"),
        ("~nobody-of-this-name/net.pt", "cannot be looked up"),
    ):
        with pytest.raises(ModelFormatError, match=message) as raised:
            load_checkpoint(network(), path)
        assert len(str(raised.value)) < 400


def test_a_home_directory_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save(weights(network()), tmp_path / "net.pt")
    load_checkpoint(network(), "~/net.pt")


def test_a_fresh_batch_norm_shows_that_nothing_was_loaded() -> None:
    module = network()
    assert nothing_loaded(module)
    assert not nothing_loaded(nn.Linear(2, 2)), "nothing shows it"
    module(torch.rand(2, 1, 4, 4))
    assert not nothing_loaded(module)
