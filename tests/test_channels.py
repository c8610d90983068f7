"""Pictures of two, four and thirteen channels: attacked, corrupted, saved, drawn and reported."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import fluoroscope as fs
from fluoroscope.evaluation.corruptions.catalogue import FIFTEEN, corrupt
from tests.attacks.invertible_networks import invertible
from tests.cli.conftest import fluoroscope  # noqa: F401
from tests.test_leaves_no_trace import ATTACKS

pytestmark = pytest.mark.parametrize("channels", [2, 4, 13])


def images_of(channels: int) -> torch.Tensor:
    return torch.rand(12, channels, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def model(channels: int) -> fs.Classifier:
    torch.manual_seed(0)
    body = nn.Conv2d(channels, 4, 3, padding=1)
    module = nn.Sequential(body, nn.ReLU(), nn.Flatten(), nn.Linear(256, 3))
    return fs.Classifier(module, channels=channels, input_size=8)


@pytest.fixture
def images(channels: int) -> torch.Tensor:
    return images_of(channels)


def test_every_attack(model: fs.Classifier, images: torch.Tensor, channels: int) -> None:
    own = {"feature-adversary": {"layer": "0", "guides": images}, "admix": {"pool": images}}
    pair = images[:2]
    labels = fs.predict(model, pair).winners
    grid = 8 if channels == 4 else None
    for name, options in ATTACKS.items():
        method = fs.attack(name, **({"eps": 0.3} | options | own.get(name, {})))
        attacked, own_labels = model, labels
        if name == "latent":  # which needs an inverse
            attacked = invertible(channels, 8)
            own_labels = fs.predict(attacked, pair).winners
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fs.FluoroscopeWarning)
            found = method(attacked, pair, own_labels, keep="last", grid=grid)
        assert found.images.shape == pair.shape, name
        assert found.images.amin() >= 0, name
        assert found.images.amax() <= 1, name
        moved = method.threat.distance(found.images - found.originals)
        if method.threat.eps < 1 and not method.minimum_norm and not method.probes:
            assert moved.amax() <= method.threat.eps + 1e-6, name
        if grid:
            levels = found.images * 255
            assert torch.allclose(levels, levels.round(), atol=1e-4), name


def test_corruptions(model: fs.Classifier, images: torch.Tensor, channels: int) -> None:
    labels = fs.predict(model, images).winners
    table = fs.corruption_accuracy(model, images, labels)
    assert [row.corruption for row in table.rows] == [name for name in FIFTEEN if name != "jpeg"]
    assert table.record["notes"][:1] == [
        "jpeg was left out of the mean: it is for pictures of 1 or 3 channels, these have "
        f"{channels}"
    ]
    with pytest.raises(fs.FluoroscopeError, match=f"'jpeg'.*these have {channels}: expected"):
        fs.corruption_accuracy(model, images, labels, corruptions=["jpeg"])
    # What is done to colours together is done to any channel by itself.
    for name in ("gaussian-blur", "contrast", "pixelate"):
        whole = corrupt(images, name, 3)
        alone = torch.cat([corrupt(images[:, [c]], name, 3) for c in range(channels)], 1)
        assert torch.allclose(whole, alone, atol=1.01 / 255), name


def test_morph(model: fs.Classifier, images: torch.Tensor, channels: int, tmp_path: Path) -> None:
    fs.morph(model, images[0], to=1, steps=2).save(tmp_path)
    for name in ("original", "result", "difference"):
        assert Image.open(tmp_path / f"{name}.png").mode == "RGB"
    assert torch.equal(load_file(tmp_path / "morph.safetensors")["original"], images[0])
    shown = json.loads((tmp_path / "morph.json").read_text())["shown_channels"]
    assert shown == ([1, 2, 1] if channels == 2 else [1, 2, 3])
    assert torch.equal(fs.MorphResult.load(tmp_path).original, images[0])


def test_report(model: fs.Classifier, images: torch.Tensor, channels: int) -> None:
    labels = fs.predict(model, images).winners
    with fs.showing(2, 2, 1):
        report = fs.xray(
            model, images[:3], labels[:3], threat="linf:0.5", sections=["pictures", "gradients"]
        )
    assert not report.missing
    said = f"Pictures show channels 2, 2, 1 of {channels} as red, green and blue."
    assert report.html.count(said) == 2
    assert report.describe()["record"]["shown_channels"] == (2, 2, 1)


def test_commands(
    fluoroscope: Callable[..., Any],  # noqa: F811
    model: fs.Classifier,
    images: torch.Tensor,
    channels: int,
    tmp_path: Path,
) -> None:
    program = tmp_path / "network.pt2"
    torch.export.save(torch.export.export(model.module, (images[:1],)), program)
    place = ("-m", str(program), "-i", "noise", "--out", str(tmp_path / "out"), "--json", "-")
    said = fluoroscope("gradient", *place, "--display", "2,1,2")
    assert said.code == 0, said.err
    assert f"Pictures show channels 2, 1, 2 of {channels} as red" in said.err
    found = json.loads(said.out)
    assert found["shown_channels"] == [2, 1, 2]
    slopes = load_file(tmp_path / "out" / "gradient.safetensors")["gradients"]
    assert slopes.shape == (1, channels, 8, 8)
    said = fluoroscope("morph", *place, "--to", "1", "--steps", "2", "--gif")
    assert said.code == 0, said.err
    assert "--display chooses others" in said.err
    said = fluoroscope("gradient", *place, "--display", "14")
    assert said.code == 2
    assert f"are 14; the pictures have {channels}" in said.err
    said = fluoroscope("gradient", *place, "--display", "red")
    assert (said.code, "--display is 'red'" in said.err) == (2, True)
