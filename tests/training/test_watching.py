"""The watch: it warns of catastrophic overfitting while it happens, and of nothing else."""

import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.gradient.gradient_sign import PGD
from fluoroscope.errors import FluoroscopeWarning, InvalidParameterError
from fluoroscope.notices import collected
from fluoroscope.training.beside.averaging import WeightAverage
from fluoroscope.training.beside.watching import Watch, Watching
from fluoroscope.training.losses.adversarial import AdversarialLoss, FGSMLoss, PGDLoss
from fluoroscope.training.trainer import books
from fluoroscope.training.trainer.fitting import fit_stream
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import FitStep, Moment

BALL = fs.Linf(0.4)
# One large step from the picture itself, and that alone is learnt from.
PLANTED = FGSMLoss(threat=BALL, alpha=0.0)


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    (batch,) = (
        fs.load_images("digits", channels=1).take(900).batches(900, fit=fs.load_model("digits-cnn"))
    )
    assert batch.labels is not None
    return batch.images, batch.labels


def watched(
    loss: AdversarialLoss, digits: tuple[Tensor, Tensor], epochs: int = 1
) -> tuple[Watching, list[FitStep], list[str]]:
    """A network that resists is trained on, and watched; what was told, too."""
    module = deepcopy(fs.load_model("digits-robust").module).requires_grad_(True)
    images, labels = digits
    watch = Watch(images=images[:64], labels=labels[:64], threat=loss.threat, looks=8)
    watching = watch.begin(module, 10)
    recipe = Recipe(epochs=epochs, batch_size=32, learning_rate=5e-3)
    with collected() as told:
        steps = list(
            fit_stream(module, images[64:], labels[64:], recipe, loss=loss, beside=[watching])
        )
    return watching, steps, told


def test_a_planted_failure_is_told_while_it_happens(digits: tuple[Tensor, Tensor]) -> None:
    watching, steps, told = watched(PLANTED, digits)
    assert len(told) == 1  # once
    assert tuple(told) == watching.doubts
    at = int(told[0].split()[1].rstrip(":"))
    look = next(one for one in watching.found if one.number == at)
    best = max(one.surviving for one in watching.found if one.number < at)
    assert at < len(steps)
    assert look.training > 0.7  # what the training itself sees
    assert look.adversarial < best / 64 / 2
    for words in (f"{look.adversarial:.1%}"[:3], f"{best / 64:.1%}"[:3], "more steps", "ramp"):
        assert words in told[0]
    assert steps[at - 1].held_out_adversarial == look.adversarial
    assert [step.number for step in steps if step.held_out_adversarial is not None] == [
        one.number for one in watching.found
    ]
    assert len(watching.found) == 8


def test_several_steps_raise_no_alarm(digits: tuple[Tensor, Tensor]) -> None:
    watching, _, told = watched(PGDLoss(threat=BALL, steps=5), digits)
    assert told == []
    assert watching.doubts == ()


def test_what_it_finds_is_what_pgd_finds(digits: tuple[Tensor, Tensor]) -> None:
    model = fs.load_model("digits-robust")
    images, labels = digits[0][:40], digits[1][:40]
    near = fs.Linf(0.3)
    watch = Watch(images=(images * 255).round().byte(), labels=labels, threat=near, pictures=30)
    step = watch.begin(model.module, 10).look(model.module, step_of(3))
    rounded = (images[:30] * 255).round() / 255
    result = PGD(threat=near, steps=10)(model, rounded, labels[:30])
    assert step.held_out_adversarial == 1 - result.success.double().mean().item()
    assert 0 < step.held_out_adversarial < 1


def step_of(number: int, accuracy: float = 0.5, held_out: float | None = None) -> FitStep:
    return FitStep(number, 1, 1.0, accuracy, 0.01, 1.0, held_out)


LABELS = torch.arange(100) % 10


