"""Checks of what the network is: its answers, its gradient, and the loss around the pictures.

Their thresholds, beside the rule of shares:

* *neighbours*: a picture counts whose logits, shown alone, differ from those among others by more
  than rounding: by the root of the precision's epsilon, relative to the largest.
* *finite gradient*: a picture counts where the derivative is NaN or infinite at some pixel; where
  it is finite a hair inside the box the attacks go by that, and the check warns at most.
* *zero gradient*: a picture counts where, by the slope at it or at a random start, even the whole
  box would move the lead of its class by less than a thousandth of it.
* *saturation*: where the slope of the cross-entropy at the logits underflows to 0, in float32
  (attacks of other libraries are blind there: the check warns) and in float64 (so are those here:
  it fails). The other losses have their slope still, so this is not a zero gradient.
* *finite differences*: a picture counts where, over 5 random directions, the median difference
  between the slope and the central difference (nudges of 1e-4 in float64) exceeds a quarter of
  their size. Kinks of ReLU between the nudges spoil single directions, not the median. Where the
  two disagree but the slope foretells the changes over the whole ball (correlation above 0.5) it is
  a stand-in that works, as in BPDA, and the check warns at most.
* *smoothness*: where noise of the size of an attack's step (a sixteenth of the ball, PGD's own)
  changes the lead by more than a tenth on average, the threshold of Pintor et al., and by more than
  half of what the slope can make of such a step: no linear function does that, so a network that
  is merely fooled easily does not count.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from fluoroscope.engine.first_look import batch_noise
from fluoroscope.engine.objectives import MARGIN
from fluoroscope.engine.randomness import uniform
from fluoroscope.evaluation.check import Check, Status, by_share, ending
from fluoroscope.evaluation.trust.bench import ANSWERS, Bench
from fluoroscope.models.wrappers.randomised import random_state_aside

VANISHING = 1e-3
DIRECTIONS = 5
DISAGREEMENT = 0.25
STAND_IN = 0.5
DRAWS = 10
UNSTABLE = 0.1
BEYOND_LINEAR = 0.5


def outputs(bench: Bench) -> Check:
    """Are these logits, or have they been through a softmax?"""
    logits = bench.logits
    sums = (logits.sum(1) - 1).abs().max().item()
    softmax = sums < 1e-3 and bool((logits >= 0).all())
    return Check(
        "outputs",
        "warn" if softmax else "pass",
        "The network returns probabilities: attacks on logits then push against a softmax of a "
        "softmax. Take the last layer away, or return the logarithm."
        if softmax
        else "The network returns logits.",
        {"pictures": bench.count, "probabilities": softmax},
    )


def randomness(bench: Bench) -> Check:
    """Does the same picture get the same answer?"""
    bench.stop()
    drawn = bench.is_random
    words = f"{ANSWERS} answers to the same pictures are the same."
    if drawn:
        words = (
            "The same picture gets another answer each time: a success may be luck, and so may "
            "what survives. Take the expectation: the plan rand, or EOT(model)."
        )
    elif bench.draws:
        words = "The network draws at random, and its expectation is taken (EOT)."
    return Check(
        "randomness", "fail" if drawn else "pass", words,
        {"pictures": bench.count, "answers": ANSWERS, "random": drawn},
    )  # fmt: skip


def batch(bench: Bench) -> Check:
    """Does a picture get the same answer alone as among others?"""
    bench.stop()
    among, alone = bench.logits, bench.alone
    noise = batch_noise(bench.model, bench.alone.to(bench.images.dtype))
    apart = int(((among - alone).abs().amax(1) > noise).sum())
    other = int((among.argmax(1) != alone.argmax(1)).sum())
    status = by_share(apart, bench.count)
    words = (
        f"{apart} of {bench.count} pictures get another answer alone than in a batch with others, "
        f"and {other} another class"
    ) + ending(
        status,
        "a success in a batch need not be one for the picture by itself. Give batch norm its "
        "running statistics, or evaluate with a batch size of 1",
    )
    return Check(
        "neighbours in the batch", status, words,
        {"pictures": bench.count, "apart": apart, "another_class": other},
    )  # fmt: skip


def test_time(bench: Bench) -> Check:
    """Does the network differentiate something while it answers?"""
    with _derivatives_counted() as calls, torch.no_grad(), random_state_aside(bench.images.device):
        bench.add(1, plain=True)
        bench.model.plain(bench.images[:1])
    status: Status = "warn" if calls else "pass"
    words = "The network computes no derivatives while it answers."
    if calls:
        words = (
            "The network computes derivatives while it answers, as a defence does that "
            "optimises its input: attacks do not see through that. Attack it with the "
            "optimisation unrolled, or through a stand-in (BPDA)."
        )
    return Check(
        "test-time optimisation", status, words, {"pictures": 1, "derivatives": len(calls)}
    )


def differentiable(bench: Bench) -> Check:
    """Does the gradient come through at all?"""
    cut = bench.no_gradient
    words = "The logits depend differentiably on the pixels."
    if cut:
        words = (
            "No gradient comes through the network, so no white-box attack can be made, and "
            "what black-box ones leave may not be robust. Replace the layer that cuts it (BPDA), "
            "or take the detach() or no_grad() out."
        )
    return Check(
        "differentiable",
        "fail" if cut else "pass",
        words,
        {"pictures": bench.count, "gradient": not cut},
    )


def finite(bench: Bench) -> Check:
    """Is the gradient a number at every pixel?"""
    broken, lost = bench.clean.not_finite, bench.clean.lost
    assert broken is not None
    assert lost is not None
    count, gone = int((broken > 0).sum()), int((lost > 0).sum())
    status = by_share(gone, bench.count)
    if status == "pass" and by_share(count, bench.count) != "pass":
        status = "warn"
    words = (
        f"On {count} of {bench.count} pictures the gradient is NaN or infinite at some pixels, on "
        f"{gone} also a hair inside the box"
    ) + ending(
        status,
        "the attacks go by the slope a hair further, or leave those pixels as they are; those of "
        "other libraries find nothing there. Keep the input away from where a root or a logarithm "
        "has no slope (clamp it), or replace that in the pass back (BPDA)",
    )
    return Check(
        "finite gradient", status, words,
        {"pictures": bench.count, "not_finite": count, "lost": gone},
    )  # fmt: skip


def zero_gradient(bench: Bench) -> Check:
    """Does the gradient say where to go?"""
    points = [(bench.clean, bench.images)]
    if bench.ball is not None:
        start = bench.ball.random(bench.keys, bench.images)
        points.append((bench.ask(start, gradient=True), start))
    flat = torch.zeros(bench.count, dtype=torch.bool, device=bench.images.device)
    zero = 0
    for answer, _ in points:
        assert answer.gradient is not None
        assert answer.objective is not None
        size = answer.gradient.double().abs().flatten(1).sum(1)
        flat |= size <= VANISHING * answer.objective.abs()
        zero = max(zero, int((size == 0).sum()))
    count = int(flat.sum())
    status = by_share(count, bench.count)
    words = (
        f"On {count} of {bench.count} pictures the gradient of the logits is zero or vanishes"
    ) + ending(
        status,
        "gradient attacks do not move there. Replace what flattens it (quantisation, a "
        "saturated layer) in the pass back (BPDA), and look at black-box attacks",
    )
    return Check(
        "zero gradient", status, words,
        {"pictures": bench.count, "vanishing": count, "zero": zero},
    )  # fmt: skip


def saturation(bench: Bench) -> Check:
    """Has the cross-entropy a slope at the logits?"""
    logits = bench.logits
    own = logits.gather(1, bench.classes[:, None])
    others = logits.scatter(1, bench.classes[:, None], -torch.inf)
    odds = (own - others.logsumexp(1, keepdim=True)).squeeze(1)
    # The probability that the class is another: how long the slope is.
    blind = int((torch.sigmoid(-odds) == 0).sum())
    # Elsewhere the slope is the softmax, less 1 for the class itself.
    shares = logits.float().softmax(1).scatter(1, bench.classes[:, None], 0)
    blind32 = int((shares == 0).all(1).sum())
    status = by_share(blind, bench.count)
    if status == "pass" and by_share(blind32, bench.count) != "pass":
        status = "warn"
    where = "float64, in which it is taken here" if blind else "float32"
    words = (
        f"On {max(blind, blind32)} of {bench.count} pictures the cross-entropy has no slope "
        f"left in {where}"
    ) + ending(
        status,
        "attacks on it are blind, those on the difference of logits ratio are not (apgd-t, "
        "fab-t). Divide the logits by a constant: no decision changes",
    )
    return Check(
        "saturation", status, words,
        {"pictures": bench.count, "without_slope_float64": blind,
         "without_slope_float32": blind32,
         "median_lead": float(MARGIN(logits, bench.classes).median())},
    )  # fmt: skip


def finite_differences(bench: Bench) -> Check:
    """Is the gradient the derivative of what the network computes?"""
    twin, nudge = bench.in_double()
    # A little inside the box, so that a network that clamps its input bends nowhere near.
    at = (0.01 + 0.98 * bench.images).to(twin.dtype)
    reach = 0.1 if bench.ball is None else bench.reach()
    here = bench.ask(at, model=twin, gradient=True)
    assert here.gradient is not None
    slope = here.gradient.double()
    noise = 300 * torch.finfo(twin.precision).eps * here.logits.abs().amax(1).double()
    foretold, found, far, far_foretold = [], [], [], []
    for number in range(DIRECTIONS):
        drawn = uniform(bench.keys, 100 + number, tuple(at.shape[1:]))
        signs = (drawn - 0.5).sign().to(at)
        lead = [bench.lead(at + by * signs, model=twin) for by in (nudge, -nudge)]
        foretold.append((slope * signs).flatten(1).sum(1))
        found.append((lead[0] - lead[1]) / (2 * nudge))
        ends = [(at + by * signs).clamp(0, 1) for by in (reach, -reach)]
        far_foretold.append((slope * (ends[0] - ends[1])).flatten(1).sum(1))
        far.append(bench.lead(ends[0], model=twin) - bench.lead(ends[1], model=twin))
    by_slope, by_difference = torch.stack(foretold, 1), torch.stack(found, 1)
    apart = (by_slope - by_difference).abs().median(1).values
    size = torch.maximum(by_slope.abs(), by_difference.abs()).square().mean(1).sqrt()
    wrong = apart > DISAGREEMENT * size + noise / nudge
    steps = (by_difference.abs().amax(1) <= noise / nudge) & (
        torch.stack(far, 1).abs().amax(1) > 10 * noise
    )
    count, plateaus = int((wrong | steps).sum()), int(steps.sum())
    agreement = _correlation(torch.stack(far_foretold, 1), torch.stack(far, 1))
    status = by_share(count, bench.count)
    stands_in = status == "fail" and agreement > STAND_IN
    if stands_in:
        status = "warn"
    words = (
        f"On {count} of {bench.count} pictures the gradient is not the slope that differences "
        f"find, on {plateaus} the network is flat close by and not further away"
    )
    if stands_in:
        words += (
            ", yet it foretells the changes over the whole ball: a stand-in that works, as in "
            "BPDA. What it leaves should be looked at by black-box attacks too."
        )
    else:
        words += ending(
            status,
            "gradient attacks follow something else than the network. Find the layer "
            "whose backward pass is wrong (fluoroscope gradient --check), or whose steps or "
            "bends hide the slope, and replace it (BPDA)",
        )
    return Check(
        "finite differences", status, words,
        {"pictures": bench.count, "disagreeing": count, "plateaus": plateaus,
         "correlation_over_the_ball": round(agreement, 4),
         "median_difference": float((apart / size.clamp(min=1e-300)).median()),
         "precision": str(twin.precision).removeprefix("torch.")},
    )  # fmt: skip


def smoothness(bench: Bench) -> Check:
    """Does the loss stay put under noise no larger than a step?"""
    assert bench.ball is not None
    size = bench.reach() / 16
    change = torch.zeros(bench.count, dtype=torch.double, device=bench.images.device)
    lead = bench.clean.objective
    slope = bench.clean.gradient
    assert lead is not None
    assert slope is not None
    for number in range(DRAWS):
        noise = 2 * uniform(bench.keys, 200 + number, tuple(bench.images.shape[1:])) - 1
        moved = (bench.images + size * noise.to(bench.images)).clamp(0, 1)
        change += (bench.lead(moved) - lead).abs() / DRAWS
    by_slope = size * slope.double().abs().flatten(1).sum(1)
    share = change / lead.abs()
    count = int(((share > UNSTABLE) & (change > BEYOND_LINEAR * by_slope)).sum())
    status = by_share(count, bench.count)
    words = (
        f"On {count} of {bench.count} pictures noise of the size of one step changes the lead "
        f"of the class by more than {UNSTABLE:.0%} and than the slope accounts for"
    ) + ending(
        status,
        "the loss is too rough to be followed. Average the gradient over noise or over the "
        "network's own randomness (EOT)",
    )
    return Check(
        "smoothness", status, words,
        {"pictures": bench.count, "unstable": count, "median_change": share.median().item(),
         "median_beyond_slope": float((change / by_slope.clamp(min=1e-300)).median())},
    )  # fmt: skip


def _correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's, of two tensors of one shape; 0 where one of them does not vary."""
    pair = torch.stack([one.flatten(), other.flatten()])
    return float(torch.corrcoef(pair)[0, 1].nan_to_num())


@contextmanager
def _derivatives_counted() -> Iterator[list[str]]:
    """Inside, every call of PyTorch's for derivatives by this thread is noted."""
    watched = {
        function.__code__: function.__name__
        for function in (torch.autograd.grad, torch.autograd.backward)
    }
    calls: list[str] = []
    before = sys.getprofile()

    def see(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code in watched:
            calls.append(watched[frame.f_code])

    sys.setprofile(see)
    try:
        yield calls
    finally:
        sys.setprofile(before)
