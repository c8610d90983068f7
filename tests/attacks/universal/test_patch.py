"""Patches: where they are put, the gradient through the placing, what they do to a network."""

from math import pi
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.universal.fitting import successes
from fluoroscope.attacks.universal.patch import Patch, put_patch
from fluoroscope.data.digits import digits
from fluoroscope.engine import randomness
from fluoroscope.errors import FluoroscopeError, InvalidParameterError

SHAPE = (2, 12, 10)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def network(seed: int, shape: tuple[int, int, int] = SHAPE) -> fs.Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = nn.Sequential(
            nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], 8), nn.Tanh(), nn.Linear(8, 3)
        )
    return fs.Classifier(module, channels=shape[0])


def put(patch: Tensor, images: Tensor, row: float, column: float, degrees: float = 0,
        width: float | None = None, shape: Any = "square") -> Tensor:  # fmt: skip
    count, side = len(images), patch.shape[-1] if width is None else width
    return put_patch(
        patch, images, torch.tensor([[row, column]] * count).to(patch),
        torch.full((count,), side).to(patch), torch.full((count,), degrees).to(patch), shape,
    )  # fmt: skip


def test_a_square_upright_is_pasted() -> None:
    images, patch = drawn(2, *SHAPE), drawn(2, 3, 3, seed=1)
    expected = images.clone()
    expected[:, :, 4:7, 2:5] = patch
    torch.testing.assert_close(put(patch, images, 5, 3), expected, rtol=0, atol=1e-9)


def test_a_square_is_turned_counter_clockwise_and_enlarged() -> None:
    images, patch = drawn(1, *SHAPE), drawn(2, 4, 4, seed=1)
    turned = put(torch.rot90(patch, 1, (1, 2)), images, 4.5, 4.5)
    torch.testing.assert_close(put(patch, images, 4.5, 4.5, 90), turned, rtol=0, atol=1e-6)
    plain = torch.full((2, 4, 4), 0.25).double()
    large = put(plain, images, 4.5, 4.5, width=8)
    assert (large != images).any(1).sum() == 64
    torch.testing.assert_close(large[:, :, 1:9, 1:9], torch.full((1, 2, 8, 8), 0.25).double())


def test_a_disc_is_round() -> None:
    images = torch.zeros(1, 1, 101, 101).double()
    found = put(torch.ones(1, 20, 20).double(), images, 50, 50, shape="disc", width=60)
    assert found.sum() == pytest.approx(pi * 30**2, rel=0.01)
    rows, columns = (found[0, 0] > 0).nonzero().unbind(1)
    assert ((rows - 50).square() + (columns - 50).square()).max() <= 30**2


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10_000), shape=st.sampled_from(["disc", "square"]),
    rotation=st.floats(0, 180), scaling=st.floats(0, 0.4), share=st.floats(0.1, 0.2),
)  # fmt: skip
def test_only_pixels_of_the_patch_change_and_it_lies_within(
    seed: int, shape: Any, rotation: float, scaling: float, share: float
) -> None:
    images = drawn(6, 1, 30, 32, seed=seed).float()
    attack = Patch(shape=shape, rotation=rotation, scaling=scaling, share=share)
    keys = randomness.keys(seed, torch.arange(6))
    patch = torch.full_like(attack.begin(images), 2.0)  # a value that no picture has
    placed = attack.put(patch, images, keys, 3)
    inside = placed > 1.5
    assert torch.equal(placed[~inside], images[~inside])
    # All of it: its area, up to its jagged edge and the widths that are drawn.
    area = inside.flatten(1).sum(1) / (share * 30 * 32)
    assert (area > 0.75 * (1 - scaling) ** 2).all()
    assert (area < 1.3 * (1 + scaling) ** 2).all()
    assert torch.equal(attack.put(patch, images[2:3], keys[2:3], 3)[0], placed[2])


def test_places_reach_every_edge() -> None:
    images = torch.zeros(400, 1, 20, 30)
    attack = Patch(scaling=0, shape="square", share=0.06, rotation=0)  # 6 pixels wide
    patch = torch.ones_like(attack.begin(images))
    where = attack.put(patch, images, randomness.keys(0, torch.arange(400)), 0).mean(0)[0]
    rows, columns = where.sum(1), where.sum(0)
    assert rows[0] > 0 < rows[-1]
    assert columns[0] > 0 < columns[-1]
    assert rows[0] < rows[9]
    # As often on the left as on the right, above as below.
    assert float(rows[:10].sum() / rows[10:].sum()) == pytest.approx(1, rel=0.15)
    assert float(columns[:15].sum() / columns[15:].sum()) == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize("shape", ["disc", "square"])
