"""Masks: only where they are 1 may an attack change anything, whatever the attack."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fluoroscope as fs
from fluoroscope.attacks.registry import ATTACKS
from fluoroscope.engine.mask import as_mask
from fluoroscope.engine.stream import Step
from fluoroscope.errors import InvalidParameterError
from tests.attacks.invertible_networks import invertible

EPS: dict[str, float | None] = {"linf": 0.2, "l2": 2.0, "l1": 10.0, "l0": 20, "none": None}
CASES = [(name, norm) for name, kind in ATTACKS.items() for norm in kind.norms]
BLIND = {
    "sparse-rs", "one-pixel", "simba", "zoo", "boundary", "hopskipjump", "geoda", "universal",
    "patch", "latent",
}  # fmt: skip
COUNT, SIDE = 3, 10


def network(seed: int = 0) -> fs.Classifier:
    torch.manual_seed(seed)
    module = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(2 * SIDE * SIDE, 16), torch.nn.Tanh(),
        torch.nn.Linear(16, 3),
    )  # fmt: skip
    return fs.Classifier(module, channels=2, input_size=SIDE)


def pictures(seed: int = 0) -> Tensor:
    return torch.rand(COUNT, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def made(name: str, norm: str, images: Tensor) -> Any:
    own: dict[str, Any] = {}
    if name == "feature-adversary":
        own = {"layer": "1", "guides": images}
    if name == "admix":
        own = {"pool": images}
    return fs.attack(name, eps=EPS[norm], norm=norm, **own)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_every_attack_keeps_to_the_mask_or_refuses_it(name: str, norm: str) -> None:
    model, images = invertible(2, SIDE) if name == "latent" else network(), pictures()
    classes = fs.predict(model, images).winners
    mask = torch.rand(COUNT, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) < 0.3
    attack = made(name, norm, images)
    kept: Any = "nearest" if attack.minimum_norm else "best"
    if name in BLIND:
        with pytest.raises(InvalidParameterError, match="chooses its changes without looking"):
            attack(model, images, classes, mask=mask)
        return

    def look(step: Step) -> None:
        rows = step.indices
        assert not ((step.images != images[rows]) & ~mask[rows]).any()

    result = attack(
        model, images, classes, mask=mask, keep=kept, budget=fs.Budget(forwards=30), on_step=look
    )
    assert not ((result.images != images) & ~mask).any()
    read = fs.predict(model, result.images).winners != classes
    within = attack.threat.allows(result.images, images)
    assert (result.success <= (read & within)).all()


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from([("pgd", "linf"), ("pgd", "l2"), ("apgd", "l1"), ("square", "l2")]),
    st.integers(0, 1000),
    st.sampled_from([(SIDE, SIDE), (1, SIDE, SIDE), (2, SIDE, SIDE), (COUNT, 1, SIDE, SIDE)]),
)  # fmt: skip
def test_masks_of_any_shape(case: tuple[str, str], seed: int, shape: tuple[int, ...]) -> None:
    model, images = network(seed), pictures(seed)
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.4
    classes = fs.predict(model, images).winners
    result = made(*case, images)(
        model, images, classes, mask=mask, batch_size=2, seed=seed, budget=fs.Budget(forwards=12)
    )
    assert not ((result.images != images) & ~mask).any()
    assert "mask" in result.record


def test_what_lies_outside_takes_nothing_of_the_bound() -> None:
    """In L2 a change is as long inside a mask as it is where there is nothing else."""
    weight = torch.randn(2, SIDE * SIDE, generator=torch.Generator().manual_seed(0))
    linear = torch.nn.Linear(SIDE * SIDE, 2)
    linear.weight.data = weight
    module = torch.nn.Sequential(torch.nn.Flatten(), linear)
    model = fs.Classifier(module, channels=1, input_size=SIDE)
    images = torch.full((1, 1, SIDE, SIDE), 0.5)
    mask = torch.zeros(SIDE, SIDE)
    mask[2:5, 3:7] = 1
    slope = (weight[1] - weight[0]).view(1, 1, SIDE, SIDE)
    slope = slope * mask * (1 if fs.predict(model, images).winners[0] == 0 else -1)
    for name in ("pgd", "apgd"):
        result = fs.attack(name, eps=0.3, norm="l2", steps=40)(
            model, images, fs.predict(model, images).winners, mask=mask, keep="best"
        )
        gained = ((result.images - images) * slope).sum()
        assert gained > 0.99 * 0.3 * slope.norm()


def test_squares_reach_into_the_part() -> None:
    images = torch.full((1, 1, 40, 40), 0.5)
    mask = torch.zeros(40, 40)
    mask[35:37, 5:7] = 1
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1600, 2))
    model = fs.Classifier(module, channels=1, input_size=40)
    changed: list[bool] = []
    fs.attack("square", eps=0.1, queries=100, p_init=0.05)(
        model, images, fs.predict(model, images).winners, mask=mask, keep="last",
        on_step=lambda step: changed.append(bool((step.images != images).any())),
    )  # fmt: skip
    assert all(changed)


def test_a_chain_and_parts_of_a_data_set_keep_to_it_too() -> None:
    from fluoroscope.attacks.parts import attack_parts

    model, images = network(), pictures()
    classes = fs.predict(model, images).winners
    mask = torch.zeros(COUNT, 1, SIDE, SIDE)
    for row in range(COUNT):
        mask[row, 0, row] = 1
    chain = fs.attack("fgsm|pgd", eps=0.3, steps=3)
    result = chain(model, images, classes, mask=mask)
    assert not ((result.images != images) & (mask == 0)).any()
    data = fs.load_images("digits", channels=1).select(range(4))
    digits = fs.load_model("digits-cnn")
    middle = torch.zeros(28, 28)
    middle[10:18, 10:18] = 1
    for part in attack_parts(digits, fs.attack("fgsm", eps=0.3), data, mask=middle):
        assert ((part.images != part.originals).any(0)[0] <= (middle == 1)).all()
        assert (part.images != part.originals).any()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(9, SIDE), r"mask has shape \(9, 10\); expected \(10, 10\)"),
        (torch.ones(5, 1, SIDE, SIDE), "for each of the 3 image"),
        (torch.ones(SIDE), "mask has shape"),
        (torch.full((SIDE, SIDE), 0.5), "other values than 0 and 1"),
        (torch.zeros(SIDE, SIDE), "mask is 0 everywhere for 3 image"),
        ("face.png", "mask is a str; expected a tensor"),
    ],
)
def test_masks_that_are_none(mask: Any, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        as_mask(mask, pictures())


def test_masks_as_arrays_and_lists() -> None:
    assert as_mask(np.ones((SIDE, SIDE), dtype=np.uint8), pictures()).all()
    assert as_mask([[1] * SIDE] * SIDE, pictures()).shape == (COUNT, 1, SIDE, SIDE)
