"""Portraits on the one loop: a step by hand, priors weighed by ratio, alone as in a batch."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.inside import Place
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits.known_transformations import maco
from fluoroscope.inversion.portraits.objectives.goal import Goal
from fluoroscope.inversion.portraits.presets import PRESETS
from fluoroscope.inversion.portraits.priors.prior import ImagePrior, LayerPrior
from fluoroscope.inversion.portraits.recipe import Recipe, Weighted


def _variation(pictures: Tensor) -> Tensor:
    return pictures.diff(dim=-1).abs().sum((1, 2, 3))


CONV = Place("0")
SMOOTH = ImagePrior("variation", _variation)
QUIET = LayerPrior(
    "quiet", Goal("quiet", lambda v: v.seen.outputs[CONV].square().flatten(1).mean(1), (CONV,))
)


def _model() -> fs.Classifier:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 5))
    return fs.Classifier(module.double(), channels=3, input_size=8)


def test_a_portrait_excites_its_class_and_one_against_calms_it() -> None:
    found = fs.portrait(
        fs.load_model("digits-cnn"), [3, 8], method="pixels", steps=12, against=True
    )
    assert found.towards.tolist() == [1, 1, -1, -1]
    assert (found.probabilities[:2] > 0.99).all()
    assert (found.probabilities[2:] < 1e-6).all()
    assert (found.reached[:2] >= 0).all()
    assert found.forwards.tolist() == [12] * 4  # its one view is the portrait as it is
    assert found.backwards.tolist() == [12] * 4


def test_priors_pull_as_strongly_as_their_ratio_says() -> None:
    model = _model()
    start = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    priors = (Weighted(QUIET, 0.5), Weighted(SMOOTH, 2.0), Weighted(SMOOTH, 0.25, ratio=False))
    found = fs.portrait(model, [2], method="pixels", start=start, steps=1, priors=priors)
    pixels = start.clone().requires_grad_()
    conv = model.module[0](pixels)  # type: ignore[index]
    numbers = model(pixels)[0, 2], conv.square().mean(), _variation(pixels)[0]
    pulls = [torch.autograd.grad(one, pixels, retain_graph=True)[0] for one in numbers]
    sizes = [float(pull.abs().sum()) for pull in pulls]
    expected = [0.5 * sizes[0] / sizes[1], 2 * sizes[0] / sizes[2], 0.25]
    torch.testing.assert_close(found.weights[0], torch.tensor(expected, dtype=torch.float64))
    along = pulls[0] - expected[0] * pulls[1] - (expected[1] + 0.25) * pulls[2]
    moved = (start + 0.05 * along / (along.abs() + 1e-8)).clamp(0, 1)  # the first step of Adam
    torch.testing.assert_close(found.images, moved)


def test_a_portrait_is_the_same_alone_and_in_a_batch() -> None:
    model, priors = _model(), (Weighted(QUIET, 0.5), Weighted(SMOOTH, 0.5))
    together = fs.portrait(model, [0, 1, 2, 3, 4], method="pixels", steps=20, priors=priors)
    alone = fs.portrait(
        model, [3], method="pixels", steps=20, priors=priors, numbers=torch.tensor([3])
    )
    few = fs.portrait(
        model, [0, 1, 2, 3, 4], method="pixels", steps=20, priors=priors, batch_size=2
    )
    torch.testing.assert_close(alone.images[0], together.images[3])
    torch.testing.assert_close(few.images, together.images)


def test_a_canvas_is_so_many_times_the_network_s_pictures_unless_a_size_is_given() -> None:
    def shape(canvas: float, **options: object) -> tuple[int, ...]:
        model, seen = fs.load_model("digits-cnn"), set[tuple[int, ...]]()
        handle = model.module.register_forward_pre_hook(
            lambda _, given: seen.add(tuple(given[0].shape[-2:]))
        )
        recipe = replace(
            PRESETS["fourier"], transformations=maco(2), steps=2, canvas=canvas, warm_up=0
        )
        found = fs.portrait(model, [3], method=recipe, **options)  # type: ignore[arg-type]
        handle.remove()
        assert seen == {(28, 28)}  # whatever is painted, the network sees its own size
        assert found.record["method"]["canvas"] == canvas
        return tuple(found.images.shape[-2:])

    assert shape(512 / 224) == (64, 64)
    assert shape(1.5) == (42, 42)
    assert shape(1.5, size=(30, 20)) == (30, 20)
    assert shape(1.5, start=torch.rand(1, 1, 33, 28)) == (33, 28)
    with pytest.raises(InvalidParameterError, match="canvas is 0; expected a number above 0"):
        Recipe(canvas=0)
