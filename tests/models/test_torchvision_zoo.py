"""Networks of torchvision, without fetching anything."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import get_model, get_model_weights

import fluoroscope as fs
from fluoroscope.errors import HubUnreachableError, ModelFormatError, UnknownModelError
from fluoroscope.models import names, torchvision_zoo
from fluoroscope.models.torchvision_zoo import load_torchvision, torchvision_names

PICTURE = (torch.rand(3, 331, 487, generator=torch.Generator().manual_seed(0)) * 255).to(
    torch.uint8
)


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "efficientnet_v2_s", "swin_t", "vit_l_16"]
)
def test_preprocessing_is_what_the_weights_state(name: str) -> None:
    published = get_model_weights(name).DEFAULT
    stated = torchvision_zoo._preprocessing(published)
    images = PICTURE.unsqueeze(0) / 255
    expected = published.transforms()(images)
    # Bicubic overshoots [0, 1] on noise; pictures with 8 bits a channel are cut off there too.
    ours = stated.normalize(stated.resample(images))
    low, high = (stated.normalize(torch.full_like(ours, value)) for value in (0.0, 1.0))
    assert torch.allclose(ours, expected.clamp(low, high), atol=1e-5)
    assert stated.stated_by == f"torchvision's {published}"


def test_every_classification_network_states_its_preprocessing() -> None:
    assert len(torchvision_names()) >= 80
    for name in torchvision_names():
        stated = torchvision_zoo._preprocessing(get_model_weights(name).DEFAULT)
        assert stated.mean is not None
        assert stated.input_size is not None


def test_random_weights_with_labels_and_transforms() -> None:
    model = fs.load_model("torchvision/mobilenet_v3_small", pretrained=False)
    assert model.name == "torchvision/mobilenet_v3_small"
    assert model.labels[:2] == ("tench", "goldfish")
    assert model.find_class("giant panda") == 388
    assert model(torch.rand(1, 3, 300, 260)).shape == (1, 1000)
    assert not any(part.training for part in model.module.modules())
    assert fs.describe_model(model)["source"] == "torchvision"


def test_labels_set_the_number_of_classes_of_random_weights() -> None:
    model = fs.load_model("torchvision/squeezenet1_1", pretrained=False, labels=["cat", "dog"])
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 2)
    assert model.labels == ("cat", "dog")


def test_a_checkpoint_takes_the_place_of_the_published_weights(tmp_path: Path) -> None:
    own = get_model("squeezenet1_1", num_classes=2)
    torch.save(own.state_dict(), tmp_path / "own.pt")
    model = fs.load_model(
        "torchvision/squeezenet1_1", checkpoint=tmp_path / "own.pt", labels=["cat", "dog"]
    )
    images = torch.rand(1, 3, 224, 224)
    expected = own.eval()(model.preprocessing.normalize(images))
    assert torch.allclose(model(images), expected, atol=1e-6)
    with pytest.raises(ModelFormatError, match=r"misshaped: classifier\.1\.weight \(2, 512"):
        fs.load_model("torchvision/squeezenet1_1", checkpoint=tmp_path / "own.pt")


def test_published_weights_are_read_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the right name in torch.hub's cache stands for the download."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    published = get_model_weights("squeezenet1_1").DEFAULT
    cached = tmp_path / "checkpoints" / Path(published.url).name
    cached.parent.mkdir()
    own = get_model("squeezenet1_1")
    torch.save(own.state_dict(), cached)
    images = torch.rand(1, 3, 224, 224)
    model = fs.load_model("torchvision/squeezenet1_1")
    expected = own.eval()(model.preprocessing.normalize(images))
    assert torch.allclose(model(images), expected, atol=1e-6)


class Mischief:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def test_a_poisoned_cache_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    cached = tmp_path / "checkpoints" / Path(get_model_weights("squeezenet1_1").DEFAULT.url).name
    cached.parent.mkdir()
    torch.save({"weight": Mischief(tmp_path / "ran")}, cached)
    with pytest.raises(ModelFormatError, match="could run code"):
        fs.load_model("torchvision/squeezenet1_1")
    assert not (tmp_path / "ran").exists()


def test_transforming_networks_keep_their_transformation_without_published_weights() -> None:
    """torchvision sets transform_input only beside its own weights; a checkpoint needs it too."""
    with torch.device("meta"):  # shapes without numbers
        assert load_torchvision("googlenet", pretrained=False).module.transform_input
        assert load_torchvision("vit_b_16", pretrained=False, classes=2).module.image_size == 224


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet81", "did you mean 'torchvision/resnet18'"),
        ("fasterrcnn_resnet50_fpn", "does not classify images"),
        ("quantized_resnet18", "does not classify images"),
        ("r3d_18", "does not classify images"),
        ("", "is not in torchvision"),
    ],
)
def test_other_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(UnknownModelError, match=message):
        fs.load_model(f"torchvision/{name}")


def test_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionRefusedError("Connection refused")

    monkeypatch.setattr("fluoroscope.models.hub.urlopen", refuse)
    with pytest.raises(HubUnreachableError, match=r"resnet18-\w+\.pth \(Connection refused\)"):
        fs.load_model("torchvision/resnet18")
    assert not list(tmp_path.rglob("*.pth"))


def test_its_names_are_read_off_its_files_without_importing_it() -> None:
    assert names.torchvision_names() == torchvision_names()
    for name in torchvision_names():
        names.check_model(f"torchvision/{name}")  # says nothing
