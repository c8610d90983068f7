"""Carlini and Wagner's Linf attack: closed forms and peers; its steps in ``test_tightening.py``."""

import math
from typing import Any

import pytest
import torch
from linear_networks import boxed_optimum, linear
from torch import nn

import fluoroscope as fs
from fluoroscope.attacks.minimum_norm.carlini_wagner_linf import CarliniWagnerLinf
from fluoroscope.errors import InvalidParameterError


@pytest.mark.parametrize("values", [12, 100])
def test_on_linear_networks_it_comes_near_the_smallest_linf_distance(values: int) -> None:
    model, weight = linear(5, 2, values)
    images = torch.rand(16, 1, 1, values, generator=torch.Generator().manual_seed(values))
    best = torch.tensor([boxed_optimum(model, weight, image, "linf") for image in images])
    # Farther than one step of Adam, which at first is of the same length for all pixels.
    images, best = images[best > 0.01][:6], best[best > 0.01][:6]
    assert len(best) == 6
    own = model(images).argmax(1)
    result = CarliniWagnerLinf(steps=60, lr=2e-3)(model, images, own)
    assert result.success.all()
    ratio = result.distance / best
    assert ratio.min() >= 0.999
    assert ratio.max() <= 1 / 0.9
    finer = CarliniWagnerLinf(steps=60, lr=2e-3, shrink=0.97)(model, images, own)
    assert (finer.distance / best).mean() < ratio.mean()


def test_it_ends_at_the_smallest_tau() -> None:
    model, _ = linear(5, 2, 12)
    images = torch.rand(6, 1, 1, 12, generator=torch.Generator().manual_seed(1))
    own = model(images).argmax(1)
    early = CarliniWagnerLinf(steps=50, smallest=0.5)(model, images, own)
    late = CarliniWagnerLinf(steps=50, smallest=0.01)(model, images, own)
    assert (early.forwards <= late.forwards).all()
    assert early.forwards.sum() < late.forwards.sum()
    assert early.distance.sum() > late.distance.sum()


@pytest.mark.parametrize("wrong", [{"shrink": 1.0}, {"shrink": math.nan}, {"smallest": 2.0}])
def test_unusable_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match=f"{next(iter(wrong))} is .*; expected"):
        CarliniWagnerLinf(**wrong)


def test_as_good_as_art(reader: Any) -> None:
    pytest.importorskip("art")
    from art.attacks.evasion import CarliniLInfMethod
    from art.estimators.classification import PyTorchClassifier

    model, images, classes = reader
    images, classes = images[:3], classes[:3]
    peer = PyTorchClassifier(
        model.module.eval(), nn.CrossEntropyLoss(), (1, 28, 28), 10,
        clip_values=(0, 1), device_type="cpu",
    )  # fmt: skip
    # With a smaller rate theirs finds nothing in so few steps.
    attack = CarliniLInfMethod(
        peer, max_iter=20, learning_rate=0.1, initial_const=0.1, const_factor=10, verbose=False
    )
    found = torch.from_numpy(attack.generate(images.numpy(), classes.numpy()))
    fooled = model(found).argmax(1) != classes
    ours = CarliniWagnerLinf(steps=20)(model, images, classes)
    assert fooled.any()
    assert ours.success.all()
    assert (ours.distance[fooled] <= fs.Linf(1).distance(found - images)[fooled]).all()


def test_as_good_as_fab_in_many_steps(reader: Any) -> None:
    model, images, classes = reader
    images, classes = images[:12], classes[:12]
    ours = CarliniWagnerLinf(steps=50)(model, images, classes)
    best = fs.attack("fab", norm="linf", steps=30)(model, images, classes)
    assert ours.success.all()
    assert ours.distance.mean() <= 1.15 * best.distance.mean()
