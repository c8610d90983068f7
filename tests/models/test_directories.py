"""Directories of strangers: configurations that ask for too much, or lead elsewhere."""

import json
import os
import random
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import fluoroscope as fs
from fluoroscope.errors import FluoroscopeError, ModelFormatError
from fluoroscope.models.directories import no_larger_than

transformers = pytest.importorskip("transformers")
timm = pytest.importorskip("timm")
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = transformers.ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=32,
        patch_size=16,
        id2label={0: "cat", 1: "dog"},
    )
    folder = tmp_path_factory.mktemp("hf") / "net"
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    transformers.ViTImageProcessor(size=size).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "net"))


@pytest.fixture
def timm_folder(tmp_path: Path) -> Path:
    module = timm.create_model("test_vit", num_classes=2)
    save_file(module.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "test_vit", "num_classes": 2}
    stated = {"input_size": [3, 160, 160], "num_classes": 2, "classifier": "head"}
    (tmp_path / CONFIG).write_text(json.dumps(config | {"pretrained_cfg": stated}))
    return tmp_path


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder: Path, message: str) -> None:
    with pytest.raises(ModelFormatError, match=message) as raised:
        fs.load_model(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["[" * 200_000, '{"a":' * 200_000, " " * (2**24 + 1)])
@pytest.mark.parametrize("name", [CONFIG, PROCESSOR])
def test_configurations_too_deep_or_too_long(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    refused(folder, f"{name} is no readable JSON")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 10**7}, "asks for 10000000 of num_hidden_layers"),
        ({"num_hidden_layers": 10**5}, "far larger than its weights"),
        ({"hidden_size": 10**6}, "far larger than its weights"),
        ({"num_labels": 10**9}, "asks for 1000000000 of num_labels"),
        ({"depths": [10**6] * 100}, "asks for 100000000 of depths"),
        ({"use_pretrained_backbone": True}, "published weights for its backbone"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantised weights"),
        ({"parts": [{"attn_implementation": "some/kernel"}]}, "the kernel 'some/kernel'"),
    ],
)
def test_configurations_that_ask_for_too_much(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    edit(folder / CONFIG, **changes)
    refused(folder, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": {"height": 10**6, "width": 10**6}}, "pictures of .* by size"),
        ({"size": 10**6}, "pictures of 1000000 by size"),
        ({"image_mean": []}, PROCESSOR),
        ({"image_mean": [[0.5]], "image_std": "wide"}, PROCESSOR),
        ({"resample": 99}, PROCESSOR),
    ],
)
def test_processors_that_ask_for_too_much(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    edit(folder / PROCESSOR, **changes)
    refused(folder, message)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "model.bin", "a/b.bin"])
def test_an_index_leads_nowhere_else(folder: Path, name: str) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": {"classifier.weight": name}}))
    refused(folder, "expected safetensors in the same folder")


def test_weights_in_several_files(folder: Path) -> None:
    before = fs.load_model(folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    first = dict(list(weights.items())[:5])
    rest = {name: value for name, value in weights.items() if name not in first}
    parts = {"a.safetensors": first, "b.safetensors": rest}
    for name, content in parts.items():
        save_file(content, folder / name, metadata={"format": "pt"})
    where = {name: part for part, content in parts.items() for name in content}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(fs.load_model(folder)(images), before(images))
    (folder / "b.safetensors").unlink()
    refused(folder, r"there is no file .*b\.safetensors")


def test_an_adapter_is_no_network(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "owner/name"})
    )
    refused(folder, "merge the adapter into it")


@pytest.mark.parametrize("name", [CONFIG, PROCESSOR, "model.safetensors"])
def test_pipes_are_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refused(folder, f"{name} is a pipe|lacks {name}")


def test_a_cache_of_links(folder: Path, tmp_path: Path) -> None:
    """The hub's cache keeps files elsewhere and links to them."""
    cache = tmp_path / "models--owner--name"
    (cache / "blobs").mkdir(parents=True)
    snapshot = cache / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(cache / "blobs" / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    assert fs.load_model(snapshot).labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_args": {"depth": 10**7}}, "asks for 10000000 of depth"),
        ({"model_args": {"depth": 10**5}}, "far larger than its weights"),
        ({"model_args": {"embed_dim": 3 * 10**6}}, "far larger than its weights"),
        ({"model_args": {"img_size": 10**6}}, "pictures of 1000000 by img_size"),
        ({"model_args": {"pretrained_strict": False}}, "sets 'pretrained_strict' in model_args"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "sets 'checkpoint_path'"),
        ({"model_args": {"num_classes": 5}}, "states 2 classes for the weights and 5"),
        ({"model_args": [1]}, "are no objects"),
        ({"pretrained_cfg": {"mean": "grey", "num_classes": 2}}, CONFIG),
        ({"label_names": 3}, CONFIG),
    ],
)
def test_timms_configurations(timm_folder: Path, changes: dict[str, Any], message: str) -> None:
    fs.load_model(timm_folder)
    edit(timm_folder / CONFIG, **changes)
    refused(timm_folder, message)


def test_pickles_beside_the_weights_are_not_read(timm_folder: Path) -> None:
    (timm_folder / "model.safetensors").rename(timm_folder / "other.safetensors")
    torch.save({}, timm_folder / "pytorch_model.bin")
    refused(timm_folder, r"lacks model\.safetensors")


def test_a_local_directory_dials_nobody(
    folder: Path, timm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled: list[Any] = []

    def dial(*address: Any, **_: Any) -> None:
        dialled.append(address)
        raise OSError("no network here")

    for door in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, door, dial)
    monkeypatch.setattr(socket.socket, "connect", dial)
    edit(folder / CONFIG, _name_or_path="owner/name", auto_map={"AutoModel": "owner/name--x.Y"})
    fs.load_model(folder)
    elsewhere = {"url": "http://h/x.pth", "hf_hub_id": "owner/name", "source": "hf-hub"}
    stated = json.loads((timm_folder / CONFIG).read_text())["pretrained_cfg"]
    edit(timm_folder / CONFIG, pretrained_cfg=stated | elsewhere, url="http://h/x.pth")
    fs.load_model(timm_folder)
    assert not dialled


def test_building_in_another_thread_is_not_counted(saved: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool, no_larger_than([saved / "model.safetensors"]):
        assert pool.submit(nn.Linear, 10_000, 2_000).result().weight.shape == (2_000, 10_000)
        with pytest.raises(ModelFormatError, match="far larger"):
            nn.Linear(10_000, 2_000)
    nn.Linear(10_000, 2_000)


def damage(rng: random.Random, data: bytes) -> bytes:
    """A flipped bit, a cut, or another number or word in a JSON text."""
    changed = bytearray(data)
    kind = rng.randrange(3)
    if kind == 0:
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del changed[rng.randrange(len(changed)) :]
    else:
        odd = rng.choice([b"-1", b"1e9", b"null", b"[]", b"{}", b'"x"', b"true", b"0"])
        at = changed.find(b": ", rng.randrange(len(changed)))
        end = changed.find(b",", at)
        if 0 <= at < end:
            changed[at + 2 : end] = odd
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [CONFIG, PROCESSOR, "model.safetensors"])
def test_damaged_files_are_refused_in_a_line(folder: Path, name: str) -> None:
    rng, whole = random.Random(1), (folder / name).read_bytes()
    for _ in range(12):
        (folder / name).write_bytes(damage(rng, whole))
        with suppress(FluoroscopeError):
            fs.load_model(folder)
