"""A second source: its share of each batch is exact, and nothing of the first is lost."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.training.beside.averaging import WeightAverage
from fluoroscope.training.beside.awp import AdversarialWeightPerturbation
from fluoroscope.training.losses.adversarial import PGDLoss
from fluoroscope.training.losses.mart import MARTLoss
from fluoroscope.training.trainer import books
from fluoroscope.training.trainer.fitting import cross_entropy, fit, fit_stream
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.second import SecondSource
from fluoroscope.training.trainer.step import FitStep, Moment

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(40, 1, 4, 4, generator=GENERATOR)
LABELS = torch.arange(40) % 2
MORE = torch.randint(256, (17, 1, 4, 4), generator=GENERATOR, dtype=torch.uint8)
THEIRS = torch.arange(17) % 2
RECIPE = Recipe(epochs=3, batch_size=16)


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5),
            nn.Linear(16, 2),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("share", "first", "batches"), [(0.5, 8, [8] * 5), (0.7, 5, [11] * 8), (0.25, 12, [4, 4, 4, 1])]
)
def test_every_batch_has_its_share_and_every_epoch_all_of_the_first(
    share: float, first: int, batches: list[int]
) -> None:
    moments: list[Moment] = []

    def watching(
        module: nn.Module, images: Tensor, labels: Tensor, moment: Moment
    ) -> tuple[Tensor, Tensor]:
        real = moment.indices < 40
        assert torch.equal(images[real], IMAGES[moment.indices[real]])
        assert torch.equal(labels[real], LABELS[moment.indices[real]])
        others = moment.indices[~real] - 40
        assert torch.equal(images[~real], MORE[others] / 255)
        assert torch.equal(labels[~real], THEIRS[others])
        moments.append(moment)
        return cross_entropy(module, images, labels)

    second = SecondSource(MORE, THEIRS.tolist(), share)
    steps = list(
        fit_stream(network(), IMAGES, LABELS, RECIPE, seed=6, loss=watching, second=second)
    )
    of_each = len(batches)
    assert len(steps) == 3 * of_each == second.first(RECIPE).steps(40)
    seen = [moment.indices[moment.indices < 40] for moment in moments]
    more = [moment.indices[moment.indices >= 40] - 40 for moment in moments]
    assert (
        [len(each) for each in more[:of_each]] == batches == [len(each) for each in more[-of_each:]]
    )
    assert {len(each) for each in seen} <= {first, 40 % first}
    for epoch in range(3):
        indices = torch.cat(seen[epoch * of_each : (epoch + 1) * of_each])
        assert torch.equal(indices.sort().values, torch.arange(40))
    # Each as often as any other.
    times = torch.cat(more).bincount(minlength=17)
    assert int(times.max() - times.min()) <= 1
    assert not torch.equal(torch.cat(more)[:17], torch.cat(more)[17:34])


def test_the_first_source_is_seen_in_the_order_that_it_has_without() -> None:
    def order(recipe: Recipe, second: SecondSource | None) -> Tensor:
        seen = []

        def watching(
            module: nn.Module, images: Tensor, labels: Tensor, moment: Moment
        ) -> tuple[Tensor, Tensor]:
            seen.append(moment.indices[moment.indices < 40])
            return cross_entropy(module, images, labels)

        fit(network(), IMAGES, LABELS, recipe, seed=2, loss=watching, second=second)
        return torch.cat(seen)

    second = SecondSource(MORE, THEIRS, 0.5)
    assert torch.equal(order(RECIPE, second), order(Recipe(3, 8), None))


ALL: dict[str, Any] = {
    "recipe": Recipe(epochs=3, batch_size=16, weight_decay=0.01),
    "seed": 7,
    "loss": MARTLoss(threat=fs.Linf(0.1), steps=2),
    "beside": [WeightAverage(0.9), AdversarialWeightPerturbation(0.02, warm_up=1)],
    "second": SecondSource(MORE, THEIRS, 0.25),
    "held_out": (IMAGES, LABELS),
}


def test_all_at_once_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(step: FitStep) -> tuple[Any, ...]:
        return step.number, step.loss, step.terms, step.accuracy, step.held_out

    whole = network()
    expected = [told(step) for step in fit_stream(whole, IMAGES, LABELS, **ALL)]
    monkeypatch.setattr(books, "CHECKPOINT_EVERY", 0.0)
    path = tmp_path / "training.safetensors"
    for stop in (3, 8, 11, 12):  # in the middle of each epoch; the last but one; the last
        for step in fit_stream(network(), IMAGES, LABELS, checkpoint=path, **ALL):
            if step.number == stop:
                break
        torch.rand(3)
    module = network()
    steps = fit_stream(module, IMAGES, LABELS, checkpoint=path, **ALL)
    assert [told(step) for step in steps] == expected[11:]
    for name, value in whole.state_dict().items():
        assert torch.equal(module.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"second": None}, "second was .*0.25.*, now None"),
        ({"second": SecondSource(MORE, THEIRS, 0.5)}, "second was .*, now .*0.5"),
        ({"second": SecondSource(MORE.flip(0), THEIRS, 0.25)}, "second was .*17"),
        ({"beside": [WeightAverage(0.8), ALL["beside"][1]]}, r"beside was .*0\.9.*, now .*0\.8"),
    ],
)
def test_another_training_is_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = tmp_path / "training.safetensors"
    fit(network(), IMAGES, LABELS, checkpoint=path, **ALL)
    with pytest.raises(InvalidParameterError, match=says):
        fit_stream(network(), IMAGES, LABELS, checkpoint=path, **{**ALL, **change})


def test_random_starts_of_both_sources_differ() -> None:
    same = IMAGES[:8]
    starts: list[Tensor] = []
    search = PGDLoss(threat=fs.Linf(0.1), steps=1, step_size=0.0)

    def watching(
        module: nn.Module, images: Tensor, labels: Tensor, moment: Moment
    ) -> tuple[Tensor, Tensor]:
        starts.append(search.moved(module, images, labels, moment) - images)
        return cross_entropy(module, images, labels)

    fit(
        network(), same, LABELS[:8], Recipe(1, 16), loss=watching,
        second=SecondSource(same, LABELS[:8], 0.5),
    )  # fmt: skip
    (found,) = starts
    assert len({tuple(start.flatten().tolist()) for start in found}) == 16


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, float("nan")])
def test_shares_out_of_range(share: float) -> None:
    with pytest.raises(InvalidParameterError, match=r"share is .*between 0 and 1"):
        SecondSource(MORE, THEIRS, share)


def test_sources_that_do_not_fit() -> None:
    def given(second: SecondSource) -> None:
        fit(network(), IMAGES, LABELS, RECIPE, second=second)

    with pytest.raises(InvalidParameterError, match=r"of a batch of 16 pictures that is none"):
        given(SecondSource(MORE, THEIRS, 0.01))
    with pytest.raises(InvalidParameterError, match=r"of a batch of 16 pictures that is 16"):
        given(SecondSource(MORE, THEIRS, 0.99))
    with pytest.raises(InvalidParameterError, match=r"of the second source, labels go from 0 to 5"):
        given(SecondSource(MORE, THEIRS * 5))
    flat = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with pytest.raises(InvalidImagesError, match=r"second source's images .* \(1, 2, 8"):
        fit(flat, IMAGES, LABELS, RECIPE, second=SecondSource(MORE.view(17, 1, 2, 8), THEIRS))
