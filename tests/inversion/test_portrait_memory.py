"""Portraits where memory is short: views seen part by part, batches halved; what must not be torn
apart is refused, and a search that was put down goes on to the same numbers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.bookmark import Bookmark
from fluoroscope.engine.inside import Place
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits.distributions import Normal, Uniform
from fluoroscope.inversion.portraits.objectives.classes import class_goal
from fluoroscope.inversion.portraits.objectives.goal import Goal
from fluoroscope.inversion.portraits.optimisers import (
    Adam,
    L2Ascent,
    Levelled,
    Momentum,
    NAdam,
    Optimiser,
)
from fluoroscope.inversion.portraits.portrait import NothingFinishedError
from fluoroscope.inversion.portraits.priors.prior import ImagePrior, LayerPrior
from fluoroscope.inversion.portraits.recipe import Recipe, Weighted
from fluoroscope.inversion.portraits.schedules import Cosine, Stairs
from fluoroscope.inversion.portraits.transformations import Transformations

QUIET = LayerPrior(
    "quiet",
    Goal("quiet", lambda v: v.seen.outputs[Place("0")].square().flatten(1).mean(1), (Place("0"),)),
)
DARK = ImagePrior("dark", lambda pictures: pictures.square().sum((1, 2, 3)))
RECIPE = Recipe(
    transformations=Transformations(
        copies=3, rotate=Uniform(-20, 20), noise=(Normal(0, 0.02),), flip=0.5
    ),
    priors=(Weighted(QUIET, 0.3), Weighted(DARK, 0.2)),
    steps=4,
)


class Small(nn.Sequential):
    """Remembers the batches it was shown, and has memory for so many pictures."""

    def __init__(self, fits: int = 1000) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 5))
        self.fits, self.sizes = fits, list[int]()

    def forward(self, pictures: Tensor) -> Tensor:
        self.sizes.append(len(pictures))
        if len(pictures) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        found = super().forward(pictures)
        assert isinstance(found, Tensor)
        return found


def _portraits(module: Small, recipe: Recipe = RECIPE, **options):
    model = fs.Classifier(
        module.double(), channels=3, input_size=8, labels=list("abcde"), mean=[0.5] * 3, std=[1] * 3
    )
    return fs.portrait(model, [0, 1, 2, 3, 4], method=recipe, frames=2, **options)


def _same(found, expected) -> None:
    for name in ("images", "curve", "weights", "stations", "reached", "frames", "transparency"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), msg=name)


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_portraits_do_not_depend_on_the_batch_and_never_show_more_than_it(batch_size: int) -> None:
    module = Small()
    found, expected = _portraits(module, batch_size=batch_size), _portraits(Small())
    _same(found, expected)
    assert max(module.sizes[:-1]) <= max(batch_size, 2)  # the first look at a network shows two
    assert found.backwards.tolist() == expected.backwards.tolist() == [3 * (4 + 2)] * 5
    assert found.forwards.tolist() == expected.forwards.tolist() == [3 * (4 + 2) + 4] * 5


@pytest.mark.parametrize("fits", [14, 5, 2])
def test_when_memory_runs_out_batches_are_halved_and_no_portrait_changes(fits: int) -> None:
    with pytest.warns(fs.FluoroscopeWarning, match="memory ran out with 15 images"):
        found = _portraits(Small(fits), batch_size=15)
    _same(found, _portraits(Small()))


def test_what_compares_portraits_or_all_views_is_not_torn_apart() -> None:
    apart = Goal("diversity", lambda v: v.seen.logits.std(0).mean().expand(len(v.whose)),
                 together=True)  # fmt: skip
    together = replace(RECIPE, goal=class_goal() + 0.1 * apart, priors=())
    _portraits(Small(), together)
    seen_at_once = Small()
    _portraits(seen_at_once, together, batch_size=5)  # all portraits, a view of each
    assert max(seen_at_once.sizes) == 5
    with pytest.raises(InvalidParameterError, match=r"diversity\) compares portraits with each"):
        _portraits(Small(), together, batch_size=4)
    with pytest.raises(InvalidParameterError, match="there is room for 2 of 5 at once"):
        _portraits(Small(fits=4), together, batch_size=15)
    whole = replace(
        RECIPE, priors=(), goal=Goal("all", lambda v: v.seen.logits[:, 0] * v.copies, whole=True)
    )
    _portraits(Small(), whole)
    with pytest.raises(InvalidParameterError, match=r"all needs all 3 views .* room for 2"):
        _portraits(Small(), whole, batch_size=2)


@pytest.mark.parametrize(
    ("batch_size", "stop", "optimiser"),
    [
        (4, 11, Adam()),
        (4, 33, Adam(betas=(0.5, 0.9), schedule=Cosine(warm_up=2))),
        (7, 14, Adam()),
        (7, 14, NAdam(0.1)),
        (7, 14, Momentum(momentum=0.9, schedule=Stairs(2))),
        (4, 33, L2Ascent(eps=5.0, learning_rate=2.0)),
        (4, 33, Levelled()),
    ],
)
def test_a_search_that_was_put_down_goes_on_to_the_same_numbers(
    batch_size: int,
    stop: int,
    optimiser: Optimiser,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = replace(RECIPE, optimiser=optimiser)
    monkeypatch.setattr("fluoroscope.engine.bookmark.EVERY", 0.0)
    monkeypatch.setattr("fluoroscope.engine.bookmark.SHARE", 1e9)
    expected = _portraits(Small(), recipe, batch_size=batch_size)
    steps = 0

    def cancelled() -> bool:
        nonlocal steps
        steps += 1
        return steps == stop

    path = tmp_path / "put-down"
    try:
        found = _portraits(
            Small(), recipe, batch_size=batch_size, bookmark=Bookmark(path, {}), cancelled=cancelled
        )
        assert len(found.images) < 5
    except NothingFinishedError:  # none was finished
        assert stop == 11
    assert path.exists()
    found = _portraits(Small(), recipe, batch_size=batch_size, bookmark=Bookmark(path, {}))
    assert found.forwards.tolist() == expected.forwards.tolist()
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.stations, expected.stations)
    assert torch.equal(found.curve, expected.curve)
