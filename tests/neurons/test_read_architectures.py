"""Reading layers of networks that people use, against trusted peers and plain hooks."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms.functional import to_pil_image

import fluoroscope as fs

PICTURES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def model_of(module: nn.Module) -> fs.Classifier:
    return fs.Classifier(module, input_size=32, mean=[0.5] * 3, std=[0.25] * 3)


def given(model: fs.Classifier) -> Tensor:
    return model.preprocessing.normalize(PICTURES)


def hooked(model: fs.Classifier, name: str) -> Tensor:
    kept: list[Tensor] = []
    layer = model.module.get_submodule(name)
    hook = layer.register_forward_hook(lambda *given: kept.append(given[2].clone()))
    try:
        with torch.no_grad():
            model(PICTURES.to(model.dtype))
    finally:
        hook.remove()
    return kept[-1]


@pytest.fixture(autouse=True)
def quiet() -> None:
    warnings.simplefilter("ignore", fs.FluoroscopeWarning)


@pytest.fixture(scope="module")
def resnet() -> fs.Classifier:
    torch.manual_seed(0)
    return model_of(torchvision.models.resnet18(num_classes=7).eval())


@pytest.mark.parametrize(
    ("layer", "call", "node"),
    [
        ("bn1", None, "bn1"),
        ("layer1.0.bn1", None, "layer1.0.bn1"),
        ("layer1.0.relu", 0, "layer1.0.relu"),
        ("layer1.0.relu", 1, "layer1.0.relu_1"),
        ("layer2", None, "layer2.1.relu_1"),
        ("avgpool", None, "avgpool"),
    ],
)
def test_a_resnet_gives_what_torchvision_extracts(
    resnet: fs.Classifier, layer: str, call: int | None, node: str
) -> None:
    # One node at a time: with a later one among them it gives what a ReLU in place left of bn1.
    extractor = create_feature_extractor(resnet.module, [node]).eval()
    with torch.no_grad():
        wanted = extractor(given(resnet))[node]
    found = fs.neurons.read(resnet, PICTURES, layer, call=call)
    np.testing.assert_allclose(found.values, wanted.mean((2, 3)), atol=1e-5)
    if layer == "bn1":
        lowest = fs.neurons.read(resnet, PICTURES, layer, reduction="0,0").values.min()
        assert lowest == pytest.approx(float(wanted[:, :, 0, 0].min()), abs=1e-5)
        assert lowest < 0


@pytest.fixture(scope="module")
def vit() -> fs.Classifier:
    torch.manual_seed(0)
    return model_of(
        timm.create_model(
            "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=5
        ).eval()
    )


@pytest.mark.parametrize(
    ("layer", "reduction", "reduce"),
    [
        ("blocks.0", "0", lambda each: each[:, 0]),  # the class token
        ("blocks.0", "mean", lambda each: each[:, 1:].mean(1)),
        ("blocks.0", "1,2", lambda each: each[:, 1 + 4 + 2]),
        ("blocks.1.mlp.fc1", "max", lambda each: each[:, 1:].amax(1)),
        ("blocks.1.mlp.act", "0", lambda each: each[:, 0]),
        ("fc_norm", "mean", lambda each: each),
        ("patch_embed", "3,3", lambda each: each[:, 15]),
    ],
)
def test_tokens_of_a_vision_transformer(
    vit: fs.Classifier, layer: str, reduction: str, reduce: Callable[[Tensor], Tensor]
) -> None:
    found = fs.neurons.read(vit, PICTURES, layer, reduction=reduction)
    np.testing.assert_allclose(found.values, reduce(hooked(vit, layer)), atol=1e-5)
    # That the class token is not in it is said where it is not.
    said = any("the first token of no place" in note for note in found.record["notes"])
    assert said == (layer.startswith("blocks") and reduction in ("mean", "max"))


def test_what_has_its_channels_last() -> None:
    torch.manual_seed(0)
    swin = timm.models.swin_transformer.SwinTransformer(
        img_size=32, patch_size=2, window_size=4, embed_dim=12, depths=(1, 1), num_heads=(1, 2),
        num_classes=5,
    )  # fmt: skip
    model = model_of(swin.eval())
    wanted = hooked(model, "layers.0")
    assert wanted.shape == (3, 16, 16, 12)
    found = fs.neurons.read(model, PICTURES, "layers.0")
    assert found.units.count == 12
    np.testing.assert_allclose(found.values, wanted.mean((1, 2)), atol=1e-5)
    at = fs.neurons.read(model, PICTURES, "layers.0", reduction="3,9")
    np.testing.assert_allclose(at.values, wanted[:, 3, 9], atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_means_are_taken_in_single_precision_at_least(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(3600, 3))
    model = model_of(layers.to(dtype).eval())
    wanted = hooked(model, "0").double().mean((2, 3))
    found = fs.neurons.read(model, PICTURES, "0")
    assert found.values.dtype == np.float32
    np.testing.assert_allclose(found.values, wanted, atol=1e-6)  # bfloat16 would be 1e-3 off


def test_pictures_of_several_sizes() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    model = fs.Classifier(module.eval(), channels=3)
    pair = [PICTURES[0], PICTURES[1][:, :20, :28]]
    data = fs.load_images([to_pil_image(each) for each in pair])
    found = fs.neurons.read(model, data, "0", batch_size=1)
    with torch.no_grad():
        for row, sample in zip(found.values, data, strict=True):
            wanted = module[0](sample.image[None]).mean((2, 3))[0]
            np.testing.assert_allclose(row, wanted, atol=1e-6)
    with pytest.raises(fs.FluoroscopeError, match="expected one size in a batch"):
        fs.neurons.read(model, data, "0", batch_size=2)


def test_numbers_that_are_not_finite_are_told_of() -> None:
    class Divides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.log = nn.Identity()
            self.head = nn.Linear(1, 2)

        def forward(self, images: Tensor) -> Tensor:
            self.log(images.mean((2, 3)).log())
            head: Tensor = self.head(images.mean((1, 2, 3))[:, None])
            return head

    dark = torch.cat([PICTURES[:1] * 0, PICTURES])
    model = fs.Classifier(Divides().eval(), input_size=32, channels=3)
    found = fs.neurons.read(model, dark, "log")
    assert np.isneginf(found.values[0]).all()
    assert "3 of 12 numbers are NaN or infinite, and are kept as they are" in found.notes
    assert found._repr_html_()


def test_the_usual_layer(resnet: fs.Classifier, vit: fs.Classifier) -> None:
    assert fs.neurons.usual_layer(resnet) == "layer3"  # layer4 has one place alone
    assert fs.neurons.usual_layer(vit) == "blocks.1.norm1"
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3072, 9), nn.ReLU(), nn.Linear(9, 4))
    assert fs.neurons.usual_layer(model_of(flat)) == "2"
    with pytest.raises(fs.FluoroscopeError, match="no layer of Linear"):
        fs.neurons.usual_layer(
            fs.Classifier(nn.Sequential(nn.Flatten()), input_size=2, name="Linear")
        )
