"""What all attacks by decisions share: the way they begin, what they read, and what they keep."""

from typing import Any

import pytest
import torch
from decision_networks import deciding
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_networks import curved, pictures, unbounded
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.decision.boundary import Boundary
from fluoroscope.attacks.decision.geoda import GeoDA
from fluoroscope.attacks.decision.hopskipjump import HopSkipJump
from fluoroscope.attacks.decision.start import TRIES, shortened
from fluoroscope.engine.stream import Step

CASES = [(method, norm) for method in (Boundary, HopSkipJump, GeoDA) for norm in method.norms]
by_case = pytest.mark.parametrize(
    ("method", "norm"), CASES, ids=[f"{method.__name__}-{norm}" for method, norm in CASES]
)


def watched(attack: Any, model: fs.Classifier, images: Tensor, classes: Any, **how: Any) -> Any:
    """The result, and each sample's images and whether they were predicted as wanted, in order."""
    seen: list[list[tuple[Tensor, bool]]] = [[] for _ in images]

    def note(step: Step) -> None:
        rows = zip(step.indices.tolist(), step.images, step.reached.tolist(), strict=True)
        for index, image, reached in rows:
            seen[index].append((image, reached))

    return attack(model, images, classes, on_step=note, **how), seen


@by_case
def test_the_decision_is_all_that_is_read(method: Any, norm: str) -> None:
    model, images = curved(), pictures(3)
    classes = model(images).argmax(1)
    attack = method(threat=unbounded(norm), queries=200)
    plain = attack(model, images, classes, seed=3)
    blind = attack(deciding(model), images, classes, seed=3)
    assert plain.success.sum() >= 2
    assert torch.equal(plain.images, blind.images)
    assert (blind.backwards == 0).all()
    assert blind.forwards.max() <= 201


@by_case
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 1000), queries=st.integers(1, 150), targeted=st.booleans())
def test_properties(method: Any, norm: str, seed: int, queries: int, targeted: bool) -> None:
    model, images = curved(seed), pictures(4, seed)
    classes = model(images).argmax(1)
    others = pictures(20, seed + 1)
    wanted = (classes + 1) % 4 if targeted else classes
    attack = method(threat=unbounded(norm), queries=queries, starts=others if targeted else None)
    how: dict[str, Any] = {"targeted": targeted, "seed": seed, "exact": True, "batch_size": 4}
    result, seen = watched(attack, model, images, wanted, **how)

    asked = [torch.stack([image for image, _ in path]) for path in seen if path]
    assert all(len(path) <= queries and path.min() >= 0 and path.max() <= 1 for path in asked)
    assert ((result.images >= 0) & (result.images <= 1)).all()
    reads = model(result.images).argmax(1)
    assert (((reads == wanted) == targeted) == result.success).all()
    for row, path in enumerate(seen):
        hits = [image - images[row] for image, reached in path if reached]
        assert bool(hits) == bool(result.success[row] & ~result.at_start[row])
        if hits:
            assert result.distance[row] == attack.threat.distance(torch.stack(hits)).min()

    again = attack(model, images, wanted, **how)
    assert torch.equal(again.images, result.images)
    alone = attack(model, images[2:3], wanted[2:3], **how, numbers=torch.tensor([2]))
    assert torch.equal(alone.images, result.images[2:3])
    small = attack(model, images, wanted, **(how | {"batch_size": 2}))
    assert torch.allclose(small.distance, result.distance, atol=1e-6)


@by_case
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(1, 4))
def test_many_probes_at_once_find_what_one_by_one_do(
    method: Any, norm: str, seed: int, count: int
) -> None:
    model, images = curved(seed), pictures(count, seed)
    classes = model(images).argmax(1)
    attack = method(threat=unbounded(norm), queries=180)
    alone, one_by_one = watched(attack, model, images, classes, batch_size=count)
    for size in (3 * count, 100):
        crowd, seen = watched(attack, model, images, classes, batch_size=size)
        assert torch.equal(crowd.forwards, alone.forwards)
        torch.testing.assert_close(crowd.images, alone.images, atol=1e-6, rtol=0)
        for together, apart in zip(seen, one_by_one, strict=True):
            assert len(together) == len(apart)
            for (image, reached), (other, hit) in zip(together, apart, strict=True):
                assert reached == hit
                torch.testing.assert_close(image, other, atol=1e-6, rtol=0)