def test_the_gradient_at_the_patch_is_that_of_finite_differences(shape: Any) -> None:
    images, gradient = drawn(3, *SHAPE), drawn(3, *SHAPE, seed=1) - 0.5
    attack = Patch(shape=shape, share=0.2)
    keys = randomness.keys(5, torch.arange(3))
    patch = drawn(*attack.begin(images).shape, seed=2).requires_grad_()
    placed = attack.put(patch, images, keys, 1)
    (found,) = torch.autograd.grad(placed, patch, gradient)
    for place in range(0, patch.numel(), 5):
        nudge = torch.zeros(patch.numel()).double()
        nudge[place] = 1e-6
        higher, lower = (
            attack.put(patch.detach() + sign * nudge.view_as(patch), images, keys, 1)
            for sign in (1, -1)
        )
        expected = ((higher - lower) * gradient).sum() / 2e-6
        assert found.reshape(-1)[place].item() == pytest.approx(expected.item(), abs=1e-6)


class Light(nn.Module):
    """Class 1 by the light in the first channel, class 0 by that in the second."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3))
        return torch.stack([mean[:, 1], mean[:, 0]], 1)


@pytest.mark.parametrize("targeted", [True, False])
def test_a_network_that_sums_the_light_has_a_closed_form(targeted: bool) -> None:
    # All there is to do: the first channel full, the second empty.
    model = fs.Classifier(Light(), channels=2)
    images = 0.4 + 0.2 * drawn(8, *SHAPE).float()
    images[:, 1] += 0.02
    classes = torch.full((8,), int(targeted))
    fitted = Patch(share=0.2, epochs=120).fit(model, images, classes, targeted=targeted)
    assert fitted.patch is not None
    middle = fitted.patch.shape[-1] // 2
    assert (fitted.patch[0, middle - 2 : middle + 2] == 1).all()
    assert (fitted.patch[1, middle - 2 : middle + 2] == 0).all()
    unseen = 0.4 + 0.2 * drawn(8, *SHAPE, seed=1).float()
    assert fitted(model, unseen, classes, targeted=targeted).success.all()


def test_a_success_is_one_of_the_places_and_that_one_is_kept() -> None:
    model, images = network(2), drawn(12, *SHAPE).float()
    read = model(images).argmax(1).detach()
    patch = drawn(2, 6, 6, seed=9).float().round()
    one, many = (Patch(share=0.15, patch=patch, places=count) for count in (1, 20))
    first, all_of_them = one(model, images, read), many(model, images, read)
    shares = successes(many, model, images, read)
    assert torch.equal(all_of_them.success, shares > 0)
    assert 0 < shares.mean() < 1
    assert (all_of_them.success | ~first.success).all()
    assert (all_of_them.forwards[~all_of_them.success] == 21).all()
    assert torch.equal(model(all_of_them.images).argmax(1) != read, all_of_them.success)
    # The single place is the first of the many: their share is what it estimates.
    assert torch.equal(successes(one, model, images, read) > 0, first.success)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), shape=st.sampled_from(["disc", "square"]))
def test_in_the_box_and_by_the_sample(seed: int, shape: Any) -> None:
    model, images = network(seed), drawn(5, *SHAPE, seed=seed).float()
    classes = model(images).argmax(1).detach()
    attack = Patch(share=0.15, shape=shape, epochs=2, places=2)
    fitted = attack.fit(model, images, classes, seed=seed, batch_size=2)
    options: dict[str, Any] = {"exact": True, "batch_size": 4, "keep": "last", "seed": seed}
    whole = fitted(model, images, classes, **options)
    assert whole.images.min() >= 0
    assert whole.images.max() <= 1
    assert torch.equal(model(whole.images).argmax(1) != classes, whole.success)
    one = fitted(model, images[3:4], classes[3:4], numbers=torch.tensor([3]), **options)
    assert torch.equal(one.images[0], whole.images[3])
    again = attack.fit(model, images, classes, seed=seed, batch_size=2)
    assert torch.equal(again.patch, fitted.patch)  # type: ignore[arg-type]
    assert not torch.equal(fitted(model, images, classes, **options | {"seed": seed + 1}).images,
                           whole.images)  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"threat": fs.Linf(0.1)}, "not defined for the norm linf"),
        ({"share": 0.0}, "share is 0"),
        ({"share": 1.2}, "share is 1.2"),
        ({"scaling": 1.0}, "scaling is 1.0"),
        ({"rotation": 181}, "rotation is 181"),
        ({"shape": "star"}, "shape is 'star'; expected disc or square"),
        ({"places": 0}, "places is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"step_size": -1.0}, "step_size is -1"),
        ({"patch": "toaster"}, "expected a tensor"),
        ({"patch": torch.zeros(1, 3, 4)}, "as high as wide"),
        ({"patch": torch.full((1, 3, 3), 1.5)}, "expected values in"),
        ({"patch": torch.full((1, 3, 3), float("nan"))}, "expected values in"),
    ],
)
def test_unusable_parameters(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        Patch(**wrong)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"share": 0.9}, "wide; expected at most the pictures' 10"),
        ({"share": 0.6, "shape": "square", "scaling": 0.4}, "wide; expected at most"),
        ({"share": 0.005}, "shrinks to"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(wrong: dict[str, Any], message: str) -> None:
    images = drawn(2, *SHAPE).float()
    for held in ({}, {"patch": torch.zeros(2, 4, 4)}):
        with pytest.raises(InvalidParameterError, match=message):
            Patch(**wrong, **held)(network(0), images, [0, 1], keep="last")


def test_a_patch_of_other_channels_is_refused() -> None:
    with pytest.raises(FluoroscopeError, match="the patch has 3 channel"):
        Patch(patch=torch.zeros(3, 4, 4))(network(0), drawn(2, *SHAPE).float(), [0, 1], keep="last")


def test_it_is_written_to_be_looked_at_and_to_be_printed(tmp_path: Path) -> None:
    paths = Patch(patch=torch.zeros(3, 10, 10)).save_made(tmp_path, "patch")
    small, large = (fs.open_image(str(path), channels=3).image for path in paths[1:])
    assert small.shape == (3, 10, 10)
    assert large.shape == (3, 1200, 1200)
    assert large[:, 0, 0].min() == 1  # white beyond the disc
    assert large[:, 600, 600].max() == 0


def test_as_good_as_arts_patch() -> None:
    # The same 100 digits, discs of 10 pixels, turns, steps of 0.1 and passes (15 epochs of 20),
    # judged on 100 others by our placing: the share of 5 places each that is predicted as a 3.
    pytest.importorskip("art")
    import numpy as np
    from art.attacks.evasion import AdversarialPatchPyTorch
    from art.estimators.classification import PyTorchClassifier

    model, images = fs.load_model("digits-cnn"), digits()[0][:230]
    read = model(images).argmax(1).detach()
    wanted = torch.full_like(read, 3)
    attack = Patch(share=0.1, scaling=0, epochs=15, step_size=0.1, places=5)
    side = attack.begin(images).shape[-1]
    wrapped = PyTorchClassifier(
        model.module.eval(), nn.CrossEntropyLoss(), (1, 28, 28), 10,
        clip_values=(0, 1), device_type="cpu",
    )  # fmt: skip
    peer = AdversarialPatchPyTorch(
        wrapped, rotation_max=22.5, scale_min=side / 28, scale_max=side / 28 + 1e-3,
        learning_rate=0.1, max_iter=15, batch_size=20, patch_shape=(1, 28, 28), verbose=False,
    )  # fmt: skip
    before = np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        np.random.seed(0)
        found, _ = peer.generate(
            images[:100].numpy(), torch.nn.functional.one_hot(wanted[:100], 10).float().numpy()
        )
    np.random.set_state(before)
    theirs = Patch(share=0.1, scaling=0, places=5, patch=torch.from_numpy(found).clamp(0, 1))
    ours = attack.fit(model, images[:100], wanted[:100], targeted=True, batch_size=20)
    rest = torch.arange(100, 230)[read[100:] != 3]
    shares = [
        float(successes(each, model, images[rest], wanted[rest], targeted=True).mean())
        for each in (theirs, ours)
    ]
    assert shares[1] >= shares[0] - 0.03
    assert shares[1] > 0.1


def test_every_epoch_puts_it_elsewhere() -> None:
    seen: list[Tensor] = []

    class Watching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((x.detach() != 1).any(1))
            return x.mean((2, 3))

    model = fs.Classifier(Watching(), channels=2)
    Patch(epochs=3).fit(model, torch.ones(1, *SHAPE), [0])
    seen = seen[-3:]  # the first of all asks how many classes there are
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
