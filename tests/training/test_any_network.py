"""`TrainingRun` with networks and data that are not the built-in ones."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import (
    FluoroscopeError,
    InvalidImagesError,
    InvalidParameterError,
    ModelOutputError,
    UnknownLabelError,
)
from fluoroscope.training.job.augmentation import Moves, augmentation
from fluoroscope.training.job.network import file_name
from fluoroscope.training.job.run import TrainingRun, train

pytestmark = pytest.mark.usefixtures("without_curves")

CODE = """
import torch
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
                         nn.Flatten(), nn.Linear(16, 3))

def half(): return make().half()
def frozen(): return make().requires_grad_(False)
def script(): return torch.jit.script(make())

def partly():
    net = make()
    net[0].requires_grad_(False)
    return net

class Told(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = make()
    def forward(self, x): return {"logits": self.net(x)}

class Pair(Told):
    def forward(self, x): return self.net(x), x
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of a user's own in the current directory, its name."""
    name = f"nets_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(CODE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return f"python:{name}"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten coloured pictures of each of three things, without splits."""
    return of_colours(tmp_path_factory.mktemp("photos"), ["dog", "car", "bus"], 10)


def of_colours(
    root: Path, names: list[str], each: int, side: Callable[[int], int] = lambda _: 12
) -> Path:
    drawn = np.random.default_rng(0)
    for channel, name in enumerate(names):
        folder = root / name
        folder.mkdir(parents=True)
        for number in range(each):
            pixels = drawn.integers(0, 120, (side(number), 12, 3))
            pixels[..., channel] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return root


def test_a_network_of_ones_own_learns_and_is_loaded_again(
    nets: str, photos: Path, tmp_path: Path
) -> None:
    result = train(
        f"{nets}:make", photos, out=tmp_path / "out", epochs=15, batch_size=8, learning_rate=0.02,
        mean=(0.4,) * 3, std=(0.2,) * 3,
    )  # fmt: skip
    assert result.record["accuracy"]["test"] == 1
    assert result.classifier.labels == ("bus", "car", "dog")
    again = fs.load_model(
        f"{nets}:make", checkpoint=result.weights, mean=(0.4,) * 3, std=(0.2,) * 3
    )
    assert again.labels == ("bus", "car", "dog")  # which the file states
    images = torch.rand(2, 3, 12, 12)
    assert torch.equal(again(images), result.classifier(images))
    assert "0.weight" in load_file(result.weights)  # its own names
    command = result.record["command"]
    assert "--mean 0.4,0.4,0.4 --std 0.2,0.2,0.2 --epochs 15 --batch-size 8" in command


def test_the_seed_decides_the_first_weights(nets: str, photos: Path, tmp_path: Path) -> None:
    made: list[bytes] = []
    for place, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.rand(len(made) + 1)  # whatever else is drawn
        before = torch.get_rng_state()
        result = train(f"{nets}:make", photos, out=tmp_path / place, epochs=1, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        made.append(result.weights.read_bytes())
    assert made[0] == made[1] != made[2]


def test_a_share_of_every_class_is_kept_for_the_test(
    nets: str, photos: Path, tmp_path: Path
) -> None:
    first, second = (
        TrainingRun(f"{nets}:make", photos, out=tmp_path / str(seed), seed=seed) for seed in (0, 1)
    )
    assert first.data.test[1].tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(first.data.test[0], second.data.test[0])  # whatever the training's seed
    everything = torch.cat([first.data.train[0], first.data.test[0]]).flatten(1)
    assert len(everything.unique(dim=0)) == 30  # none twice, and none lost
    [note] = [note for note in first.notes if "no split for tests" in note]
    assert "6 pictures of 30" in note


def test_pictures_in_memory_and_a_module_that_is_trained_in_place(tmp_path: Path) -> None:
    images = torch.rand(40, 1, 8, 8)
    data = fs.load_images(images, labels=(images.mean((1, 2, 3)) > 0.5).long())
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    module[1].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    run = TrainingRun(fs.Classifier(module, input_size=8, channels=1), data, out=tmp_path, epochs=1)
    for _ in run:
        pass
    assert module.training
    assert [weight.requires_grad for weight in module.parameters()] == [False] + [True] * 5
    changed = [n for n, value in module.state_dict().items() if not torch.equal(value, before[n])]
    assert "1.weight" not in changed
    assert {"1.bias", "3.weight"} <= set(changed)
    assert (run.command, run.next_command, run.latent_command) == ("", "", "")


def test_what_a_function_freezes_stays_frozen(nets: str, photos: Path, tmp_path: Path) -> None:
    run = TrainingRun(f"{nets}:partly", photos, out=tmp_path, epochs=1)
    before = run.classifier.module[0].weight.clone()
    for _ in run:
        pass
    assert torch.equal(run.classifier.module[0].weight, before)


def test_from_scratch_a_network_has_the_classes_of_the_data(photos: Path, tmp_path: Path) -> None:
    run = TrainingRun(
        "torchvision/squeezenet1_1", photos, out=tmp_path, from_scratch=True, input_size=32
    )
    assert run.labels == ("bus", "car", "dog")
    assert run.classifier(torch.rand(1, 3, 32, 32)).shape == (1, 3)
    assert run.recipe.learning_rate == 1e-3
    assert "--from-scratch --input-size 32" in run.command
    assert run.next_command.startswith(
        "fluoroscope xray --model torchvision/squeezenet1_1 --checkpoint"
    )
    weights = tmp_path / "squeezenet1_1.safetensors"
    run._write(0.0)
    again = fs.load_model("torchvision/squeezenet1_1", checkpoint=weights, input_size=32)
    assert again.labels == ("bus", "car", "dog")


def test_from_weights_it_learns_at_a_tenth_of_the_rate(
    nets: str, photos: Path, tmp_path: Path
) -> None:
    first = train(f"{nets}:make", photos, out=tmp_path / "a", epochs=1)
    run = TrainingRun(f"{nets}:make", photos, out=tmp_path / "b", checkpoint=first.weights)
    assert run.recipe.learning_rate == pytest.approx(1e-4)
    assert torch.equal(run.classifier.module[0].weight, first.classifier.module[0].weight)


@pytest.mark.parametrize(
    ("function", "error", "says"),
    [
        ("half", InvalidParameterError, "computes in float16"),
        ("frozen", InvalidParameterError, "no weight of .* is trainable"),
        ("script", InvalidParameterError, "is TorchScript"),
        ("Pair", ModelOutputError, "returned a tuple"),
    ],
)
def test_networks_that_cannot_be_trained(
    nets: str, function: str, error: type[FluoroscopeError], says: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        TrainingRun(f"{nets}:{function}", photos, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_answers_with_the_logits_in_them_are_learnt(
    nets: str, photos: Path, tmp_path: Path
) -> None:
    result = train(f"{nets}:Told", photos, out=tmp_path, epochs=1)
    assert "net.0.weight" in load_file(result.weights)


def test_data_that_cannot_be_learnt(nets: str, tmp_path: Path) -> None:
    def refused(data: Any, error: type[FluoroscopeError], says: str, **more: Any) -> None:
        with pytest.raises(error, match=says):
            TrainingRun(f"{nets}:make", data, out=tmp_path / "out", **more)

    one = of_colours(tmp_path / "one", ["dog"], 3)
    refused(one, InvalidImagesError, "3 pictures of one class alone, 'dog'")
    five = of_colours(tmp_path / "five", ["a", "b", "c"], 2)
    (five / "d").mkdir()
    Image.new("RGB", (12, 12)).save(five / "d" / "0.png")
    refused(five, UnknownLabelError, "the data has 4 classes")
    (tmp_path / "flat").mkdir()
    Image.new("RGB", (12, 12)).save(tmp_path / "flat" / "0.png")
    refused(tmp_path / "flat", InvalidImagesError, "has no labels")
    sizes = of_colours(tmp_path / "sizes", ["bus", "car", "dog"], 2, lambda number: 12 + number)
    refused(sizes, InvalidImagesError, r"different sizes \(12×12 and 13×12\).* input_size=")
    refused(sizes, InvalidParameterError, "from_scratch=True was given", from_scratch=True)
    assert TrainingRun(f"{nets}:make", sizes, out=tmp_path / "sized", input_size=8)


def test_what_is_said_of_the_data(nets: str, photos: Path, tmp_path: Path) -> None:
    images = torch.rand(20, 3, 12, 12)
    data = fs.load_images(images, labels=[0, 1] * 10)
    with pytest.warns(fs.FluoroscopeWarning, match="between the 256 levels of 8 bits"):
        run = TrainingRun(f"{nets}:make", data, out=tmp_path / "out")
    assert any("2 of 3 classes; none of '2'" in note for note in run.notes)
    with warnings.catch_warnings():
        warnings.simplefilter("error", fs.FluoroscopeWarning)
        run = TrainingRun(f"{nets}:make", photos, out=tmp_path / "photos", input_size=9)
    assert not any("classes; none of" in note for note in run.notes)
    with pytest.raises(InvalidImagesError, match="1 picture of one class alone"):
        TrainingRun(f"{nets}:make", photos, out=tmp_path / "out", limit=1)


def test_a_killed_training_of_ones_own_network_goes_on(
    nets: str, photos: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"epochs": 3, "augment": "flip,shift", "mean": (0.4,) * 3}
    whole = train(f"{nets}:make", photos, out=tmp_path / "whole", **settings)
    for step in TrainingRun(f"{nets}:make", photos, out=tmp_path / "broken", **settings):
        if step.number == 2:
            break
    again = TrainingRun(f"{nets}:make", photos, out=tmp_path / "broken", **settings)
    assert again.behind == 2
    for _ in again:
        pass
    assert again.result.weights.read_bytes() == whole.weights.read_bytes()
    assert again.result.record["accuracy"] == whole.record["accuracy"]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("digits-cnn", "digits-cnn"),
        ("torchvision/resnet18", "resnet18"),
        ("timm/resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("python:pkg.nets:make", "nets-make"),
        ("python:dir/nets.py:make", "nets-make"),
        ("/a/b/my net/", "my-net"),
        ("../..", "network"),
    ],
)
def test_files_are_called_by_the_end_of_the_name(name: str, file: str) -> None:
    assert file_name(name) == file


def test_moves_keep_values_and_repeat_borders() -> None:
    images = torch.rand(64, 3, 16, 9)

    def shifted(image: Tensor, down: int, right: int) -> Tensor:
        rows = (torch.arange(16) + down).clamp(0, 15)
        columns = (torch.arange(9) + right).clamp(0, 8)
        return image[:, rows][:, :, columns]

    moved, labels = Moves(flip=True, shift=True)(images, torch.zeros(64)), set()
    for one, found in zip(images, moved, strict=True):
        fits = {
            (turn, down, right)
            for turn in (False, True)
            for down in range(-2, 3)
            for right in range(-1, 2)
            if torch.equal(shifted(one.flip(2) if turn else one, down, right), found)
        }
        assert len(fits) == 1
        labels |= fits
    assert {turn for turn, _, _ in labels} == {False, True}
    assert {down for _, down, _ in labels} == set(range(-2, 3))
    assert {right for _, _, right in labels} == {-1, 0, 1}


def test_augmentations_by_name() -> None:
    assert augmentation("none") is None
    assert augmentation("shift, flip") == Moves(flip=True, shift=True)
    with pytest.raises(InvalidParameterError, match="augment is 'rotate'; expected none, flip"):
        augmentation("rotate")


def test_the_latent_is_among_what_to_look_at(photos: Path, tmp_path: Path) -> None:
    run = TrainingRun("invertible", photos, out=tmp_path / "out", input_size=8)
    kept = tmp_path / "out/invertible.test.parquet"
    assert run.latent_command == (
        f"fluoroscope latent --model invertible --checkpoint {kept.parent}/invertible.safetensors "
        f"--input-size 8 --image {kept}:0"
    )