def one_class_but(dark: int) -> fs.Classifier:
    """Classifies everything as class 0 but pictures darker than 0.01, those as the given class."""

    class Network(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            wins = (x.flatten(1).mean(1) < 0.01).long() * dark
            return nn.functional.one_hot(wins, 3).to(x.dtype)

    return fs.Classifier(Network())


@pytest.mark.parametrize("method", [Boundary, HopSkipJump, GeoDA])
def test_a_search_without_a_beginning_ends_and_is_counted(method: Any) -> None:
    images = pictures(3).float()
    result = method(queries=500)(one_class_but(2), images, [0, 0, 0])
    assert not result.success.any()
    assert result.finished.all()
    assert (result.forwards == 1 + TRIES).all()
    assert torch.equal(result.images, images)
    few = method(queries=7)(one_class_but(2), images, [0, 0, 0])
    assert (few.forwards == 8).all()


@pytest.mark.parametrize("method", [Boundary, HopSkipJump, GeoDA])
@pytest.mark.parametrize("targeted", [True, False])
def test_starting_pictures_are_tried_in_an_order_of_the_sample(method: Any, targeted: bool) -> None:
    images, starts = pictures(6).float(), pictures(12, 5).float()
    starts[3] = 0.001
    attack = method(queries=300, starts=starts)
    wanted = [2 if targeted else 0] * 6
    result, seen = watched(attack, one_class_but(2), images, wanted, targeted=targeted)
    assert result.success.all()
    orders = set()
    for path in seen:
        tried = []
        for image, reached in path:
            tried.append(next(row for row in range(12) if torch.equal(image, starts[row])))
            if reached:
                break
        assert tried[-1] == 3
        assert len(set(tried)) == len(tried)
        orders.add(tuple(tried))
    assert len(orders) > 3

    lost = method(queries=300, starts=starts[4:])(
        one_class_but(2), images, wanted, targeted=targeted
    )
    assert not lost.success.any()
    assert (lost.forwards == 1 + 8).all()


@by_case
def test_towards_a_class_from_pictures_of_it(method: Any, norm: str) -> None:
    model, images, starts = curved(), pictures(6), pictures(40, 3)
    classes = (model(images).argmax(1) + 1) % 4
    own: dict[str, Any] = {"subspace": 2} if method is GeoDA else {}
    attack = method(threat=unbounded(norm), queries=400, starts=starts, **own)
    result, seen = watched(attack, deciding(model), images, classes, targeted=True)
    assert result.success.all()
    assert (model(result.images).argmax(1) == classes).all()
    for row, path in enumerate(seen):
        first = next(image for image, reached in path if reached)
        begun = attack.threat.distance((first - images[row])[None])
        assert result.distance[row] < 0.85 * begun


@pytest.mark.parametrize("method", [Boundary, HopSkipJump, GeoDA])
def test_mistakes_are_said(method: Any) -> None:
    model, images = curved(), pictures(2)
    with pytest.raises(fs.FluoroscopeError, match="queries is 0"):
        method(queries=0)
    with pytest.raises(fs.FluoroscopeError, match=r"starts is missing.*give starts"):
        method()(model, images, (model(images).argmax(1) + 1) % 4, targeted=True)
    with pytest.raises(fs.FluoroscopeError, match=r"starts is of shape \(3, 2, 2\)"):
        method(starts=images[0])
    with pytest.raises(fs.FluoroscopeError, match="starts is 'digits'"):
        method(starts="digits")
    with pytest.raises(fs.FluoroscopeError, match="divide 8-bit values"):
        method(starts=255 * images)
    small = method(starts=torch.rand(4, 3, 1, 2))
    with pytest.raises(fs.FluoroscopeError, match=r"\(3, 1, 2\) and the images \(3, 2, 2\)"):
        small(model, images, model(images).argmax(1))


def test_a_success_is_brought_to_the_border_by_halving() -> None:
    model, images = curved(), pictures(4)
    classes = model(images).argmax(1)
    for method, norm, length in ((Boundary, "l2", 10), (HopSkipJump, "linf", 8)):
        attack = method(threat=unbounded(norm), queries=400)
        _, seen = watched(attack, model, images, classes)
        for row, path in enumerate(seen):
            if not any(reached for _, reached in path):
                continue
            first = next(at for at, (_, reached) in enumerate(path) if reached)
            start, low, high = path[first][0], 0.0, 1.0
            if len(path) < first + length:
                continue
            for image, reached in path[first + 1 : first + length - 4]:
                middle = (low + high) / 2
                share = torch.tensor([middle], dtype=torch.double)
                expected = shortened(start[None], images[row][None], share, norm)[0]
                torch.testing.assert_close(image, expected, atol=1e-9, rtol=1e-6)
                low, high = (low, middle) if reached else (middle, high)


def test_an_eps_ends_the_search_where_it_is_asked_to() -> None:
    model, images = curved(), pictures(4)
    classes = model(images).argmax(1)
    free = HopSkipJump(queries=300)(model, images, classes)
    eps = float(free.distance.median())
    bound = HopSkipJump(threat=fs.L2(eps), queries=300)
    kept = bound(model, images, classes, keep="first")
    assert torch.equal(kept.success, free.distance <= eps * (1 + 1e-5) + 1e-6)
    assert (kept.forwards[kept.success] <= free.forwards[kept.success]).all()
