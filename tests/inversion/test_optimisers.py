"""Optimisers of portraits against PyTorch's, on equal gradients, each row at its own step."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.optim import lr_scheduler

import fluoroscope as fs
from fluoroscope.engine.stream import put, take
from fluoroscope.errors import InvalidParameterError
from fluoroscope.inversion.portraits.optimisers import (
    Adam,
    L2Ascent,
    Levelled,
    Momentum,
    NAdam,
    Optimiser,
)
from fluoroscope.inversion.portraits.parameterisations.fourier import Fourier
from fluoroscope.inversion.portraits.recipe import Recipe
from fluoroscope.inversion.portraits.schedules import Constant, Cosine, Schedule, Stairs

STEPS, ROWS = 12, 4


def _gradients(shape: tuple[int, ...] = (2, 3, 2)) -> Tensor:
    """``(steps, rows, *)``, of very different sizes."""
    torch.manual_seed(0)
    sizes = torch.tensor([1e-4, 1.0, 3.0, 50.0], dtype=torch.float64)
    found = torch.randn(STEPS, ROWS, *shape, dtype=torch.float64)
    return found * sizes.view(1, ROWS, *[1] * len(shape))


def _moved(how: Optimiser, gradients: Tensor, start: Tensor | None = None) -> list[list[Tensor]]:
    """Of each row, where it is after each step; now and then a row has to wait for the others."""
    parameters = torch.zeros_like(gradients[0]) if start is None else start
    memory, number = how.start(parameters), torch.zeros(ROWS, dtype=torch.long)
    ways: list[list[Tensor]] = [[] for _ in range(ROWS)]
    turn = 0
    while bool((number < STEPS).any()):
        waits = torch.tensor([(turn + row) % (row + 2) == 0 and row > 0 for row in range(ROWS)])
        rows = (~waits & (number < STEPS)).nonzero()[:, 0]
        gradient = gradients[number.clamp(max=STEPS - 1), torch.arange(ROWS)]
        moved, after = how.step(parameters, gradient, memory, number, STEPS)
        parameters = parameters.index_copy(0, rows, moved[rows])
        memory = put(memory, rows, take(after, rows))
        number[rows] += 1
        for row in rows.tolist():
            ways[row].append(parameters[row].clone())
        turn += 1
    return ways


def _deepinversion(warm_up: int) -> Callable[[int], float]:
    def share(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        behind = torch.tensor((step - warm_up) / (STEPS - warm_up), dtype=torch.float64)
        return float(0.5 * (1 + torch.cos(torch.pi * behind)))

    return share


SCHEDULES: list[tuple[Schedule, Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]]] = [
    (Constant(), lambda o: lr_scheduler.ConstantLR(o, 1.0)),
    (Cosine(), lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS)),
    (Cosine(warm_up=5), lambda o: lr_scheduler.LambdaLR(o, _deepinversion(5))),
    (Stairs(4), lambda o: lr_scheduler.StepLR(o, 4)),
]


@pytest.mark.parametrize(("schedule", "theirs"), SCHEDULES, ids=lambda one: repr(one)[:15])
@pytest.mark.parametrize(
    ("make", "peer", "options"),
    [
        (Adam, torch.optim.Adam, {}),
        (Adam, torch.optim.Adam, {"betas": (0.5, 0.9)}),
        (NAdam, torch.optim.NAdam, {}),
        (NAdam, torch.optim.NAdam, {"betas": (0.5, 0.9), "momentum_decay": 0.1}),
        (Momentum, torch.optim.SGD, {}),
        (Momentum, torch.optim.SGD, {"momentum": 0.9}),
    ],
)
def test_each_row_moves_as_torch_moves_it_alone(make, peer, options, schedule, theirs) -> None:
    gradients = _gradients()
    found = _moved(make(learning_rate=0.7, schedule=schedule, **options), gradients)
    for row in range(ROWS):
        leaf = torch.zeros(2, 3, 2, dtype=torch.float64, requires_grad=True)
        optimiser = peer([leaf], lr=0.7, **options)
        pace = theirs(optimiser)
        assert len(found[row]) == STEPS
        for step in range(STEPS):
            leaf.grad = -gradients[step, row]
            optimiser.step()
            pace.step()
            # PyTorch's NAdam keeps the product of its weights in float32.
            torch.testing.assert_close(found[row][step], leaf.detach(), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("schedule", [Constant(), Stairs(3, 0.5)])
def test_l2_ascent_stays_in_the_ball_and_among_pixels(schedule: Schedule) -> None:
    shape = (2, 3, 4)
    gradients, start = _gradients(shape), torch.rand(ROWS, *shape, dtype=torch.float64)
    gradients[3, 1] = 0
    how = L2Ascent(learning_rate=0.6, eps=1.0, numbers=4 * 24, schedule=schedule)
    found = _moved(how, gradients, start)
    for row in range(ROWS):
        at = start[row]
        for step in range(STEPS):  # both lengths are half as long: the picture is a fourth as large
            slope = gradients[step, row]
            size = 0.3 * schedule.share(step, STEPS)
            at = at + size * slope / slope.norm() if slope.any() else at
            away = at.clamp(0, 1) - start[row]
            at = start[row] + away * min(1, 0.5 / float(away.norm()))
            torch.testing.assert_close(found[row][step], at)
        assert float((at - start[row]).norm()) == pytest.approx(0.5, abs=0.05)
    as_they_are = L2Ascent(learning_rate=0.1, eps=9.0, numbers=None)
    first = as_they_are.step(
        start, gradients[0], as_they_are.start(start), torch.zeros(ROWS), STEPS
    )[0]
    inside = start + 0.1 * gradients[0] / gradients[0].flatten(1).norm(dim=1)[:, None, None, None]
    torch.testing.assert_close(first, inside.clamp(0, 1))


def test_levelled_steps_have_one_mean_size_whatever_the_gradient() -> None:
    gradients = _gradients()
    gradients[2, 3] = 0
    found = _moved(Levelled(learning_rate=0.25), gradients)
    for row in range(ROWS):
        at = torch.zeros_like(gradients[0, 0])
        for step in range(STEPS):
            slope = gradients[step, row]
            at = at + 0.25 * slope / slope.abs().mean() if slope.any() else at
            torch.testing.assert_close(found[row][step], at)


def test_settings_that_are_none_are_refused() -> None:
    for make, words in (
        (lambda: Adam(learning_rate=0), "learning_rate is 0; expected a number above 0"),
        (lambda: Adam(betas=(0.9, 1.0)), r"betas is \(0.9, 1.0\); expected two"),
        (lambda: NAdam(momentum_decay=-1), "momentum_decay is -1"),
        (lambda: Momentum(momentum=1), "momentum is 1; expected 0 up to below 1"),
        (lambda: L2Ascent(eps=float("inf")), "eps is inf; expected a number above 0"),
        (lambda: Cosine(warm_up=-1), "warm_up is -1"),
        (lambda: Stairs(every=0), "every is 0"),
        (lambda: Stairs(factor=0), "factor is 0"),
        (lambda: Recipe(Fourier(), optimiser=L2Ascent()), "which moves pixels, and Fourier"),
    ):
        with pytest.raises(InvalidParameterError, match=words):
            make()


@pytest.mark.parametrize(
    "optimiser",
    [
        NAdam(0.1),
        Momentum(0.01, momentum=0.9),
        L2Ascent(eps=90.0, learning_rate=9.0),
        Levelled(0.05),
    ],
)
def test_portraits_are_moved_by_any_of_them(optimiser: Optimiser) -> None:
    found = fs.portrait(
        fs.load_model("digits-cnn"), [3, 8], method="pixels", steps=10, optimiser=optimiser
    )
    assert (found.curve[:, -1, -1] > found.curve[:, 0, -1]).all()
