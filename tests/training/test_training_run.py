"""The job behind ``fluoroscope train``, on a tiny data set."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from fluoroscope.errors import InvalidParameterError, UnknownDataError, UnknownModelError
from fluoroscope.models.builtin import BUILTIN, build_architecture, builtin_record
from fluoroscope.training import run as run_module
from fluoroscope.training.run import TrainingRun, train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders in the splits train and test; a digit is a bright row."""
    root = tmp_path_factory.mktemp("data")
    for split, copies in (("train", 4), ("test", 1)):
        for digit in range(10):
            folder = root / split / str(digit)
            folder.mkdir(parents=True)
            for copy in range(copies):
                image = Image.new("L", (28, 28))
                image.paste(200 + copy, (4, 2 * digit + 3, 24, 2 * digit + 6))
                image.save(folder / f"{copy}.png")
    return root


@pytest.mark.parametrize("name", ["digits-linear", "digits-cnn"])
def test_writes_weights_and_record(name: str, data: Path, tmp_path: Path) -> None:
    run = TrainingRun(name, data, out=tmp_path / "new", epochs=1, seed=3)
    steps = list(run)
    assert len(steps) == len(run)
    assert steps[-1].held_out is not None

    result = run.result
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        f"{name}.json",
        f"{name}.safetensors",
    ]
    record = json.loads((tmp_path / "new" / f"{name}.json").read_text(encoding="utf-8"))
    assert record == result.record
    assert record["sha256"] == hashlib.sha256(result.weights.read_bytes()).hexdigest()
    assert record["command"] == (
        f"fluoroscope train {name} --data {data} --epochs 1 --seed 3 --out {tmp_path / 'new'}"
    )
    assert record["recipe"]["epochs"] == 1
    assert record["recipe"]["augment"].startswith("fluoroscope.training.augmentation.rewrite")
    assert (record["data"]["train"], record["data"]["held_out"], record["data"]["test"]) == (
        40,
        4,
        10,
    )
    assert 0 <= record["accuracy"]["built_in_pictures"] <= 1

    again = build_architecture(name)
    again.load_state_dict(load_file(result.weights))
    images = torch.rand(2, 1, 28, 28)
    assert torch.equal(again(images), result.classifier(images))
    assert not any(weight.requires_grad for weight in result.classifier.module.parameters())


def test_learns(data: Path, tmp_path: Path) -> None:
    result = train("digits-linear", data, out=tmp_path, epochs=200)
    assert result.record["accuracy"]["test"] >= 0.9


def test_same_seed_same_bytes(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train("digits-linear", data, out=tmp_path / "a", epochs=1, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = train("digits-linear", data, out=tmp_path / "b", epochs=1, seed=4)
    other = train("digits-linear", data, out=tmp_path / "c", epochs=1, seed=5)
    assert first.weights.read_bytes() == second.weights.read_bytes()
    assert first.record["sha256"] != other.record["sha256"]


def test_a_run_broken_off_writes_nothing(data: Path, tmp_path: Path) -> None:
    run = TrainingRun("digits-linear", data, out=tmp_path, epochs=3)
    for step in run:
        if step.number == 2:
            break
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidParameterError, match="not trained yet"):
        _ = run.result


def test_a_failing_disk_leaves_the_earlier_files(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("digits-linear", data, out=tmp_path, epochs=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_text = Path.write_text

    def full(path: Path, text: str, encoding: str) -> int:
        write_text(path, text[:10], encoding=encoding)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        train("digits-linear", data, out=tmp_path, epochs=1, seed=9)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_cannot_be_trained(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownModelError, match="digits-linear or digits-cnn"):
        TrainingRun("digits-resnet", data, out=tmp_path)
    with pytest.raises(InvalidParameterError, match="epochs is 0"):
        TrainingRun("digits-linear", data, out=tmp_path, epochs=0)
    with pytest.raises(UnknownDataError):
        TrainingRun("digits-linear", tmp_path / "nowhere", out=tmp_path)
    with pytest.raises(UnknownDataError, match="train"):
        TrainingRun("digits-linear", "digits", out=tmp_path)
    monkeypatch.setattr(run_module, "MEMORY", 1000)
    with pytest.raises(InvalidParameterError, match="40 pictures"):
        TrainingRun("digits-linear", data, out=tmp_path)


@pytest.mark.parametrize("name", BUILTIN)
def test_the_packages_weights_are_of_todays_recipe(name: str) -> None:
    recipe = run_module.RECIPES[name]
    recorded = builtin_record(name)["recipe"]
    assert recorded == asdict(recipe) | {"augment": run_module._describe(recipe.augment)}
