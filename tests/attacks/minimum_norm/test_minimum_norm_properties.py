"""What must always hold of the attacks that look for the closest success."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from l2_networks import curved, path
from torch import Tensor, nn

import fluoroscope as fs

ATTACKS: dict[str, dict[str, Any]] = {
    "l-bfgs": {"searches": 5, "steps": 12},
    "cw-linf": {"steps": 8, "c": 0.1, "largest_c": 2, "lr": 0.02},
    "cw-l0": {"steps": 8, "c": 0.1, "largest_c": 20, "lr": 0.05},
    "ead": {"searches": 5, "steps": 12, "beta": 0.01},
}
# With the values of an image a multiple of what a vector instruction takes: in the scalar rest of a
# batch PyTorch's tanh differs in the last bit, so that a sample's slot would show.
SHAPE = (1, 4, 4)
EACH = pytest.mark.parametrize("name", ATTACKS)


@EACH
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000), targeted=st.booleans(), count=st.integers(1, 6))
def test_in_the_box_and_the_nearest_success_ever_seen(
    name: str, seed: int, targeted: bool, count: int
) -> None:
    model, images, own = curved(seed)
    images, own = images[:count], own[:count]
    classes = (own + 1) % 4 if targeted else own
    attack = fs.attack(name, **ATTACKS[name])
    result, points = path(attack, model, images, classes, targeted=targeted)
    for row, found in enumerate(points):
        assert found.min() >= 0
        assert found.max() <= 1
        assert torch.equal(found[0], images[row]) or name == "cw-linf"
        read = model(found).argmax(1)
        success = read == classes[row] if targeted else read != classes[row]
        assert result.success[row] == success.any()
        distance = attack.threat.distance(found - images[row]).where(success, torch.inf)
        if success.any():
            assert result.distance[row] == pytest.approx(float(distance.min()), abs=1e-9)
        else:
            assert torch.equal(result.images[row], images[row])


def aligned(seed: int) -> tuple[fs.Classifier, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, 4))
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    images = (1.4 * torch.rand(6, *SHAPE, generator=generator) - 0.2).clamp(0, 1).double()
    model = fs.Classifier(module.double(), channels=1)
    return model, images, model(images).detach().argmax(1)


@EACH
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000), batch_size=st.integers(1, 6), row=st.integers(0, 5))
def test_a_sample_does_not_depend_on_its_neighbours(
    name: str, seed: int, batch_size: int, row: int
) -> None:
    model, images, own = aligned(seed)
    attack = fs.attack(name, **ATTACKS[name])
    whole = attack(model, images, own, batch_size=batch_size, exact=True)
    alone = attack(model, images[row], own[row : row + 1], batch_size=batch_size, exact=True)
    assert torch.equal(whole.images[row], alone.images[0])
    assert whole.forwards[row] == alone.forwards[0]


@EACH
def test_a_success_towards_a_class_is_read_as_it(name: str) -> None:
    model, images, own = curved()
    wanted = (own + 2) % 4
    result = fs.attack(name, **ATTACKS[name])(model, images, wanted, targeted=True)
    assert result.success.sum() >= 4
    assert torch.equal(model(result.images).argmax(1) == wanted, result.success)


@EACH
def test_a_bound_leaves_out_what_lies_farther(name: str) -> None:
    model, images, own = curved()
    free = fs.attack(name, **ATTACKS[name])(model, images, own)
    eps = float(free.distance[free.success].median())
    bound = fs.attack(name, eps=eps, **ATTACKS[name])(model, images, own)
    assert 0 < bound.success.sum() < free.success.sum()
    assert torch.equal(bound.success, free.success & (free.distance <= eps * (1 + 1e-5)))


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "l-bfgs"])
def test_confidence_is_the_least_lead(name: str) -> None:
    model, images, own = curved()
    plain, sure = (
        fs.attack(name, **ATTACKS[name], confidence=lead)(model, images, own) for lead in (0.0, 3.0)
    )
    logits = model(sure.images).detach()
    others = logits.scatter(1, own[:, None], -torch.inf).amax(1)
    lead = others - logits.gather(1, own[:, None]).squeeze(1)
    assert sure.success.sum() >= 3
    assert (lead[sure.success] >= 3 - 1e-9).all()
    both = plain.success & sure.success
    assert sure.distance[both].sum() > plain.distance[both].sum() or name == "cw-l0"


@EACH
def test_samples_misread_from_the_start_are_left_alone(name: str) -> None:
    model, images, own = curved()
    given = own.clone()
    given[::2] = (given[::2] + 1) % 4
    result = fs.attack(name, **ATTACKS[name])(model, images, given)
    assert result.at_start.tolist() == [True, False] * 3
    assert torch.equal(result.images[::2], images[::2])
    assert result.backwards[::2].tolist() == [0] * 3


@EACH
def test_all_searches_come_to_their_end(name: str) -> None:
    model, images, own = curved()
    result = fs.attack(name, **ATTACKS[name])(model, images, own, batch_size=2)
    assert result.finished.all()
