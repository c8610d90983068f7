"""L-BFGS: closed forms, SciPy's minimiser at the same c, the recursion against its matrix."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from l2_networks import curved, linear, path
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

import fluoroscope as fs
from fluoroscope.attacks.minimum_norm.lbfgs import LBFGS, descent_direction
from fluoroscope.errors import InvalidParameterError

# Closed forms.


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("shape", [(3, 2, 2), (1, 16, 16)])
def test_the_border_between_two_classes_is_met_at_its_nearest_point(
    shape: tuple[int, ...], targeted: bool
) -> None:
    model, images, own, distance = linear(2, shape, 3, least=0.05)
    classes = 1 - own if targeted else own
    result = LBFGS()(model, images, classes, targeted=targeted)
    assert result.success.all()
    ratio = result.distance / distance.amin(1)
    assert ratio.max() <= 1.03
    assert ratio.min() >= 0.9999


# The minimiser.


def loss_for(model: fs.Classifier, image: Tensor, label: Tensor, c: float, targeted: bool) -> Any:
    """The paper's loss and its gradient for one image, as SciPy wants them."""

    def loss(flat: Any) -> tuple[float, Any]:
        x = torch.as_tensor(flat).view_as(image).requires_grad_()
        z = model(x[None])[0]
        p = F.log_softmax(z, 0)
        others = torch.cat([p[:label], p[label + 1 :]]).logsumexp(0)
        value = (x - image).square().sum() - c * (p[label] if targeted else others)
        (gradient,) = torch.autograd.grad(value, x)
        return value.item(), gradient.flatten().numpy()

    return loss


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("c", [0.05, 1.0, 30.0])
def test_a_search_ends_as_low_as_scipys_l_bfgs_b(c: float, targeted: bool) -> None:
    model, images, own = curved()
    classes = (own + 1) % 4 if targeted else own
    attack = LBFGS(searches=1, steps=200, c=c)
    result, points = path(attack, model, images, classes, targeted=targeted)
    assert (result.forwards < 100).all()
    at_ends, as_low = False, 0
    for image, label, found in zip(images, classes, points, strict=True):
        loss = loss_for(model, image, label, c, targeted)
        start = image.flatten().numpy()
        best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, 1)] * len(start))
        values = [loss(point.flatten().numpy())[0] for point in found]
        as_low += min(values) <= 1.001 * best.fun
        assert values[0] == pytest.approx(loss(start)[0])
        last = found[values.index(min(values))]
        slope = torch.as_tensor(loss(last.flatten().numpy())[1]).view_as(last)
        projected = (last - slope).clamp(0, 1) - last
        assert projected.norm() <= 0.03 * max(1.0, c)
        at_ends |= bool((((last == 0) & (slope > 0.01)) | ((last == 1) & (slope < -0.01))).any())
    assert at_ends
    # A curved loss has several valleys, and one may end in another.
    assert as_low >= len(images) - 1


def test_in_exact_arithmetic_one_step_solves_what_is_only_distance() -> None:
    # With next to no weight on the cross-entropy, Newton's step for the distance is the answer.
    model, images, own = curved()
    result, points = path(LBFGS(searches=1, c=1e-6), model, images, own)
    assert (result.forwards <= 4).all()
    for image, found in zip(images, points, strict=True):
        assert torch.equal(found[0], image)
        assert 0 < (found[1] - image).norm() < 1e-5


