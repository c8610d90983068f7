"""The job behind ``fluoroscope train``, on a tiny data set."""

import hashlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from fluoroscope.errors import (
    InvalidParameterError,
    StorageError,
    UnknownDataError,
    UnknownModelError,
)
from fluoroscope.inversion.exclusion.run import ExclusionRun
from fluoroscope.models.builtin import build_architecture
from fluoroscope.models.names import BUILTIN, builtin_record
from fluoroscope.training.job import defaults, pictures
from fluoroscope.training.job.run import TrainingRun, train
from fluoroscope.training.trainer.checkpoint import describe

pytestmark = pytest.mark.usefixtures("without_curves")


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
    assert record["recipe"]["augment"].startswith("fluoroscope.training.job.augmentation.rewrite")
    assert (record["data"]["train"], record["data"]["held_out"], record["data"]["test"]) == (
        40,
        4,
        10,
    )
    assert record["data"]["learnt_from"] == 36
    assert "36 pictures of" in result._repr_html_()
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


def test_a_run_broken_off_leaves_its_checkpoint_alone(data: Path, tmp_path: Path) -> None:
    run = TrainingRun("digits-linear", data, out=tmp_path, epochs=3)
    for step in run:
        if step.number == 2:
            break
    assert [path.name for path in tmp_path.iterdir()] == ["digits-linear.checkpoint.safetensors"]
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
    with pytest.raises(StorageError, match="the disk is full"):
        train("digits-linear", data, out=tmp_path, epochs=1, seed=9)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.pop("digits-linear.checkpoint.safetensors")  # nothing learnt is lost
    assert after == before


def test_hardening_is_in_the_record_and_the_steps(data: Path, tmp_path: Path) -> None:
    run = TrainingRun(
        "digits-linear", data, out=tmp_path, epochs=2, adversarial="trades", eps="1/10",
        adversarial_steps=2, ramp=0.5,
    )  # fmt: skip
    for step in run:
        assert step.held_out is not None
        assert step.held_out_adversarial is not None
        assert step.held_out_adversarial <= step.held_out
    record = run.result.record
    assert record["command"] == (
        f"fluoroscope train digits-linear --data {data} --epochs 2 --seed 0 --adversarial trades "
        f"--eps 1/10 --adversarial-steps 2 --ramp 0.5 --out {tmp_path}"
    )
    hardened = record["adversarial"]
    assert hardened.pop("test")[1].keys() == {
        "attack", "steps", "restarts", "pictures", "right", "accuracy",
    }  # fmt: skip
    assert hardened == {
        "method": "trades", "norm": "linf", "eps": 0.1, "ramp": 0.5, "steps": 2, "step_size": None,
        "beta": 6.0,
    }  # fmt: skip


def test_the_recipe_of_the_robust_network_is_adversarial(data: Path, tmp_path: Path) -> None:
    run = TrainingRun("digits-robust", data, out=tmp_path, epochs=1)
    assert [step.held_out_adversarial is None for step in run] == [False]
    assert run.result.record["adversarial"]["eps"] == 0.3


