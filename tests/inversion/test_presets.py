"""Every preset on a toy network, papers' numbers, and what is refused in a sentence."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion import names
from fluoroscope.inversion.portraits.distributions import Fade, Normal, Uniform
from fluoroscope.inversion.portraits.optimisers import Adam, L2Ascent, Momentum, NAdam
from fluoroscope.inversion.portraits.parameterisations.direct_ascent import DirectAscent
from fluoroscope.inversion.portraits.presets import (
    OFFERED,
    Material,
    as_recipe,
    finished,
)
from fluoroscope.inversion.portraits.recipe import Recipe
from fluoroscope.inversion.portraits.schedules import Cosine, Stairs
from tests.inversion.portrait_toys import normed

REAL = (torch.rand(9, 3, 8, 8, dtype=torch.float64), torch.arange(9) % 3)


def _given(name: str) -> dict[str, object]:
    """What a preset needs beside the network."""
    given: dict[str, object] = {"real": REAL} if OFFERED[name].takes_real else {}
    if name == "accentuation":
        given["start"] = torch.rand(3, 8, 8, dtype=torch.float64)
    return given


@pytest.mark.parametrize("name", OFFERED)
def test_every_preset_draws_and_says_what_it_was_given(name: str) -> None:
    found = fs.portrait(normed(), [0, 2], method=name, steps=3, **_given(name))  # type: ignore[arg-type]
    assert found.images.shape[:2] == (2, 3)
    assert 0 <= float(found.images.min()) < float(found.images.max()) <= 1
    assert found.record["needs_data"] == (names.PRESETS[name].needs != names.NOTHING)


def _for(name: str, side: int, channels: int = 3) -> Recipe:
    """A preset as it is for a network of true batch norm that takes pictures of this side."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.ReLU())
    module.train()
    module(torch.rand(8, channels, 12, 12))
    model = fs.Classifier(module.eval(), channels=channels, input_size=side)
    material = Material(model, (side, side), torch.tensor([0]))
    return finished(name, as_recipe(name), material, {})


def test_papers_numbers() -> None:
    maco = _for("maco", 224)
    assert (maco.steps, maco.optimiser, maco.transformations.copies) == (256, NAdam(1.0), 32)
    assert round(224 * maco.canvas) == 512
    crop = maco.transformations.crop
    assert crop is not None
    assert crop.side == Normal(Fade(0.5, 0.05), 0.05, 0.05, 1.0)
    assert _for("maco-gated", 224).transformations == maco.transformations
    das = _for("das", 224)
    assert (das.steps, das.optimiser) == (100, Momentum(0.005))
    assert das.parameterisation == DirectAscent(every=4)
    assert (round(224 * das.canvas), das.transformations.copies) == (336, 16)
    robust = as_recipe("robust")
    assert (robust.steps, robust.optimiser) == (60, L2Ascent(1.0, eps=40.0))
    assert robust.goal.name == "log-probability"
    vit = as_recipe("vit")
    assert (vit.steps, vit.transformations.copies) == (400, 8)
    assert vit.optimiser == Adam(0.1, Cosine(), betas=(0.5, 0.99))
    mahendran = as_recipe("mahendran")
    assert (mahendran.steps, mahendran.optimiser.schedule) == (200, Stairs(40, 0.1))


def test_deepinversion_has_the_papers_numbers_for_the_size() -> None:
    for side, rate, weight, rough, reach in (
        (224, 0.2, 0.01, 1e-4, 30 / 224),
        (32, 0.1, 10.0, 1e-3, 2 / 32),
    ):
        recipe = _for("deepinversion", side)
        # The paper's inputs are divided by their deviation.
        assert recipe.optimiser == Adam(0.225 * rate, Cosine(100), betas=(0.5, 0.9))
        assert [each.weight for each in recipe.priors] == [weight, pytest.approx(rough / 0.225)]
        assert not any(each.ratio for each in recipe.priors)
        assert recipe.transformations.jitter == (Uniform(-reach, reach),)
        assert recipe.transformations.flip == 0.5
    assert _for("deepinversion", 32, channels=1).transformations.flip == 0  # letters have a side
    short = finished(
        "deepinversion", as_recipe("deepinversion", steps=40), _material(), {"steps": 40}
    )
    assert short.optimiser.schedule == Cosine(2)


