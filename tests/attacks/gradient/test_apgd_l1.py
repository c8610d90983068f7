"""Auto-PGD in L1 against a slow version for one sample, and what must always hold."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from l2_networks import curved, path
from linear_networks import shortest_move
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.gradient.apgd import APGD, APGDT

# The paper's algorithm, for one image.


def onto(x: Tensor, original: Tensor, eps: float) -> Tensor:
    """Onto ball and box: all differences shrink alike, by bisection, and are cut at the box."""
    away = x - original
    room = torch.where(away > 0, 1 - original, original)

    def cut(by: float) -> Tensor:
        return (away.abs() - by).clamp(min=0).minimum(room)

    low, high = 0.0, float(away.abs().max())
    if cut(0).sum() > eps:
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if cut(middle).sum() > eps else (low, middle)
        low = high
    return original + cut(low) * away.sign()


def slowly(look: Any, image: Tensor, start: Tensor, eps: float, steps: int) -> list[Tensor]:
    """The points of the search from wide balls to the narrow one."""
    wide, size, points = int(0.3 * steps), image.numel(), []
    x = start
    for radius, count in ((3 * eps, wide), (2 * eps, wide), (eps, steps - 2 * wide)):
        if not count:
            continue
        x = onto(x, image, radius)
        first = not points
        changed = size if first else int((x != image).sum())
        k, eta = 0.2 * size if first else changed / 1.5, radius
        value, gradient = look(x)
        best = (value, x, gradient)
        points.append(x)
        for made in range(count):
            if made and made % max(int(0.04 * count), 1) == 0:
                now = int((best[1] != image).sum())
                k = now / 1.5
                if now / changed < 0.95:
                    eta = radius
                    _, x, gradient = best
                else:
                    eta = max(eta / 1.5, radius / 10)
                changed = now
            top = gradient.abs().flatten().sort(descending=True).values[max(math.ceil(k), 1) - 1]
            along = gradient.sign() * (gradient.abs() >= top)
            x = onto(x + eta * along / along.abs().sum(), image, radius)
            value, gradient = look(x)
            points.append(x)
            if value > best[0]:
                best = (value, x, gradient)
        x = best[1]
    return points


@pytest.mark.parametrize(("steps", "eps"), [(1, 0.3), (3, 0.3), (20, 0.3), (60, 0.1), (90, 1.5)])
def test_the_path_is_the_slow_one(steps: int, eps: float) -> None:
    model, images, own = curved(classes=6)
    attack = APGD(threat=fs.L1(eps), steps=steps)
    _, paths = path(attack, model, images, own, keep="best")
    same = []
    for image, label, found in zip(images, own, paths, strict=True):

        def look(x: Tensor, y: Tensor = label) -> tuple[float, Tensor]:
            x = x.clone().requires_grad_()
            loss = nn.functional.cross_entropy(model(x[None]), y[None])
            (gradient,) = torch.autograd.grad(loss, x)
            return float(loss.detach()), gradient

        expected = torch.stack(slowly(look, image, found[0], eps, steps))
        assert len(found) == len(expected)
        apart = (found - expected).flatten(1).abs().amax(1) > 1e-7
        same.append(not bool(apart.any()))
        assert not apart[:3].any()
    # Where a value lies at the very cut, rounding says whether it counts as changed.
    assert sum(same) >= len(same) - 1


def test_balls_shrink_and_what_counts_lies_in_the_last() -> None:
    model, images, own = curved()
    attack = APGD(threat=fs.L1(0.2), steps=20)
    result, paths = path(attack, model, images, own, keep="best")
    seen = torch.stack(paths)
    away = (seen - images[:, None]).flatten(2).abs().sum(2)
    for rows, radius in (
        (slice(0, 1), 0.2),
        (slice(7), 0.6),
        (slice(7, 14), 0.4),
        (slice(14, None), 0.2),
    ):
        assert away[:, rows].max() == pytest.approx(radius)
    assert seen.min() >= 0
    assert seen.max() <= 1
    assert (result.distance <= 0.2 + 1e-6).all()
    assert result.forwards.tolist() == [24] * len(images)  # three beginnings and the clean image
    assert result.backwards.tolist() == [20] * len(images)


@pytest.mark.parametrize("targeted_loss", [False, True])
def test_on_a_linear_network_it_finds_what_there_is_and_no_more(targeted_loss: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(48, 2).double()
    layer.weight.data = torch.randn(2, 48, generator=generator).double()
    layer.bias.data = -layer.weight.data.sum(1) / 2
    model = fs.Classifier(nn.Sequential(nn.Flatten(), layer), channels=3)
    images = torch.rand(6, 3, 4, 4, generator=generator).double()
    logits = model(images).detach()
    own = logits.argmax(1)
    for row in range(6):
        mine = int(own[row])
        slope = (layer.weight[1 - mine] - layer.weight[mine]).detach().numpy()
        gap = float(logits[row, mine] - logits[row, 1 - mine])
        nearest = shortest_move(images[row].flatten().numpy(), slope, gap, "l1")
        for share in (0.99, 1.05):
            threat = fs.L1(share * nearest)
            attack = APGDT(threat=threat) if targeted_loss else APGD(threat=threat)
            result = attack(model, images[row], own[row : row + 1])
            assert result.success.item() == (share > 1)


@pytest.mark.parametrize("kind", [APGD, APGDT])
@pytest.mark.parametrize("targeted", [False, True])
def test_neighbours_do_not_matter(kind: Any, targeted: bool) -> None:
    model, images, own = curved()
    classes = (own + 1) % 4 if targeted else own
    attack = kind(threat=fs.L1(1), steps=12)
    whole = attack(model, images, classes, targeted=targeted, restarts=2)
    parts = attack(model, images, classes, targeted=targeted, restarts=2, batch_size=2)
    torch.testing.assert_close(whole.images, parts.images, rtol=0, atol=1e-9)
    assert torch.equal(whole.forwards, parts.forwards)
    assert whole.success.any()
    read = model(whole.images).argmax(1) == classes
    assert torch.equal(whole.success, read == targeted)
    assert (whole.distance <= 1 + 1e-6).all()
    again = attack(model, images, classes, targeted=targeted, restarts=2)
    assert torch.equal(whole.images, again.images)


def test_the_series_of_targets_has_a_search_for_each() -> None:
    model, images, own = curved()
    attack = APGDT(threat=fs.L1(1e-3), steps=10)
    result = attack(model, images, own, keep="best")
    # Three wrong classes; each search begins three times; the clean image is seen twice.
    assert result.forwards.tolist() == [3 * 13 + 2] * len(images)
    assert result.backwards.tolist() == [30] * len(images)


def test_stronger_than_a_peer_and_plain_pgd(reader: tuple[fs.Classifier, Tensor, Tensor]) -> None:
    """More than ART's Auto-PGD and its PGD in L1, which do not mind the box."""
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    model, images, classes = reader
    eps, steps = 3.0, 40
    ours = fs.attack("apgd", norm="l1", eps=eps, steps=steps)(model, images, classes)
    wrapped = PyTorchClassifier(
        model.module.eval(), nn.CrossEntropyLoss(), tuple(images.shape[1:]), 10,
        clip_values=(0, 1), device_type="cpu",
    )  # fmt: skip
    for name, more in (
        ("AutoProjectedGradientDescent", {"eps_step": eps / 5, "nb_random_init": 1}),
        ("ProjectedGradientDescent", {"eps_step": eps / 10, "num_random_init": 1}),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            np.random.seed(0)
            torch.manual_seed(0)
            peer = getattr(evasion, name)(
                wrapped, norm=1, eps=eps, max_iter=steps, batch_size=32, verbose=False, **more
            )
            found = torch.from_numpy(peer.generate(images.numpy(), classes.numpy()))
        fooled = int((model(found).argmax(1) != classes).sum())
        assert int(ours.success.sum()) >= fooled + 2
