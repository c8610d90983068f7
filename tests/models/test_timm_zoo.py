"""Networks of timm, without fetching anything."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import fluoroscope as fs
from fluoroscope.errors import HubUnreachableError, ModelFormatError, UnknownModelError
from fluoroscope.models import timm_zoo

timm = pytest.importorskip("timm")
# Small, with a configuration of its own: 160×160 out of 168, mean and std 0.5.
SMALL = "test_resnet.r160_in1k"


def smooth_picture() -> Image.Image:
    down, across = np.mgrid[0:331, 0:487] / 100
    waves = [np.sin(k * down + across / k) for k in (3.0, 4.0, 5.0)]
    return Image.fromarray(np.uint8(127.5 + 127.5 * np.stack(waves, -1)))


@pytest.mark.parametrize(
    "name", ["resnet18.a1_in1k", "vit_base_patch16_224", "convnext_tiny.in12k_ft_in1k_384", SMALL]
)
def test_preprocessing_is_what_the_configuration_states(name: str) -> None:
    stated = timm.models.get_pretrained_cfg(name).to_dict()
    config = timm.data.resolve_data_config(pretrained_cfg=stated)
    ours = timm_zoo._preprocessing(config, name, "timm")
    picture = smooth_picture()
    expected = timm.data.create_transform(**config)(picture)
    images = torch.from_numpy(np.array(picture)).permute(2, 0, 1).unsqueeze(0) / 255
    difference = (ours.normalize(ours.fit(images))[0] - expected) * expected.new_tensor(
        config["std"]
    ).view(3, 1, 1)
    assert difference.abs().max() < 2 / 255  # Pillow rounds to 8 bits after each direction


def test_squashing_and_unsupported_fits() -> None:
    stated = {"input_size": (3, 96, 96), "crop_pct": 0.9, "crop_mode": "squash"}
    assert timm_zoo._resize(stated, "x") == (106, 106)
    assert timm_zoo._resize(stated | {"crop_mode": "center"}, "x") == 106
    for other in ({"crop_mode": "border"}, {"crop_mode": "center", "input_size": (3, 96, 80)}):
        with pytest.raises(ModelFormatError, match="not supported"):
            timm_zoo._resize(stated | other, "x")


def test_random_weights_with_labels_and_transforms() -> None:
    model = fs.load_model(f"timm/{SMALL}", pretrained=False)
    assert (model.input_size, model.preprocessing.resize) == ((160, 160), 168)
    assert model.labels[0] == "tench, Tinca tinca"
    assert model.find_class("tench") == 0
    assert model(torch.rand(1, 3, 160, 160)).shape == (1, 1000)
    assert fs.load_model(f"timm/{SMALL}", pretrained=False, labels=["a", "b"]).num_classes == 2


def test_published_weights_come_from_the_hubs_safetensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = timm.create_model(SMALL)
    save_file(own.state_dict(), tmp_path / "model.safetensors")
    asked: list[str] = []

    def fetch(repository: str) -> Path:
        asked.append(repository)
        return tmp_path

    monkeypatch.setattr(timm_zoo, "fetch_repository", fetch)
    model = fs.load_model(f"timm/{SMALL}")
    assert asked == [f"timm/{SMALL}"]
    images = torch.rand(1, 3, 160, 160)
    expected = own.eval()(model.preprocessing.normalize(images))
    assert torch.allclose(model(images), expected, atol=1e-5)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelFormatError, match="holds no safetensors"):
        fs.load_model(f"timm/{SMALL}")


def directory(folder: Path, **changes: Any) -> Path:
    own = timm.create_model("test_resnet", num_classes=2)
    save_file(own.state_dict(), folder / "model.safetensors")
    config = {
        "architecture": "test_resnet",
        "num_classes": 2,
        "label_names": ["n1", "n2"],
        "label_descriptions": {"n1": "cat", "n2": "dog"},
        "pretrained_cfg": {
            "input_size": [3, 96, 96],
            "mean": [0.1, 0.2, 0.3],
            "std": [0.4, 0.5, 0.6],
            "interpolation": "bilinear",
            "crop_pct": 0.75,
            "crop_mode": "center",
            "num_classes": 2,
            "first_conv": "conv1",
            "classifier": "fc",
        },
    }
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def test_a_directory_in_timms_format(tmp_path: Path) -> None:
    model = fs.load_model(directory(tmp_path))
    assert model.labels == ("cat", "dog")
    stated = model.preprocessing
    assert (stated.mean, stated.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (stated.input_size, stated.resize) == ((96, 96), 128)
    assert stated.interpolation == "bilinear"
    assert model(torch.rand(1, 3, 50, 70)).shape == (1, 2)


def test_bad_directories_in_timms_format(tmp_path: Path) -> None:
    folder = directory(tmp_path, architecture="resnet_of_mine")
    with pytest.raises(ModelFormatError, match="cannot be built by timm"):
        fs.load_model(folder)
    directory(tmp_path, architecture="resnet18")  # whose weights have other shapes
    with pytest.raises(ModelFormatError, match="cannot be built by timm"):
        fs.load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelFormatError, match=r"lacks model\.safetensors"):
        fs.load_model(folder)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("resnet81", UnknownModelError, "did you mean 'timm/resnet18'"),
        ("resnet18.of_mine", UnknownModelError, "is not in timm"),
        ("coatnet_0_224", UnknownModelError, "publishes no weights"),
    ],
)
def test_other_names_are_refused(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fs.load_model(f"timm/{name}")


def test_networks_without_classes_are_refused() -> None:
    with pytest.raises(ModelFormatError, match="has no classifier"):
        fs.load_model("timm/convnext_tiny.dinov3_lvd1689m", pretrained=False)


def test_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("Connection refused\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(HubUnreachableError, match="could not reach the Hugging Face hub") as raised:
        fs.load_model("timm/resnet18")
    assert "\n" not in str(raised.value)
    assert "digits-cnn" in str(raised.value)
