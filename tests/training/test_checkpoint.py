"""Trainings that are broken off and go on."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError, ModelFormatError
from fluoroscope.training.losses.adversarial import PGDLoss
from fluoroscope.training.trainer import books
from fluoroscope.training.trainer.checkpoint import describe
from fluoroscope.training.trainer.fitting import fit, fit_stream
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import FitStep

IMAGES = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 2
LOSS = PGDLoss(threat=fs.Linf(0.1), steps=2)


def noisy(images: Tensor, labels: Tensor) -> Tensor:
    return (images + 0.1 * torch.randn_like(images)).clamp(0, 1)


# Three steps an epoch; with everything that draws.
SETTINGS: dict[str, Any] = {
    "recipe": Recipe(epochs=3, batch_size=16, weight_decay=0.01, augment=noisy),
    "seed": 7,
    "loss": LOSS,
}


def network(classes: int = 2) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5),
            nn.Linear(16, classes),
        )  # fmt: skip


def steps_until(number: int, path: Path, module: nn.Module | None = None) -> list[FitStep]:
    """Break a training off after so many steps, as a kill would: nothing is tidied up."""
    seen = []
    for step in fit_stream(module or network(), IMAGES, LABELS, checkpoint=path, **SETTINGS):
        seen.append(step)
        if step.number == number:
            break
    return seen


def same_state(first: nn.Module, second: nn.Module) -> bool:
    theirs = second.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 8, 9])
def test_goes_on_to_the_same_weights(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, expected = network(), []
    for step in fit_stream(whole, IMAGES, LABELS, **SETTINGS):
        expected.append((step.number, step.epoch, step.loss, step.accuracy, step.learning_rate))
    monkeypatch.setattr(books, "CHECKPOINT_EVERY", 0.0)
    path = tmp_path / "training.safetensors"
    steps_until(stop, path)
    torch.rand(3)
    module = network()
    with torch.no_grad():
        module[0].weight.zero_()  # type: ignore[operator, union-attr]
    steps = list(fit_stream(module, IMAGES, LABELS, checkpoint=path, **SETTINGS))
    seen = [(s.number, s.epoch, s.loss, s.accuracy, s.learning_rate) for s in steps]
    assert seen == expected[stop - 1 :]
    assert same_state(module, whole)
    assert [path.name for path in tmp_path.iterdir()] == ["training.safetensors"]


def test_is_written_after_each_epoch_and_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "training.safetensors"
    steps_until(2, path)
    assert not path.exists()
    steps_until(3, path)
    assert path.exists()
    assert steps_until(5, path)[0].number == 3
    assert steps_until(5, path)[0].number == 3  # the minute is not over
    monkeypatch.setattr(books, "CHECKPOINT_EVERY", 0.0)
    steps_until(5, path)
    assert steps_until(5, path)[0].number == 5


def test_the_weights_change_only_once_the_training_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "training.safetensors"
    steps_until(3, path)
    module = network()
    stream = fit_stream(module, IMAGES, LABELS, checkpoint=path, **SETTINGS)
    assert same_state(module, network())
    next(stream)
    assert not same_state(module, network())


def test_a_finished_training_gives_its_last_step_again(tmp_path: Path) -> None:
    path = tmp_path / "training.safetensors"
    first, second = network(), network()
    last = fit(first, IMAGES, LABELS, checkpoint=path, **SETTINGS)
    assert fit(second, IMAGES, LABELS, checkpoint=path, **SETTINGS) == last
    assert same_state(first, second)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 8}, "seed was 7, now 8"),
        ({"recipe": Recipe(4, 16, weight_decay=0.01, augment=noisy)}, "epochs was 3, now 4"),
        ({"recipe": Recipe(3, 16, weight_decay=0.01)}, "augment was .*noisy, now None"),
        ({"loss": PGDLoss(threat=fs.Linf(0.2), steps=2)}, "loss was .*0.1.*, now .*0.2"),
        ({"images": IMAGES.flip(0)}, "pictures was 40"),
        ({"module": network(3)}, "parameters was"),
    ],
)
def test_another_training_is_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = tmp_path / "training.safetensors"
    steps_until(3, path)
    given = {"module": network(), "images": IMAGES, "labels": LABELS, **SETTINGS, **change}
    with pytest.raises(InvalidParameterError, match=says) as raised:
        fit_stream(checkpoint=path, **given)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("damage", ["cut", "text", "weights", "pickle"])
def test_what_is_no_checkpoint(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "training.safetensors"
    steps_until(3, path)
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:-100])
        case "text":
            path.write_text("nothing")
        case "weights":
            save_file({"weight": torch.zeros(3)}, path)
        case "pickle":
            torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(ModelFormatError, match="delete it to begin anew"):
        fit_stream(network(), IMAGES, LABELS, checkpoint=path, **SETTINGS)


def test_tied_weights(tmp_path: Path) -> None:
    def tied() -> nn.Sequential:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            net = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.Linear(16, 16))
        net[2].weight = net[1].weight
        return net

    path, whole = tmp_path / "training.safetensors", tied()
    fit(whole, IMAGES, LABELS, **SETTINGS)
    steps_until(3, path, tied())
    module = tied()
    fit(module, IMAGES, LABELS, checkpoint=path, **SETTINGS)
    assert same_state(module, whole)


def test_describe() -> None:
    assert describe(noisy).endswith("test_checkpoint.noisy")
    assert describe(LOSS) == {
        "kind": "PGDLoss", "threat": {"kind": "Linf", "eps": 0.1}, "ramp": 0.0, "steps": 2,
        "step_size": None,
    }  # fmt: skip
    assert describe(3) == 3


def test_a_checkpoint_of_before_is_told_of_where_there_is_one_alone(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    module.register_buffer("broken", torch.tensor(float("nan")))
    images, place = torch.zeros(4, 1, 2, 2), tmp_path / "at.safetensors"
    with pytest.raises(InvalidParameterError, match=r"broken is not finite .* learning rate$"):
        fit(module, images, torch.tensor([0, 1, 0, 1]), checkpoint=place)
    assert not place.exists()