def alarms(surviving: list[int], training: list[float], ramp: float = 0.0) -> list[int]:
    """The looks at which it warns, of so many of 100 surviving at each and the training's own."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 10))
    total = len(surviving)
    watch = Watch(
        images=torch.zeros(100, 1, 4, 4), labels=LABELS, threat=BALL, ramp=ramp, looks=total
    )
    watching = watch.begin(module, 10)
    found = []
    for number, (many, right) in enumerate(zip(surviving, training, strict=True), 1):
        watching._attacked = lambda module, many=many: (99, many)  # type: ignore[method-assign, misc]
        watching.after(module, Moment(torch.arange(4), 1, number / total, 0))
        assert watching.due(step_of(number, right))
        with collected() as told:
            watching.look(module, step_of(number, right))
        found += [number] * len(told)
    return found


@pytest.mark.parametrize(
    ("name", "surviving", "training", "ramp", "expected"),
    [
        ("fell", [10, 30, 40, 2, 1, 0], [0.2, 0.4, 0.5, 0.8, 0.9, 0.9], 0.0, [4]),
        ("fell and came back", [30, 40, 5, 41, 3], [0.5, 0.5, 0.9, 0.6, 0.9], 0.0, [3]),
        ("never rose", [10, 0, 1, 0, 0, 0], [0.1, 0.3, 0.7, 0.8, 0.9, 0.9], 0.0, [3]),
        ("never rose, while eps grew", [0] * 6, [0.9] * 6, 1.0, [6]),
        ("early", [10, 10, 0, 0, 5, 30, 40], [0.1, 0.2, 0.4, 0.4, 0.3, 0.4, 0.5], 0.0, []),
        ("robust overfitting", [30, 50, 48, 44, 40, 38], [0.3, 0.5, 0.6, 0.8, 0.9, 0.95], 0.0, []),
        ("all fell apart", [30, 50, 5, 5, 5, 5], [0.4, 0.6, 0.12, 0.1, 0.1, 0.1], 0.0, []),
        ("by chance", [20, 24, 11, 25, 24, 20], [0.4, 0.4, 0.4, 0.4, 0.4, 0.4], 0.0, []),
        ("one class for all", [10, 10, 10, 0, 9, 10], [0.1, 0.1, 0.1, 0.4, 0.2, 0.2], 0.0, []),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_when_it_warns(
    name: str, surviving: list[int], training: list[float], ramp: float, expected: list[int]
) -> None:
    assert alarms(surviving, training, ramp) == expected


def test_it_looks_at_even_distances_and_after_every_epoch() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 10))
    watch = Watch(images=torch.zeros(100, 1, 4, 4), labels=LABELS, threat=BALL, looks=4)
    watching, at = watch.begin(module, 10), []
    for number in range(1, 91):
        watching.after(module, Moment(torch.arange(4), 1, number / 90, 0))
        if watching.due(step_of(number, held_out=0.5 if number % 30 == 0 else None)):
            at.append(number)
    assert at == [23, 30, 45, 60, 68, 90]


IMAGES = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
TWO = torch.arange(40) % 2


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5),
            nn.Linear(16, 2),
        )  # fmt: skip


def test_a_watch_changes_nothing_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(images=IMAGES, labels=TWO, threat=fs.Linf(0.1), looks=6)
    settings: dict[str, Any] = {
        "recipe": Recipe(epochs=3, batch_size=16),
        "loss": PGDLoss(threat=fs.Linf(0.1), steps=2),
        "held_out": (IMAGES, TWO),
    }
    average = WeightAverage(0.9)

    def run(module: nn.Module, beside: list[Any], stop: int = 99, **more: Any) -> list[FitStep]:
        seen = []
        for step in fit_stream(module, IMAGES, TWO, beside=beside, **settings, **more):
            seen.append(step)
            if step.number == stop:
                break
        return seen

    before = torch.get_rng_state()
    plain, seen = network(), network()
    unwatched = run(plain, [average])
    whole = watch.begin(seen, 2)
    expected = run(seen, [whole, average])
    assert torch.equal(torch.get_rng_state(), before)
    assert [step.loss for step in expected] == [step.loss for step in unwatched]
    assert all(torch.equal(seen.state_dict()[k], v) for k, v in plain.state_dict().items())
    # By the weights that the network is judged by, and so that it ends with.
    last = Watching(watch, IMAGES, TWO).look(seen, expected[-1])
    assert last.held_out_adversarial == expected[-1].held_out_adversarial

    monkeypatch.setattr(books, "CHECKPOINT_EVERY", 0.0)
    path = tmp_path / "training.safetensors"
    # Begun unwatched, gone on with a watch, and broken off again; and without once more.
    run(network(), [average], 2, checkpoint=path)
    run(network(), [average, watch], 5, checkpoint=path)
    module = network()
    again = watch.begin(module, 2)
    run(module, [again, average], checkpoint=path)
    assert again.found == [look for look in whole.found if look.number > 2]
    assert again.best.keys() == whole.best.keys()
    assert all(torch.equal(module.state_dict()[k], v) for k, v in plain.state_dict().items())
    run(network(), [average], checkpoint=path)


def test_it_is_told_as_a_warning(digits: tuple[Tensor, Tensor]) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 10))
    watching = Watch(images=torch.zeros(100, 1, 4, 4), labels=LABELS, threat=BALL).begin(module, 10)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number, many in enumerate((50, 0), 1):
            watching._attacked = lambda module, many=many: (99, many)  # type: ignore[method-assign, misc]
            watching.due(step_of(number))
            watching.look(module, step_of(number))
    assert [one.category for one in caught] == [FluoroscopeWarning]


@pytest.mark.parametrize(
    "options", [{"pictures": 0}, {"steps": 0}, {"looks": 0}, {"ramp": 1.5}, {"ramp": float("nan")}]
)
def test_settings_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match=rf"{next(iter(options))} is .*; expected"):
        Watch(images=IMAGES, labels=TWO, threat=BALL, **options)
