"""Networks in the Hugging Face format: real ones beside the checkout, and small ones made here."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

import fluoroscope as fs
from fluoroscope.errors import HubUnreachableError, ModelFormatError
from fluoroscope.models import huggingface

transformers = pytest.importorskip("transformers")
REAL = (
    "mobilenet_v1_0.25_128",
    "mobilenet_v1_0.50_160",
    "mobilenet_v1_0.75_224",
    "mobilenet_v2_1.0_224",
)


@pytest.fixture(scope="module")
def pictures(shared: Path) -> list[Image.Image]:
    """The first hundred pictures of the sample; the label of each is its position."""
    parquet = pytest.importorskip("pyarrow.parquet")
    (file,) = (shared / "data/imagenet_sample").glob("*.parquet")
    column = parquet.read_table(file, columns=["image"]).slice(0, 100).column("image")
    return [Image.open(io.BytesIO(row["bytes"])).convert("RGB") for row in column.to_pylist()]


def tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).unsqueeze(0) / 255


def processed(processor: Any, picture: Image.Image) -> Tensor:
    values: Tensor = processor(picture, return_tensors="pt")["pixel_values"]
    return values


@pytest.mark.parametrize("name", REAL)
def test_preprocessing_is_that_of_transformers(
    shared: Path, pictures: list[Image.Image], name: str
) -> None:
    folder = shared / "models" / name
    model = fs.load_model(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    assert len({picture.size for picture in pictures[:20]}) > 3
    for picture in pictures[:20]:
        ours = model.preprocessing.normalize(model.fit(tensor(picture)))
        expected = processed(processor, picture)
        # transformers rounds to 8 bits after each direction of the resize: up to one level in all,
        # over a std of 0.5. A crop one pixel off differs by tens of levels.
        assert (ours - expected).abs().max() < 1.1 / 255 / 0.5
        assert (ours - expected).abs().mean() < 0.4 / 255 / 0.5


def test_a_real_network(shared: Path, pictures: list[Image.Image]) -> None:
    folder = shared / "models/mobilenet_v1_0.25_128"
    model = fs.load_model(str(folder))
    assert (model.input_size, model.channels, model.num_classes) == ((128, 128), 3, 1000)
    assert model.labels[23] == "vulture"
    batch = torch.cat([model.fit(tensor(picture)) for picture in pictures])
    winners = fs.predict(model, batch).winners
    right = int((winners == torch.arange(100)).sum())
    assert 45 <= right <= 53  # 49 of these; of all thousand 45.8 %, as by transformers alone
    original = transformers.AutoModelForImageClassification.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    inputs = torch.cat([processed(processor, picture) for picture in pictures[:30]])
    with torch.no_grad():
        expected = original(inputs).logits.argmax(1)
    assert int((winners[:30] == expected).sum()) >= 29  # rounding to 8 bits may tip a close one
    assert not any(weight.requires_grad for weight in model.module.parameters())


def test_what_a_real_network_says_of_itself(shared: Path) -> None:
    folder = shared / "models/mobilenet_v1_0.25_128"
    described = fs.describe_model(folder)
    assert json.loads(json.dumps(described)) == described
    assert described["source"] == "directory"
    assert described["architecture"] == "MobileNetV1ForImageClassification"
    assert described["labels"][:2] == ["tench", "goldfish"]
    assert (described["mean"], described["std"]) == ([0.5] * 3, [0.5] * 3)
    assert (described["resize"], described["interpolation"]) == (146, "bilinear")
    assert "MobileNetV1ImageProcessor" in described["stated_by"]
    assert described["classes"] == 1000
    assert described["parameters"] == 470_072


def vit(channels: int = 3, **options: Any) -> Any:
    config = transformers.ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        patch_size=16,
        num_channels=channels,
        id2label={0: "cat", 1: "dog", 2: "vole"},
        **{"image_size": 64, **options},
    )
    torch.manual_seed(0)
    return transformers.ViTForImageClassification(config)


def saved(folder: Path, processor: Any, network: Any = None) -> Path:
    (network or vit()).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "stretched": ("ViTImageProcessor", {"size": {"height": 64, "width": 96}, "resample": 3}),
    "not normalised": ("ViTImageProcessor", {"do_normalize": False}),
    "not rescaled": ("ViTImageProcessor", {"do_rescale": False, "do_normalize": False}),
    "nearest": ("ViTImageProcessor", {"resample": 0}),
    "lanczos": ("ViTImageProcessor", {"resample": 1}),
    "blue first": (
        "MobileViTImageProcessor",
        {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}},
    ),
    "crop fraction": ("ConvNextImageProcessor", {"size": {"shortest_edge": 64}, "crop_pct": 0.9}),
    "another crop fraction": ("PoolFormerImageProcessor", {"size": {"shortest_edge": 224}}),
    "no crop when large": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    "256 for 224": ("LevitImageProcessor", {}),
    "stretched, then cropped": ("DeiTImageProcessor", {}),
    "tall crop": (
        "BitImageProcessor",
        {"size": {"shortest_edge": 100}, "crop_size": {"height": 90, "width": 60}},
    ),
    "divided twice": ("EfficientNetImageProcessor", {}),
    "offset": ("EfficientNetImageProcessor", {"rescale_factor": 1 / 127.5, "rescale_offset": True}),
    "own mean and std": (
        "ViTImageProcessor",
        {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.3, 0.25, 0.2]},
    ),
}


@pytest.mark.parametrize("kind", PROCESSORS)
def test_kinds_of_processors(kind: str) -> None:
    name, options = PROCESSORS[kind]
    processor = getattr(transformers, name)(**options)
    stated = huggingface._preprocessing(processor, vit().config, Path("folder"))
    down, across = np.mgrid[0:203, 0:287] / 40
    waves = [np.sin(k * down + across / k) for k in (1.0, 1.5, 2.0)]
    picture = Image.fromarray(np.uint8(127.5 + 127.5 * np.stack(waves, -1)))
    ours = stated.normalize(stated.fit(tensor(picture)))
    expected = processed(processor, picture)
    assert ours.shape == expected.shape
    std = torch.tensor(stated.std or (1.0,) * 3).view(3, 1, 1)
    assert ((ours - expected) * std).abs().max() < 2 / 255


def test_readings_keep_the_decimals_of_the_file() -> None:
    name, options = PROCESSORS["own mean and std"]
    processor = getattr(transformers, name)(**options)
    stated = huggingface._preprocessing(processor, vit().config, Path("folder"))
    assert stated.mean == tuple(options["image_mean"])
    assert stated.std == tuple(options["image_std"])
    blue = getattr(transformers, PROCESSORS["blue first"][0])(**PROCESSORS["blue first"][1])
    stated = huggingface._preprocessing(blue, vit().config, Path("folder"))
    assert (stated.channel_order, stated.mean, stated.std) == ("bgr", None, None)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("PerceiverImageProcessor", {}),  # crops a part, then resizes it
        ("ImageGPTImageProcessor", {"clusters": np.zeros((4, 3))}),  # gives colours' numbers
        ("BitImageProcessor", {"size": {"shortest_edge": 64}, "do_center_crop": False}),
        ("ViTImageProcessor", {"image_mean": [0.5], "image_std": [0.5, 0.5]}),
    ],
)
def test_processors_that_are_something_else_are_refused(name: str, options: dict[str, Any]) -> None:
    processor = getattr(transformers, name)(**options)
    with pytest.raises(ModelFormatError, match="is not a resize, a centre crop") as raised:
        huggingface._preprocessing(processor, vit().config, Path("folder"))
    assert "\n" not in str(raised.value)


def test_a_small_directory_from_end_to_end(tmp_path: Path) -> None:
    network = vit(image_size=(32, 48)).eval()
    size = {"height": 32, "width": 48}
    processor = transformers.ViTImageProcessor(size=size, resample=3, do_normalize=False)
    model = fs.load_model(saved(tmp_path / "net", processor, network))
    assert model.labels == ("cat", "dog", "vole")
    assert (model.input_size, model.preprocessing.interpolation) == ((32, 48), "bicubic")
    images = torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        assert torch.allclose(model(images), network(images).logits, atol=1e-6)
    assert fs.load_model(tmp_path / "net", mean=[0.5] * 3).preprocessing.mean == (0.5,) * 3


def test_grey_pictures(tmp_path: Path) -> None:
    processor = transformers.ViTImageProcessor(
        image_mean=[0.1307], image_std=[0.3081], size={"height": 64, "width": 64}
    )
    model = fs.load_model(saved(tmp_path, processor, vit(channels=1)))
    assert (model.channels, model.preprocessing.mean) == (1, (0.1307,))
    assert model(torch.rand(1, 1, 28, 28)).shape == (1, 3)


def test_a_processor_that_leaves_the_size_alone_leaves_it_to_the_network(tmp_path: Path) -> None:
    model = fs.load_model(saved(tmp_path, transformers.ViTImageProcessor(do_resize=False)))
    assert model.input_size == (64, 64)
    assert "image_size in config.json" in model.preprocessing.stated_by
    assert model(torch.rand(1, 3, 100, 80)).shape == (1, 3)


def test_half_precision_files_are_computed_in_single_precision(tmp_path: Path) -> None:
    model = fs.load_model(saved(tmp_path, transformers.ViTImageProcessor(), vit().half()))
    assert model.dtype == torch.float32


def test_a_checkpoint_takes_the_place_of_the_weights(tmp_path: Path) -> None:
    folder = saved(tmp_path / "net", transformers.ViTImageProcessor())
    weights = {name: value + 1 for name, value in vit().state_dict().items()}
    save_file(weights, tmp_path / "own.safetensors")
    model = fs.load_model(folder, checkpoint=tmp_path / "own.safetensors")
    assert torch.equal(model.module.state_dict()["classifier.weight"], weights["classifier.weight"])


def test_nothing_is_printed_and_settings_are_given_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = saved(tmp_path, transformers.ViTImageProcessor())
    logging = transformers.utils.logging
    logging.set_verbosity_info()
    capfd.readouterr()
    try:
        fs.load_model(folder)
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity_warning()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_missing_files_are_named(tmp_path: Path, name: str) -> None:
    saved(tmp_path, transformers.ViTImageProcessor())
    (tmp_path / name).unlink()
    with pytest.raises(ModelFormatError, match=f"lacks {name}; expected a directory"):
        fs.load_model(tmp_path)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    saved(tmp_path, transformers.ViTImageProcessor())
    (tmp_path / "model.safetensors").unlink()
    torch.save(vit().state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelFormatError, match=r"such as pytorch_model\.bin are not read"):
        fs.load_model(tmp_path)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    """transformers fills them with random numbers and only warns."""
    saved(tmp_path, transformers.ViTImageProcessor())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelFormatError, match=r"lacks 1 weight .* classifier\.weight"):
        fs.load_model(tmp_path)


def test_files_that_do_not_fit_or_cannot_be_read(tmp_path: Path) -> None:
    saved(tmp_path, transformers.ViTImageProcessor())
    good = {path: path.read_bytes() for path in tmp_path.iterdir()}
    config, processor = tmp_path / "config.json", tmp_path / "preprocessor_config.json"
    spoilers = {
        "other shapes": lambda: edit(config, intermediate_size=16),
        "other classes": lambda: edit(config, id2label={"0": "a"}, label2id={"a": 0}),
        "unknown architecture": lambda: edit(config, model_type="of_mine"),
        "no classifier": lambda: edit(config, model_type="bert"),
        "broken JSON": lambda: config.write_text("{"),
        "a list": lambda: config.write_text("[]"),
        "broken processor": lambda: processor.write_text("{"),
        "unknown processor": lambda: processor.write_text('{"image_processor_type": "Mine"}'),
        "broken weights": lambda: (tmp_path / "model.safetensors").write_bytes(b"nothing"),
    }
    for what, spoil in spoilers.items():
        spoil()
        with pytest.raises(ModelFormatError) as raised:
            fs.load_model(tmp_path)
        assert "\n" not in str(raised.value), what
        for path, content in good.items():
            path.write_bytes(content)
    fs.load_model(tmp_path)


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_code_in_the_directory_is_not_run(tmp_path: Path, file: str) -> None:
    saved(tmp_path, transformers.ViTImageProcessor())
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    if file == "config.json":
        auto = {"AutoConfig": "own.Own", "AutoModelForImageClassification": "own.Own"}
        edit(tmp_path / file, auto_map=auto, model_type="own")
    else:
        edit(
            tmp_path / file, auto_map={"AutoImageProcessor": "own.Own"}, image_processor_type="Own"
        )
    with pytest.raises(ModelFormatError, match="cannot be"):
        fs.load_model(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("nest", [False, True])
def test_kernels_from_elsewhere_are_not_fetched(tmp_path: Path, nest: bool) -> None:
    saved(tmp_path, transformers.ViTImageProcessor())
    wish = {"_attn_implementation": "somebody/kernel"}
    edit(tmp_path / "config.json", **({"vision_config": wish} if nest else wish))
    with pytest.raises(ModelFormatError, match="asks for the kernel 'somebody/kernel'"):
        fs.load_model(tmp_path)


def test_a_hub_name_is_a_directory_once_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, transformers.ViTImageProcessor())
    monkeypatch.setattr(huggingface, "fetch_repository", lambda name: tmp_path)
    model = fs.load_model("hf/owner/name")
    assert model.name == "hf/owner/name"
    assert fs.describe_model(model)["source"] == "hf"


def test_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(HubUnreachableError, match="hub for owner/name") as raised:
        fs.load_model("hf/owner/name")
    assert "\n" not in str(raised.value)