def matrix(moves: Tensor, turns: Tensor) -> Tensor:
    """The inverse Hessian by the BFGS formula, oldest pair first (Nocedal and Wright, 6.17)."""
    eye = torch.eye(moves.shape[1], dtype=moves.dtype)
    newest = moves[0] @ turns[0] / (turns[0] @ turns[0])
    inverse = newest * eye
    for s, y in zip(moves.flip(0), turns.flip(0), strict=True):
        left = eye - torch.outer(s, y) / (s @ y)
        inverse = left @ inverse @ left.T + torch.outer(s, s) / (s @ y)
    return inverse


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_direction_is_that_of_the_bfgs_matrix_over_the_free_values(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    gradient = torch.randn(3, 1, 2, 4, generator=generator).double()
    hessian = torch.randn(3, 8, 8, generator=generator).double()
    hessian = hessian @ hessian.mT + torch.eye(8)
    moves = torch.zeros(3, 4, 1, 2, 4).double()
    moves[:, :count] = torch.randn(3, count, 1, 2, 4, generator=generator).double()
    turns = (moves.flatten(2) @ hessian).view_as(moves)
    free = torch.ones_like(gradient, dtype=torch.bool)
    free[1:, 0, 0, :2] = False
    # Held values do not count: over the others a pair may not bend upwards, and is left out.
    found = descent_direction(gradient, moves, turns, free)
    assert (found[~free] == 0).all()
    for row in range(3):
        mask = free[row].flatten()
        s, y = (past[row, :count].flatten(1)[:, mask] for past in (moves, turns))
        good = (s * y).sum(1) > 0
        s, y = s[good], y[good]
        slope = gradient[row].flatten()[mask]
        expected = -(matrix(s, y) @ slope) if len(s) else -0.5 * slope
        torch.testing.assert_close(found[row].flatten()[mask], expected)


def test_without_a_past_it_is_half_the_gradient() -> None:
    gradient = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(2, 3, 1, 2, 2)
    free = torch.ones_like(gradient, dtype=torch.bool)
    assert torch.equal(descent_direction(gradient, nothing, nothing, free), -gradient / 2)


@pytest.mark.parametrize("memory", [1, 10])
def test_every_accepted_point_is_lower_than_the_last(memory: int) -> None:
    model, images, own = curved()
    attack = LBFGS(searches=1, steps=60, c=5, memory=memory)
    _, points = path(attack, model, images, own)
    for image, label, found in zip(images, own, points, strict=True):
        loss = loss_for(model, image, label, 5, False)
        values = [loss(point.flatten().numpy())[0] for point in found]
        lowest = [min(values[: k + 1]) for k in range(len(values))]
        # The line search goes back, so it is rarely refused twice.
        falls = sum(now < before for before, now in pairwise(lowest))
        assert falls >= 0.5 * (len(values) - 1)


def test_more_memory_needs_fewer_evaluations() -> None:
    model, images, own = curved()
    short, long = (LBFGS(c=0.1, memory=memory)(model, images, own) for memory in (1, 10))
    assert long.forwards.sum() < short.forwards.sum()


# The search for c.


def test_c_rises_tenfold_until_the_minimiser_succeeds_and_is_then_bisected() -> None:
    model, images, own = curved()
    attack = LBFGS(searches=6, c=1e-3)
    _, points = path(attack, model, images[:1], own[:1])
    # A search begins where the clean image is looked at again.
    begun = [k for k, point in enumerate(points[0]) if torch.equal(point, images[0])]
    assert len(begun) == 6
    c, lower, upper = 1e-3, 0.0, math.inf
    for first, following in zip(begun, [*begun[1:], len(points[0])], strict=True):
        loss = loss_for(model, images[0], own[0], c, False)
        found = points[0][first:following]
        values = [loss(point.flatten().numpy())[0] for point in found]
        # Half the gradient of this c's loss.
        slope = torch.as_tensor(loss(images[0].flatten().numpy())[1]).view_as(images[0])
        torch.testing.assert_close(found[1], (images[0] - slope / 2).clamp(0, 1))
        fooled = bool(model(found[values.index(min(values))][None]).argmax() != own[0])
        lower, upper = (lower, c) if fooled else (c, upper)
        c = (lower + upper) / 2 if upper < math.inf else 10 * c
    assert 0 < lower < upper < math.inf


@pytest.mark.parametrize(
    "wrong",
    [
        {"threat": fs.Linf(1)},
        {"searches": 0},
        {"steps": 1},
        {"memory": 0},
        {"c": 0.0},
        {"c": math.nan},
    ],
)
def test_unusable_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match="expected") as caught:
        LBFGS(**wrong)
    assert next(iter(wrong)) in str(caught.value) or "norm" in str(caught.value)


def test_as_good_as_ddn_on_digits(reader: Any) -> None:
    # No maintained library has this attack.
    model, images, classes = reader
    images, classes = images[:6], classes[:6]
    ours = LBFGS(steps=25)(model, images, classes)
    best = fs.attack("ddn")(model, images, classes)
    assert ours.success.all()
    assert ours.distance.mean() <= 1.05 * best.distance.mean()
