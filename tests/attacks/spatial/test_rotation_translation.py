"""Rotations and translations: the transform by known pictures, the search by small networks."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.spatial.rotation_translation import (
    RotationTranslation,
    _grid,
    rotate_and_move,
)
from fluoroscope.engine.evaluate import Answer
from fluoroscope.engine.stream import Samples, feed
from fluoroscope.errors import InvalidParameterError


def pictures(count: int, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def moved(images: Tensor, degrees: float, down: float = 0, right: float = 0) -> Tensor:
    count = len(images)
    return rotate_and_move(
        images, torch.full((count,), degrees), torch.tensor([[down, right]]).expand(count, 2)
    )


class Dark(nn.Module):
    """Class 1 if the pixel in the given row and column is dark; answers, and no gradient."""

    def __init__(self, row: int, column: int) -> None:
        super().__init__()
        self.at = (row, column)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            light = x[:, 0, self.at[0], self.at[1]]
            return nn.functional.one_hot((light < 0.5).long(), 2).to(x.dtype)


def dark(row: int, column: int) -> fs.Classifier:
    return fs.Classifier(Dark(row, column), channels=1)


def test_the_identity_changes_nothing() -> None:
    for shape in ((1, 8, 8), (3, 5, 9), (3, 224, 224), (1, 1, 4)):
        images = pictures(2, shape)
        torch.testing.assert_close(moved(images, 0), images, rtol=0, atol=1e-4)


@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
@pytest.mark.parametrize("side", [7, 8])
def test_quarter_turns_are_counter_clockwise(quarters: int, side: int) -> None:
    images = pictures(2, (3, side, side))
    expected = torch.rot90(images, quarters, (2, 3))
    torch.testing.assert_close(moved(images, 90 * quarters), expected, rtol=0, atol=1e-4)


def test_whole_pixels_shift_and_let_black_in() -> None:
    images = pictures(2, (3, 6, 7)) + 0.1
    expected = torch.zeros_like(images)
    expected[:, :, 2:, :-1] = images[:, :, :-2, 1:]
    torch.testing.assert_close(moved(images, 0, 2, -1), expected, rtol=0, atol=1e-5)


def test_it_turns_first_and_then_moves() -> None:
    images = pictures(1, (1, 8, 8))
    both = moved(images, 90, 1, 2)
    torch.testing.assert_close(
        both, moved(torch.rot90(images, 1, (2, 3)), 0, 1, 2), atol=1e-4, rtol=0
    )


def test_half_pixels_are_means() -> None:
    images = pictures(1, (1, 4, 4))
    expected = (images[:, :, 1:, :] + images[:, :, :-1, :]) / 2
    torch.testing.assert_close(moved(images, 0, 0.5)[:, :, 1:], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("side", "pixels"), [(28, 3), (32, 3), (224, 24)])
def test_the_papers_pixels_at_the_papers_sizes(side: int, pixels: int) -> None:
    images = torch.ones(1, 1, side, side)
    seen: list[Tensor] = []
    attack = RotationTranslation(rotation=0, angles=1)
    attack(
        dark(side // 2, side // 2),
        images,
        [0],
        keep="last",
        on_step=lambda s: seen.append(s.images),
    )
    assert len(seen) == 25
    # A white picture shows how far black has come in from each side.
    black = torch.cat([s[0, 0, side // 2] < 0.1 for s in seen]).view(25, side).sum(1)
    assert black.max() == pixels


def test_the_paper_grid() -> None:
    grid = _grid(None, None)
    assert len(grid) == len(grid.unique(dim=0)) == 31 * 5 * 5
    assert grid.square().sum(1)[0] == 3
    assert torch.equal(grid[-1], torch.zeros(3))
    assert (grid.square().sum(1).diff() <= 0).all()


def test_a_network_that_depends_on_one_place_finds_the_shift() -> None:
    # One dark pixel two rows below and three columns left of where the network looks.
    images = torch.ones(1, 1, 28, 28)
    images[0, 0, 16, 10] = 0
    attack = RotationTranslation(rotation=0, angles=1, moves=7)
    result = attack(dark(14, 13), images, [0])
    assert result.success.all()
    torch.testing.assert_close(result.images, moved(images, 0, -2, 3), rtol=0, atol=1e-5)
    assert not RotationTranslation(rotation=0, angles=1, moves=7)(dark(14, 14), images, [0]).success


def test_a_wanted_class_is_found_by_turning() -> None:
    images = torch.ones(1, 1, 9, 9)
    images[0, 0, 0, 4] = 0  # at the top; a quarter turn brings it to the left
    attack = RotationTranslation(rotation=90, translation=0, angles=3, moves=1)
    result = attack(dark(4, 0), images, [1], targeted=True)
    assert result.success.all()
    torch.testing.assert_close(result.images, torch.rot90(images, 1, (2, 3)), rtol=0, atol=1e-5)


def test_best_keeps_the_worst_of_the_grid(reader: Any) -> None:
    model, images, classes = reader
    attack = RotationTranslation(angles=3, moves=2)
    seen: list[Tensor] = []
    result = attack(
        model,
        images[:3],
        classes[:3],
        keep="best",
        on_step=lambda s: seen.append(s.answer.objective),
    )
    assert (result.forwards == 1 + 12).all()
    assert (result.backwards == 0).all()
    kept = model(result.images).double().log_softmax(1).gather(1, classes[:3, None])[:, 0]
    torch.testing.assert_close(kept.detach(), -torch.stack(seen).amax(0), rtol=0, atol=1e-3)


def test_random_draws_stay_within_the_bounds_and_belong_to_the_sample() -> None:
    images = pictures(40, (1, 28, 28))
    attack = RotationTranslation(random=7)
    state = attack.start(_samples(images))
    shares = attack._shares(state)
    assert shares.abs().max() <= 1
    assert shares.min() < -0.9
    assert shares.max() > 0.9
    assert not torch.equal(shares, attack._shares(attack.tell(state, Answer(torch.zeros(40, 2)))))


def _samples(images: Tensor) -> Samples:
    samples = feed(images, torch.zeros(len(images), dtype=torch.long))(len(images))
    assert samples is not None
    return samples


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), random=st.sampled_from([None, 6]), targeted=st.booleans())
def test_in_the_box_and_independent_of_neighbours(
    seed: int, random: int | None, targeted: bool
) -> None:
    model, images = _network(seed), pictures(5, (2, 6, 5), seed)
    classes = model(images).argmax(1).detach()
    classes = (classes + 1) % 3 if targeted else classes
    grid = {} if random else {"angles": 3, "moves": 2}
    attack = RotationTranslation(random=random, **grid)
    whole = attack(model, images, classes, targeted=targeted, exact=True, batch_size=4, seed=seed)
    assert whole.images.min() >= 0
    assert whole.images.max() <= 1
    read = model(whole.images).argmax(1)
    assert torch.equal((read == classes) == targeted, whole.success)
    one = attack(
        model, images[3:4], classes[3:4], targeted=targeted, exact=True, batch_size=4, seed=seed,
        numbers=torch.tensor([3]),
    )  # fmt: skip
    assert torch.equal(one.images[0], whole.images[3])
    assert one.forwards[0] == whole.forwards[3]


def _network(seed: int) -> fs.Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Flatten(), nn.Linear(60, 8), nn.Tanh(), nn.Linear(8, 3))
    return fs.Classifier(module, channels=2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"threat": fs.Linf(0.1)}, "not defined for the norm linf"),
        ({"rotation": 190}, "rotation is 190"),
        ({"rotation": -1}, "rotation is -1"),
        ({"translation": 1.5}, "translation is 1.5"),
        ({"angles": 0}, "angles is 0"),
        ({"moves": 0}, "moves is 0"),
        ({"random": 0}, "random is 0"),
        ({"random": 10, "angles": 3}, "not both"),
        ({"random": 10, "moves": 3}, "not both"),
    ],
)
def test_unusable_parameters(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameterError, match="expected") as caught:
        RotationTranslation(**wrong)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_as_strong_as_foolbox_on_its_grid(reader: Any) -> None:
    foolbox = pytest.importorskip("foolbox")
    model, images, classes = reader
    peer = foolbox.attacks.SpatialAttack(
        max_translation=3, max_rotation=20, num_translations=3, num_rotations=5
    )
    wrapped = foolbox.PyTorchModel(model.module.eval(), bounds=(0, 1), device="cpu")
    _, _, fooled = peer(wrapped, images, foolbox.criteria.Misclassification(classes))
    ours = RotationTranslation(rotation=20, angles=5, moves=3)(model, images, classes)
    assert 3 < fooled.sum() < len(images)
    assert ours.success.sum() >= fooled.sum() - 1


def test_stronger_than_arts_one_change_for_all(reader: Any) -> None:
    pytest.importorskip("art")
    from art.attacks.evasion import SpatialTransformation
    from art.estimators.classification import PyTorchClassifier

    model, images, classes = reader
    wrapped = PyTorchClassifier(
        model.module.eval(), nn.CrossEntropyLoss(), (1, 28, 28), 10,
        clip_values=(0, 1), device_type="cpu",
    )  # fmt: skip
    peer = SpatialTransformation(
        wrapped, max_translation=10.0, num_translations=3, max_rotation=20.0, num_rotations=5,
        verbose=False,
    )  # fmt: skip
    found = torch.from_numpy(peer.generate(images.numpy().astype(np.float32)))
    fooled = model(found).argmax(1) != classes
    ours = RotationTranslation(rotation=20, angles=5, moves=3)(model, images, classes)
    assert ours.success.sum() >= fooled.sum()
