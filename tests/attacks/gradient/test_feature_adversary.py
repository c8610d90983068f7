"""Feature adversaries: a closed form, the paper's objective, guides and a peer."""

from math import cos, pi
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.stream import Step
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.wrappers.features import Features

Reader = tuple[fs.Classifier, Tensor, Tensor]
Setting = tuple[fs.Classifier, Tensor, Tensor, Tensor]


@pytest.fixture(scope="module")
def setting(reader: Reader) -> Setting:
    """Network, pictures, their classes, and a guide for each class."""
    model, images, classes = reader
    first = [int((classes == label).nonzero()[0]) for label in range(10) if label in classes]
    return model, images[:12], classes[:12], images[first]


def features(model: fs.Classifier, layer: str, images: Tensor) -> Tensor:
    return Features(model, layer)(images)[:, model.num_classes :].detach()


def test_where_features_are_pixels_the_nearest_point_of_the_ball_is_known() -> None:
    torch.manual_seed(0)
    model = fs.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(27, 3)))
    images, guides = torch.rand(5, 3, 3, 3), torch.rand(1, 3, 3, 3)
    wanted = model(guides).argmax(1)
    attack = fs.attack("feature-adversary", eps=0.2, layer="0", guides=guides)
    result = attack(model, images, int(wanted), targeted=True, keep="last")
    best = guides.clamp(images - 0.2, images + 0.2)
    away = (result.images - best).abs()
    assert away.max() < 0.015
    assert away.mean() < 0.0015


def test_against_the_formula_one_picture_at_a_time(setting: Setting) -> None:
    model, images, classes, guides = setting
    wanted, steps = (classes[:3] + 1) % 10, 6
    attack = fs.attack("feature-adversary", eps=0.1, layer="4", guides=guides, steps=steps)
    ours = attack(model, images[:3], wanted, targeted=True, keep="last").images
    read = model(guides).argmax(1)
    for image, label, found in zip(images, wanted, ours, strict=False):
        goal = features(model, "4", guides[read == label])
        x, moving = image[None], torch.zeros_like(image[None])
        for step in range(steps):
            pixels = x.clone().requires_grad_()
            loss = (Features(model, "4")(pixels)[:, 10:] - goal).square().sum()
            (gradient,) = torch.autograd.grad(loss, pixels)
            moving = 0.9 * moving + gradient / gradient.abs().mean()
            x = x - 0.05 * (1 + cos(pi * step / steps)) / 2 * moving.sign()
            x = x.clamp(image - 0.1, image + 0.1).clamp(0, 1)
        assert (x[0] - found).abs().gt(1e-5).float().mean() < 0.01  # signs of rounding


def test_guides_are_those_read_as_wanted_and_the_nearest_of_them(setting: Setting) -> None:
    model, images, classes, guides = setting
    guides = torch.cat([guides, images[5:9]])
    read = model(guides).argmax(1)
    apart = torch.cdist(features(model, "7", images), features(model, "7", guides)).square()
    for targeted, wanted in ((True, (classes + 3) % 10), (False, classes)):
        seen: list[Step] = []
        attack = fs.attack("feature-adversary", eps=0.3, layer="7", guides=guides, steps=20)
        result = attack(model, images, wanted, targeted=targeted, keep="last", on_step=seen.append)
        allowed = (read == wanted[:, None]) == targeted
        expected = apart.masked_fill(~allowed, torch.inf).amin(1)
        first, last = seen[0].answer.objective, seen[-1].answer.objective
        assert first is not None
        assert last is not None
        torch.testing.assert_close(-first.float(), expected, rtol=1e-3, atol=1e-3)
        relative = (last / first).sqrt()
        assert relative.mean() < 0.6
        assert torch.equal(result.success, (model(result.images).argmax(1) == wanted) == targeted)
        assert result.success.float().mean() > 0.6


def test_a_prepared_network_is_looked_into_as_it_is(setting: Setting) -> None:
    model, images, classes, guides = setting
    attack = fs.attack("feature-adversary", eps=0.2, layer="4", guides=guides, steps=5)
    one, other = (attack(m, images, classes, keep="best") for m in (model, fs.prepare(model)))
    assert torch.equal(one.images, other.images)
    assert one.record["parameters"]["guides"]["shape"] == list(guides.shape)