def test_of_small_pictures_maco_sees_the_most() -> None:
    crop = _for("maco", 28).transformations.crop
    assert crop is not None
    assert crop.side == Normal(Fade(1.0, 0.75), 0.05, 0.5, 1.0)
    assert _for("maco", 28).canvas == 1


def _material(real: tuple[Tensor, Tensor] | None = None, classes: int = 2) -> Material:
    return Material(normed(), (8, 8), torch.arange(classes), real=real)


def test_what_is_asked_for_stays() -> None:
    options = {"priors": (), "optimiser": Adam(0.5)}
    recipe = finished("deepinversion", as_recipe("deepinversion"), _material(), options)
    assert (recipe.priors, recipe.optimiser) == ((), Adam(0.5))


def _neutral() -> fs.Classifier:
    model = normed()
    for part in model.module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
    return model


@pytest.mark.parametrize(
    ("method", "given", "words"),
    [
        ("vital", {}, "vital compares .* none are given; expected real="),
        ("vital", {"real": (REAL[0][:2], REAL[1][:2])}, "holds no picture of class 2"),
        ("vital", {"real": REAL[0]}, "real is a Tensor; expected a pair"),
        ("vital", {"real": (REAL[0], REAL[1][:3])}, "real holds 9 pictures"),
        ("deepinversion-data", {}, "a prior= that measured layers too"),
        ("deepinversion", {"model": _neutral()}, "neutral .* as method='deepinversion-data' and"),
        ("accentuation", {}, "expected start="),
        ("fourier", {"real": REAL}, "fourier looks at none; expected method='deepinversion-data'"),
        (Recipe(), {"real": REAL}, "a Recipe has priors of its own"),
        ("macco", {}, "method is 'macco'"),
    ],
)
def test_what_is_missing_or_too_much_is_told(
    method: str | Recipe, given: dict[str, object], words: str
) -> None:
    given = {"model": normed()} | given
    model = given.pop("model")
    with pytest.raises(fs.FluoroscopeError, match=words):
        fs.portrait(model, [0, 2], method=method, steps=1, **given)  # type: ignore[arg-type]


def test_a_fitted_prior_serves_in_place_of_pictures_and_knows_its_network() -> None:
    model = normed()
    prior = fs.inversion.fit_prior(REAL[0].float(), model, layers="stages")
    found = fs.portrait(model, 1, method="deepinversion-data", prior=prior, steps=2)
    assert found.record["needs_data"] is True
    with pytest.raises(InvalidParameterError, match=r"knows layers of .* and the network is"):
        fs.portrait(normed(seed=1), 1, method="deepinversion-data", prior=prior, steps=2)
    # On its canvas, larger than the network's pictures, it serves as well; at another size not.
    assert fs.portrait(model, 1, method=replace(Recipe(), canvas=2.0), prior=prior, steps=1)
    with pytest.raises(InvalidParameterError, match="fitted to pictures of 8×8"):
        fs.portrait(model, 1, method="pixels", size=16, prior=prior, steps=1)


def test_the_class_leads_vital_by_its_own_pictures_alone() -> None:
    model = normed()
    dark, light = torch.rand(6, 3, 8, 8).mul(0.2).double(), torch.rand(6, 3, 8, 8).add(4).div(5)
    images = torch.cat([dark, light.double()])
    labels = torch.tensor([0] * 6 + [1] * 6)

    def made(classes: list[int], steps: int) -> Tensor:
        return fs.portrait(
            model, classes, method="vital", real=(images, labels), steps=steps,
            numbers=torch.tensor(classes),
        ).images  # fmt: skip

    first, second = made([0, 1], 60).mean((1, 2, 3)).tolist()
    assert second - first > 0.2
    torch.testing.assert_close(made([1], 4)[0], made([0, 1], 4)[1])


def test_when_to_take_a_preset_is_said_in_the_docs_as_in_the_list() -> None:
    text = (Path(__file__).parents[2] / "docs" / "inversion.md").read_text("utf-8")
    for name, about in names.PRESETS.items():
        assert f"| `{name}` | {about.when} |\n" in text
