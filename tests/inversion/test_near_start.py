"""Feature accentuation: each view beside the same view of the start, against the paper's loop by
hand; alone as in a batch, short of memory, and after it was put down."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine import randomness
from fluoroscope.engine.bookmark import Bookmark
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits.distributions import Normal, Uniform
from fluoroscope.inversion.portraits.optimisers import Adam
from fluoroscope.inversion.portraits.priors.near_start import near_start
from fluoroscope.inversion.portraits.recipe import Recipe, Weighted
from fluoroscope.inversion.portraits.transformations import Crop, Transformations

STEPS, COPIES = 4, 2
RECIPE = Recipe(
    transformations=Transformations(
        copies=COPIES, crop=Crop(Uniform(0.4, 0.99)), noise=(Normal(0, 0.02),)
    ),
    priors=(Weighted(near_start("2"), 0.7),),
    optimiser=Adam(0.02),
    steps=STEPS,
    warm_up=0,
)


class Small(nn.Sequential):
    """Has memory for so many pictures."""

    def __init__(self, fits: int = 1000) -> None:
        torch.manual_seed(0)
        super().__init__(
            nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.Softplus(), nn.Flatten(),
            nn.Linear(64, 5),
        )  # fmt: skip
        self.fits = fits

    def forward(self, pictures: Tensor) -> Tensor:
        if len(pictures) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        found = super().forward(pictures)
        assert isinstance(found, Tensor)
        return found


def _model(fits: int = 1000) -> fs.Classifier:
    return fs.Classifier(
        Small(fits).double(), channels=3, input_size=8, labels=list("abcde"),
        mean=[0.5] * 3, std=[1] * 3,
    )  # fmt: skip


def _start(count: int = 3) -> Tensor:
    torch.manual_seed(1)
    return 0.2 + 0.6 * torch.rand(count, 3, 8, 8, dtype=torch.float64)


def _portraits(model: fs.Classifier, recipe: Recipe = RECIPE, **options: object) -> fs.Portraits:
    options = {"start": _start(), **options}
    return fs.portrait(model, [0, 1, 4], method=recipe, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("ratio", [True, False])
def test_the_loop_of_the_paper_by_hand(ratio: bool) -> None:
    model = _model()
    recipe = replace(RECIPE, priors=(Weighted(near_start("2"), 0.7, ratio),))
    found = _portraits(model, recipe)
    layers = list(model.module.children())
    first, then = nn.Sequential(*layers[:3]), nn.Sequential(*layers[3:])
    key = randomness.keys(0, torch.arange(3))
    for number, wanted in enumerate([0, 1, 4]):
        seed = _start()[number : number + 1]
        leaf = seed.clone().requires_grad_()
        optimiser = torch.optim.Adam([leaf], lr=0.02)
        weight = 0.0 if ratio else 0.7

        def loss(step: int, leaf: Tensor = leaf, seed: Tensor = seed, wanted: int = wanted,
                 number: int = number) -> tuple[Tensor, Tensor]:  # fmt: skip
            views = [
                RECIPE.transformations.views(
                    each, key[number : number + 1], torch.tensor([step]),
                    torch.tensor([step / (STEPS - 1)]), (8, 8),
                ) for each in (leaf.clamp(0, 1), seed)
            ]  # fmt: skip
            mine, its = (first(view - 0.5) for view in views)
            goal = then(mine)[:, wanted].mean()
            return goal, (mine - its.detach()).flatten(1).norm(dim=1).mean()

        for step in range(STEPS):
            goal, away = loss(step)
            if ratio and step == 1:  # once there is a distance
                pulls = [
                    torch.autograd.grad(each, leaf, retain_graph=True)[0].abs().sum()
                    for each in (goal, away)
                ]
                weight = float(0.7 * pulls[0] / pulls[1])
            optimiser.zero_grad()
            (weight * away - goal if step else -goal).backward()
            optimiser.step()
        torch.testing.assert_close(found.images[number], leaf.detach()[0].clamp(0, 1))
        assert float(found.weights[number, 0]) == pytest.approx(weight)
    looks = found.curve[:, :, 2]  # the distance of the picture itself, which begins at none
    assert bool((looks[:, 0] == 0).all())
    assert bool((looks[:, 1:] > 0).all())


def test_a_portrait_stays_nearer_the_more_it_is_held() -> None:
    model = _model()

    def away(weight: float) -> float:
        found = _portraits(
            model, replace(RECIPE, steps=20, priors=(Weighted(near_start("2"), weight),))
        )
        return float(found.curve[:, -1, 2].sum())

    assert away(5.0) < 0.8 * away(0.01)


def test_alone_in_a_batch_and_short_of_memory_are_the_same() -> None:
    expected = _portraits(_model())
    alone = fs.portrait(
        _model(), [1], method=RECIPE, start=_start()[1:2], numbers=torch.tensor([1])
    )
    torch.testing.assert_close(alone.images[0], expected.images[1])
    for batch_size in (2, 3, 9):
        found = _portraits(_model(), batch_size=batch_size)
        torch.testing.assert_close(found.images, expected.images)
        torch.testing.assert_close(found.curve, expected.curve)
    for fits in (5, 2):
        with pytest.warns(fs.FluoroscopeWarning, match="memory ran out with 6 images"):
            found = _portraits(_model(fits), batch_size=12)
        torch.testing.assert_close(found.images, expected.images)
    looks = found.curve.shape[1]
    # A pass to weigh each of two terms, and a view costs the picture's beside its own.
    assert found.forwards.tolist() == [2 * (COPIES * (STEPS + 2) + looks)] * 3
    assert found.backwards.tolist() == [COPIES * (STEPS + 2)] * 3
    with pytest.raises(torch.OutOfMemoryError), pytest.warns(fs.FluoroscopeWarning):
        _portraits(_model(1), batch_size=12)


@pytest.mark.parametrize("stop", [3, 8])
def test_put_down_it_goes_on_to_the_same_bytes(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluoroscope.engine.bookmark.EVERY", 0.0)
    monkeypatch.setattr("fluoroscope.engine.bookmark.SHARE", 1e9)
    expected = _portraits(_model(), batch_size=5)
    left = iter(range(stop - 1))
    path = tmp_path / "put-down"
    with pytest.raises(fs.FluoroscopeError, match="stopped before a portrait was finished"):
        _portraits(
            _model(), batch_size=5, bookmark=Bookmark(path, {}),
            cancelled=lambda: next(left, None) is None,
        )  # fmt: skip
    found = _portraits(_model(), batch_size=5, bookmark=Bookmark(path, {}))
    for name in ("images", "curve", "weights", "stations", "forwards", "backwards"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def test_without_a_start_or_room_it_is_refused() -> None:
    with pytest.raises(InvalidParameterError, match="start was not given, and the prior 'near the"):
        _portraits(_model(), start=None)
    with pytest.raises(InvalidParameterError, match="batch_size is 1, and each view is shown"):
        _portraits(_model(), batch_size=1)