@pytest.mark.parametrize("grid", [None, 8])
def test_pictures_stay_in_the_ball_whatever_their_neighbours(
    setting: Setting, grid: int | None
) -> None:
    model, images, classes, guides = setting
    attack = fs.attack("feature-adversary", eps=0.1, layer="2", guides=guides, steps=7)
    options: dict[str, Any] = {"keep": "last", "batch_size": 8, "exact": True, "grid": grid}
    everyone = attack(model, images, classes, **options)
    assert everyone.distance.max() <= 0.1 + 1e-6
    assert everyone.images.min() >= 0
    assert everyone.images.max() <= 1
    few = attack(model, images[5:7], classes[5:7], **options)
    assert torch.equal(few.images, everyone.images[5:7])
    assert everyone.backwards.tolist() == [7] * 12


@pytest.mark.parametrize("layer", [4, 7])
def test_it_comes_as_near_as_arts(setting: Setting, layer: int) -> None:
    """With the best of three step sizes for theirs; the same bound and steps."""
    evasion = pytest.importorskip("art.attacks.evasion")
    from art.estimators.classification import PyTorchClassifier

    model, images, classes, guides = setting
    wanted, eps, steps = (classes + 1) % 10, 0.15, 40
    read = model(guides).argmax(1)
    goals = torch.cat([guides[read == label][:1] for label in wanted])
    start, goal = (features(model, str(layer), part) for part in (images, goals))

    def relative(found: Tensor) -> float:
        away = (features(model, str(layer), found) - goal).norm(dim=1)
        return float((away / (start - goal).norm(dim=1)).mean())

    network = PyTorchClassifier(
        nn.Sequential(*model.module), nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0, 1),
        preprocessing=(
            np.float32(model.preprocessing.mean or 0), np.float32(model.preprocessing.std or 1)
        ),
        device_type="cpu",
    )  # fmt: skip
    theirs = min(
        relative(
            torch.from_numpy(
                evasion.FeatureAdversariesPyTorch(
                    network, delta=eps, layer=layer, max_iter=steps, step_size=eps * share,
                    verbose=False,
                ).generate(images.numpy(), goals.numpy())
            )
        )
        for share in (0.05, 0.1, 0.2)
    )  # fmt: skip
    attack = fs.attack("feature-adversary", eps=eps, layer=str(layer), guides=goals, steps=steps)
    ours = relative(attack(model, images, wanted, targeted=True, keep="last").images)
    assert theirs < 0.9
    assert ours <= theirs


def test_what_is_missing_is_said(setting: Setting) -> None:
    model, images, classes, guides = setting
    with pytest.raises(InvalidParameterError, match=r"given no guides; expected the pictures"):
        fs.attack("feature-adversary", eps=0.1, layer="4")(model, images, classes)
    with pytest.raises(InvalidParameterError, match=r"guides are a str; expected a tensor"):
        fs.attack("feature-adversary", eps=0.1, guides="digits")
    with pytest.raises(InvalidParameterError, match=r"layer is '', which .* expected one of 0, 1"):
        fs.attack("feature-adversary", eps=0.1, guides=guides)(model, images, classes)
    lonely = fs.attack("feature-adversary", eps=0.1, guides=guides[:1], layer="4")
    with pytest.raises(InvalidParameterError, match="none of the guides as 5"):
        lonely(model, images, 5, targeted=True)
    with pytest.raises(InvalidParameterError, match="as another class than 0"):
        lonely(model, images, classes)
    with pytest.raises(fs.FluoroscopeError, match=r"\(10, 3, 28, 28\)"):
        fs.attack("feature-adversary", eps=0.1, guides=guides.repeat(1, 3, 1, 1), layer="4")(
            model, images, classes
        )
    anything = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(InvalidParameterError, match="numbers for a guide and"):
        fs.attack("feature-adversary", eps=0.1, guides=guides[..., 2:], layer="0")(
            fs.Classifier(anything, channels=1), images, 0, keep="last"
        )
    for options, said in (
        ({"steps": 0}, "steps is 0"), ({"decay": 1.5}, "decay is 1.5"),
        ({"step_size": "x"}, "step_size is"),
    ):  # fmt: skip
        with pytest.raises(InvalidParameterError, match=said):
            fs.attack("feature-adversary", eps=0.1, **options)  # type: ignore[arg-type]