def kill_at_step(number: int, arguments: list[str]) -> None:
    """Train in a process of its own that dies like one whose machine lost power."""
    code = (
        "import os, sys\n"
        "from fluoroscope.training.job import run\n"
        "from fluoroscope.training.trainer import books\n"
        "books.CHECKPOINT_EVERY = 0.0\n"
        "made = run.TrainingRun('digits-linear', sys.argv[1], out=sys.argv[2], epochs=4,\n"
        "    adversarial='pgd', eps=0.1, adversarial_steps=2)\n"
        "for step in made:\n"
        f"    if step.number == {number}: os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], timeout=200, check=False)
    assert done.returncode == 9


def test_a_killed_run_goes_on_to_the_same_bytes(data: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "epochs": 4,
        "adversarial": "pgd",
        "eps": 0.1,
        "adversarial_steps": 2,
    }
    whole = TrainingRun("digits-linear", data, out=tmp_path / "whole", **settings)
    expected = {step.number: step.loss for step in whole}
    kill_at_step(2, [str(data), str(tmp_path / "killed")])
    run = TrainingRun("digits-linear", data, out=tmp_path / "killed", **settings)
    assert run.behind == 2
    torch.rand(5)  # whatever else is drawn
    steps = list(run)
    assert len(steps) == len(run)
    assert [step.number for step in steps] == [2, 3, 4]
    assert all(step.loss == expected[step.number] for step in steps)
    assert run.result.weights.read_bytes() == whole.result.weights.read_bytes()
    assert steps[1].seconds > steps[0].seconds > 0
    assert not list((tmp_path / "killed").glob("*checkpoint*"))


def test_a_checkpoint_of_another_run_is_refused(data: Path, tmp_path: Path) -> None:
    for _ in TrainingRun("digits-linear", data, out=tmp_path, epochs=3):
        break
    for other, says in (
        ({"epochs": 4}, "epochs was 3, now 4"),
        ({"epochs": 3, "seed": 1}, "seed was 0, now 1"),
        ({"epochs": 3, "adversarial": "pgd", "eps": 0.1}, "loss was"),
    ):
        with pytest.raises(InvalidParameterError, match=rf"another training \({says}"):
            TrainingRun("digits-linear", data, out=tmp_path, **other)
    assert TrainingRun("digits-linear", data, out=tmp_path, epochs=3).behind == 1


def test_a_finished_training_whose_judging_was_killed(data: Path, tmp_path: Path) -> None:
    run = TrainingRun("digits-linear", data, out=tmp_path, epochs=2)
    for step in run:
        if step.number == 2:
            break
    again = TrainingRun("digits-linear", data, out=tmp_path, epochs=2)
    assert [step.number for step in again] == [2]
    whole = train("digits-linear", data, out=tmp_path / "whole", epochs=2)
    assert again.result.weights.read_bytes() == whole.weights.read_bytes()


def test_what_cannot_be_trained(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"did you mean .* expected a built-in"):
        TrainingRun("digits-resnet", data, out=tmp_path)
    with pytest.raises(InvalidParameterError, match="epochs is 0"):
        TrainingRun("digits-linear", data, out=tmp_path, epochs=0)
    with pytest.raises(InvalidParameterError, match="eps is missing"):
        TrainingRun("digits-linear", data, out=tmp_path, adversarial="pgd")
    with pytest.raises(InvalidParameterError, match=r"eps is 0.3, but no .* --adversarial pgd"):
        TrainingRun("digits-linear", data, out=tmp_path, eps=0.3)
    with pytest.raises(UnknownDataError):
        TrainingRun("digits-linear", tmp_path / "nowhere", out=tmp_path)


def test_more_than_memory_should_hold_lies_in_a_file(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = train("digits-linear", data, out=tmp_path / "held", epochs=1)
    monkeypatch.setattr(pictures, "MEMORY", 1000)
    run = TrainingRun("digits-linear", data, out=tmp_path / "mapped", epochs=1)
    assert run.data.train[0].is_contiguous()
    for _ in run:
        pass
    assert run.result.weights.read_bytes() == held.weights.read_bytes()
    assert run.result.record["data"] == held.record["data"]
    assert len(list((tmp_path / "mapped").iterdir())) == 2


@pytest.mark.parametrize("name", BUILTIN)
def test_the_packages_weights_are_of_todays_recipe(name: str) -> None:
    recipe = defaults.RECIPES[name]
    recorded = builtin_record(name)["recipe"]
    assert recorded == asdict(recipe) | {"augment": describe(recipe.augment)}
    lowered = defaults.LOSSES.get(name)
    adversarial = builtin_record(name).get("adversarial")
    if lowered is None:
        assert adversarial is None
    else:
        assert {key: adversarial[key] for key in lowered.describe()} == lowered.describe()


@pytest.fixture
def by_class(tmp_path: Path) -> Path:
    """Class folders, so sorted by class: 20 of each digit, and 21 of the last."""
    for split, copies in (("train", 20), ("test", 1)):
        for digit in range(10):
            folder = tmp_path / "sorted" / split / str(digit)
            folder.mkdir(parents=True)
            for copy in range(copies + (digit == 9)):
                image = Image.new("L", (28, 28))
                image.paste(200 + copy, (4, 2 * digit + 3, 24, 2 * digit + 6))
                image.save(folder / f"{copy:02}.png")
    return tmp_path / "sorted"


@pytest.mark.parametrize("recipe", [TrainingRun, ExclusionRun])
def test_of_pictures_sorted_by_class_a_share_of_every_class_is_held_out(
    recipe: type[TrainingRun], by_class: Path, tmp_path: Path
) -> None:
    run = recipe("digits-linear", by_class, out=tmp_path / "out", epochs=1)
    assert run.held_out_of_each == dict.fromkeys(map(str, range(10)), 2)
    other = recipe("digits-linear", by_class, out=tmp_path / "other", epochs=1, seed=1)
    assert run.data.held_out is not None
    assert other.data.held_out is not None
    held_out, learnt = run.data.held_out[0].flatten(1), run.data.kept[0].flatten(1)
    assert len(torch.cat([held_out, learnt]).unique(dim=0)) == 201  # none twice, and none lost
    assert not torch.equal(held_out, other.data.held_out[0].flatten(1))
