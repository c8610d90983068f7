"""Carlini and Wagner's L0 attack: closed forms and peers; its steps in ``test_tightening.py``."""

from typing import Any

import pytest
import torch
from linear_networks import linear
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.minimum_norm.carlini_wagner_l0 import CarliniWagnerL0


def fewest(model: fs.Classifier, weight: Tensor, image: Tensor) -> int:
    """Values to change between two classes: those first that gain most at the end of the box."""
    logits = model(image[None]).detach()[0]
    own = int(logits.argmax())
    slope, point = weight[1 - own] - weight[own], image.flatten()
    gain = slope.abs() * torch.where(slope > 0, 1 - point, point)
    gained = gain.sort(descending=True).values.cumsum(0)
    return int((gained < logits[own] - logits[1 - own]).sum()) + 1


@pytest.mark.parametrize("values", [30, 256])
def test_on_linear_networks_it_changes_hardly_more_than_the_fewest(values: int) -> None:
    model, weight = linear(5, 2, values)
    images = torch.rand(8, 1, 1, values, generator=torch.Generator().manual_seed(values))
    own = model(images).argmax(1)
    result = CarliniWagnerL0(steps=50)(model, images, own)
    best = torch.tensor([fewest(model, weight, image) for image in images])
    assert best.max() >= 3
    assert result.success.all()
    more = result.distance - best
    assert more.min() >= 0
    assert more.max() <= 1
    assert more.mean() <= 0.25


def test_a_pixel_is_let_go_with_all_its_channels() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(3 * 16, 2)
    layer.weight.data = torch.randn(2, 3 * 16, generator=generator)
    layer.bias.data = -layer.weight.data.sum(1) / 2
    model = fs.Classifier(nn.Sequential(nn.Flatten(), layer), channels=3)
    images = torch.rand(6, 3, 4, 4, generator=generator)
    result = CarliniWagnerL0(steps=30)(model, images, model(images).argmax(1))
    changed = result.images != images
    assert result.success.all()
    assert torch.equal(result.distance, changed.any(1).flatten(1).sum(1).float())
    # All three channels of a pixel help; one by one they would count no less.
    assert changed.flatten(1).sum(1).float().mean() > 1.5 * result.distance.mean()


def test_what_is_kept_of_the_others_is_exactly_the_original(reader: Any) -> None:
    model, images, classes = reader
    result = CarliniWagnerL0(steps=10, largest_c=1)(model, images[:6], classes[:6])
    assert result.success.all()
    moved = (result.images - images[:6]).abs()
    assert moved[moved > 0].min() >= 1e-4 * (1 - 1e-3)


def test_as_good_as_art(reader: Any) -> None:
    pytest.importorskip("art")
    from art.attacks.evasion import CarliniL0Method
    from art.estimators.classification import PyTorchClassifier

    model, images, classes = reader
    images, classes = images[:2], classes[:2]
    peer = PyTorchClassifier(
        model.module.eval(), nn.CrossEntropyLoss(), (1, 28, 28), 10,
        clip_values=(0, 1), device_type="cpu",
    )  # fmt: skip
    # With their first c of 0.01 so few searches find nothing.
    attack = CarliniL0Method(
        peer, max_iter=15, initial_const=1, learning_rate=0.1, binary_search_steps=3,
        batch_size=2, verbose=False,
    )  # fmt: skip
    found = torch.from_numpy(attack.generate(images.numpy(), classes.numpy())).float()
    fooled = model(found).argmax(1) != classes
    ours = CarliniWagnerL0(steps=20, largest_c=100)(model, images, classes)
    assert fooled.any()
    assert ours.success.all()
    assert (ours.distance[fooled] <= fs.L0(1).distance(found - images)[fooled]).all()


def test_few_pixels_are_enough_for_digits(reader: Any) -> None:
    # Against the projection onto the pixels that moved furthest in the L2 attack.
    model, images, classes = reader
    images, classes = images[:4], classes[:4]
    ours = CarliniWagnerL0(steps=20, largest_c=100)(model, images, classes)
    l2 = fs.attack("cw", steps=30, searches=4)(model, images, classes)
    for row in range(len(images)):
        count = int(ours.distance[row])
        projected = fs.L0(count).project(l2.images[row : row + 1], images[row : row + 1])
        assert model(projected).argmax(1) == classes[row] or count == 1
    assert ours.distance.median() <= 6
