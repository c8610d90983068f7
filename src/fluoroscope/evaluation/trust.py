"""Can a robust accuracy be trusted? Checks of the network and of how attacks fare against it.

A network that hides its gradient, draws at random or bends its loss makes attacks fail without
being robust. The checks are those of AutoAttack's flags (Croce and Hein 2020, 2003.01690: random
answers, probabilities in place of logits, zero gradients, optimisation at test time, Square above
the white-box attacks), the indicators of attack failure (Pintor et al. 2022, 2106.09947) and the
tests for masked gradients of Carlini et al. 2019 (1902.06705) and Athalye et al. 2018 (1802.00420).

**The rule of shares.** Most checks count pictures on which something is wrong. Of few pictures a
count says little, so a share counts for no more than the lower end of its 95 % Wilson interval:
above 2 % the check warns, above 10 % it fails, and one picture of several never counts. Of 64
pictures that is from 4 and from 12 on. The first is about what one attack may honestly leave to the
next (against an adversarially trained MNIST network Square still finds 1.2 points after
AutoAttack's three white-box attacks); a tenth is more than any two published evaluations of an
honest network differ by.

The other thresholds:

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
* *loss*: where 20 steps of gradient ascent end no higher than they began; and a warning if fewer
  than half of the steps rise, which a coin would do.
* *single step*: where one step is misread half way but not at its end, or fools where 20 steps fail
  (Carlini et al.: iterated attacks are never weaker); and a warning where 20 steps fool at least
  half of the pictures and one step less than a quarter of these, a failure below a tenth: the
  loss is bent as in catastrophic overfitting (Wong et al. 2020, 2001.03994; Kim et al. 2021,
  2010.01799).
* *growing eps*, *no bound*: in the whole box every picture can become any other, so one that holds
  is a failed search. One is a warning; the rule's 2 % is a failure. The norm is the threat's own: a
  network trained in Linf does hide its gradient in L2 (Tramèr and Boneh 2019, 1904.13000).
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from types import FrameType
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from fluoroscope.attacks.registry import attack
from fluoroscope.engine import chance
from fluoroscope.engine.classes import as_classes
from fluoroscope.engine.evaluate import Answer, evaluate
from fluoroscope.engine.objectives import MARGIN
from fluoroscope.engine.predict import check_batch_size, predict
from fluoroscope.engine.run import Keep
from fluoroscope.engine.stream import DEFAULT_BATCH, Step
from fluoroscope.engine.threats import L2, Linf, Threat, as_threat
from fluoroscope.errors import (
    FluoroscopeError,
    FluoroscopeWarning,
    InvalidImagesError,
    InvalidParameterError,
    NoGradientError,
)
from fluoroscope.evaluation.plan import Plan
from fluoroscope.evaluation.verdict import wilson
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.wrappers.randomised import EOT, chance_aside, is_random
from fluoroscope.pictures.checks import check_images

Status = Literal["pass", "warn", "fail"]

WARN = 0.02
FAIL = 0.1
MOST_PICTURES = 64
"""Pictures that are looked at, where they are small."""
MOST_LARGE_PICTURES = 16
"""And where they have more than ``LARGE`` values."""
LARGE = 3 * 64 * 64

ANSWERS = 5
"""Times the same pictures are shown to see whether the answers differ, as AutoAttack does."""
DIRECTIONS = 5
NUDGE = 1e-4
NUDGE_FLOAT32 = 1e-3
"""The smallest that rounding does not drown."""
DISAGREEMENT = 0.25
STAND_IN = 0.5
VANISHING = 1e-3
DRAWS = 10
UNSTABLE = 0.1
BEYOND_LINEAR = 0.5
STEPS = 20
FRACTIONS = (0.25, 0.5, 0.75, 1.0)
WHITE_BOX_STEPS = 100
RESTARTS = 5
QUERIES = 500
SMOOTHED = 8
"""Draws of noise whose mean the smoothed gradient is."""


@dataclass(frozen=True)
class Check:
    """What one look for a reason not to trust a robust accuracy found."""

    name: str
    status: Status
    words: str
    """One or two sentences: what was seen, and where that is bad how to mend it."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """The numbers, as plain values; ``pictures`` is how many were looked at."""
    forwards: int = 0
    """Images that went through the network for it."""
    backwards: int = 0

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def trust_checks(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    threat: Threat | str,
    *,
    pictures: int | None = None,
    seed: int = 0,
    batch_size: int = DEFAULT_BATCH,
    on_check: Callable[[Check], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[Check, ...]:
    """Look for reasons not to trust a robust accuracy.

    Args:
        model: the network as it is attacked: prepared for speed, or within an expectation.
        images: ``(N, C, H, W)`` in ``[0, 1]``.
        labels: ``(N,)``, the true class of each.
        threat: how far an image may move, as for :func:`fluoroscope.evaluate`. The attacks here are
            made in Linf and L2; in the place of another ball comes the smallest of L2 around it.
        pictures: how many of those that the network reads right, the first ones, are looked at; by
            default 64, and 16 where they are larger than 64×64 in colour. The cost is at most about
            1,550 forward and 750 backward passes each.
        seed: for everything random.
        batch_size: images evaluated at once.
        on_check: called with each check as soon as it is made.
        cancelled: asked at every step; once true, the checks made so far are the answer.

    Returns:
        The checks. Those that need what the network does not have (a gradient, the same answer
        twice) or a bound that the threat does not give are left out.

    Raises:
        InvalidImagesError: no batch of images, or none that is read as labelled.
        UnknownLabelError, InvalidParameterError: other unusable input.
    """
    threat = as_threat(threat) if isinstance(threat, str) else threat
    batch = check_images(images, model.channels).to(model.device, model.dtype)
    classes = as_classes(model, labels, batch)
    size = check_batch_size(batch_size)
    with chance_aside(batch.device, seed):
        read = predict(model.plain, batch, batch_size=size).winners.to(classes)
    most = most_pictures(model, batch[0].numel()) if pictures is None else pictures
    if most < 1:
        raise InvalidParameterError(f"pictures is {pictures}; expected 1 or more")
    rows = (read == classes).nonzero().squeeze(1)[:most]
    if not len(rows):
        raise InvalidImagesError(
            f"{model.name} reads none of the {len(batch)} image(s) as labelled; expected some, "
            "since only those can be attacked"
        )
    bench = _Bench(model, batch[rows], classes[rows], _ball(threat, batch), seed, size, cancelled)
    bench.forwards += len(batch) * model.plain.passes  # charged to the first check
    found: list[Check] = []
    for look in bench.looks():
        try:
            # A network that draws is to draw the same another time, and to leave no trace.
            with chance_aside(batch.device, seed):
                check = look()
        except _CancelledError:
            break
        if check is None:
            continue
        found.append(bench.charged(check))
        if on_check is not None:
            on_check(found[-1])
    return tuple(found)


def from_rows(parts: Sequence[Sequence[pa.Table]], plan: Plan) -> tuple[Check, ...]:
    """What the rows of a run say by themselves; no passes are made.

    Args:
        parts: of each part its clean look and the rows of its stages, as the run made them.
        plan: the run's.
    """
    access = {stage.name: stage.attack.access for stage in plan.stages}
    right = sum(int(pc.sum(pc.invert(part[0]["success"])).as_py() or 0) for part in parts)
    rows: dict[str, list[pa.Table]] = {}
    for part in parts:
        for table in part[1:]:
            rows.setdefault(str(table["attack"][0]), []).append(table)
    order = [stage.name for stage in plan.stages if stage.name in rows]
    found = []
    white = [name for name in order if access[name] == "gradient"]
    blind = [
        name
        for at, name in enumerate(order)
        if access[name] != "gradient" and set(order[:at]) & set(white)
    ]
    if blind and right:
        fooled = sum(_successes(table) for name in blind for table in rows[name])
        given = sum(len(table) for table in rows[blind[0]])
        status = _share(fooled, right)
        words = (
            f"{' and '.join(blind)}, which see no gradient, fooled {fooled} of the {given} "
            "pictures that the white-box attacks of the run had left"
        ) + _end(
            status,
            "the gradient misleads attacks. Try them with more steps, another loss or BPDA, and "
            "give the black-box ones more queries",
        )
        evidence = {"pictures": right, "left": given, "fooled": fooled}
        found.append(Check("black box in the run", status, words, evidence))
    silent = attacked = 0
    for name in order:
        for table in rows[name]:
            attacked += len(table)
            missed = pc.and_(pc.less(table["margin"], 0.0), pc.invert(table["success"]))
            silent += int(pc.sum(missed).as_py() or 0)
    if attacked:
        status = _share(silent, attacked)
        words = (
            f"{silent} of {attacked} searches met a misread image that is allowed, and yet do not "
            "count as successes"
        ) + _end(
            status,
            "the network that searches is not the one that judges. Choose a higher precision, or "
            "more samples of the expectation",
        )
        evidence = {"searches": attacked, "silent": silent}
        found.append(Check("silent success", status, words, evidence))
    return tuple(found)


def _successes(table: pa.Table) -> int:
    return int(pc.sum(table["success"]).as_py() or 0)


def most_pictures(model: Classifier, values: int | None = None) -> int:
    """How many pictures are looked at, of so many values or of the network's input size."""
    if values is None:
        height, width = model.input_size or (64, 64)
        values = model.channels * height * width
    return MOST_PICTURES if values <= LARGE else MOST_LARGE_PICTURES


class _CancelledError(Exception):
    """Somebody does not want to wait."""


def _share(count: int, of: int) -> Status:
    """The rule of shares."""
    if count == 1 < of:
        return "pass"
    low = wilson(count, of)[0]
    return "fail" if low > FAIL else "warn" if low > WARN else "pass"


def _worst(*statuses: Status) -> Status:
    return max(statuses, key=("pass", "warn", "fail").index)


def _end(status: Status, mend: str) -> str:
    """How a sentence goes on."""
    return "." if status == "pass" else f": {mend}."


def _ball(threat: Threat, images: Tensor) -> Linf | L2 | None:
    """Where the attacks of the checks look; ``None`` where the threat gives no bound."""
    eps = float(threat.eps)
    if not 0 < eps < float("inf"):
        return None
    if threat.name == "linf":
        return Linf(min(eps, 1.0))
    # The longest difference in the ball: of an L1 or L0 one, few values that move all the way.
    longest = {"l2": eps, "l1": min(eps, eps**0.5), "l0": (eps * images.shape[1]) ** 0.5}
    return L2(min(longest[threat.name], images[0].numel() ** 0.5))


def _whole(ball: Linf | L2 | None, images: Tensor) -> Linf | L2:
    """The smallest ball of that norm, Linf where there is none, that holds the whole box."""
    return L2(images[0].numel() ** 0.5) if isinstance(ball, L2) else Linf(1.0)


class _Bench:
    """The pictures that are looked at, the attacks made on them, and what that cost."""

    def __init__(
        self,
        model: Classifier,
        images: Tensor,
        classes: Tensor,
        ball: Linf | L2 | None,
        seed: int,
        batch_size: int,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self.model, self.images, self.classes, self.ball = model, images, classes, ball
        self.seed, self.batch_size, self.cancelled = seed, batch_size, cancelled
        self.count = len(images)
        self.keys = chance.keys(seed, torch.arange(self.count, device=images.device))
        self.forwards = self.backwards = 0
        self._charged = (0, 0)

    def looks(self) -> Iterator[Callable[[], Check | None]]:
        """The checks in their order; which there are may depend on what those before found."""
        yield self.outputs
        yield self.randomness
        yield self.test_time
        yield self.differentiable
        if not self._no_gradient:
            yield self.zero_gradient
            yield self.saturation
            if not self._draws:
                yield self.finite_differences
            if self.ball is not None:
                yield self.smoothness
                yield self.loss
                yield self.single_step
                yield self.more_steps
                yield self.more_restarts
                yield self.smoothed
                yield self.growing
            yield self.no_bound
        if self.ball is not None:
            yield self.black_box

    def charged(self, check: Check) -> Check:
        """With what was spent since the last one."""
        before, self._charged = self._charged, (self.forwards, self.backwards)
        return replace(
            check, forwards=self.forwards - before[0], backwards=self.backwards - before[1]
        )

    # What the network is.

    def outputs(self) -> Check:
        """Are these logits, or have they been through a softmax?"""
        logits = self._logits
        sums = (logits.sum(1) - 1).abs().max().item()
        softmax = sums < 1e-3 and bool((logits >= 0).all())
        return Check(
            "outputs",
            "warn" if softmax else "pass",
            "The network returns probabilities: attacks on logits then push against a softmax of a "
            "softmax. Take the last layer away, or return the logarithm."
            if softmax
            else "The network returns logits.",
            {"pictures": self.count, "probabilities": softmax},
        )

    def randomness(self) -> Check:
        """Does the same picture get the same answer?"""
        self._stop()
        drawn = self._random
        words = f"{ANSWERS} answers to the same pictures are the same."
        if drawn:
            words = (
                "The same picture gets another answer each time: a success may be luck, and so may "
                "what holds. Take the expectation: the plan rand, or EOT(model)."
            )
        elif self._draws:
            words = "The network draws at random, and its expectation is taken (EOT)."
        return Check(
            "randomness", "fail" if drawn else "pass", words,
            {"pictures": self.count, "answers": ANSWERS, "random": drawn},
        )  # fmt: skip

    def test_time(self) -> Check:
        """Does the network differentiate something while it answers?"""
        with _derivatives_counted() as calls, torch.no_grad(), chance_aside(self.images.device):
            self._count(1, plain=True)
            self.model.plain(self.images[:1])
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

    def differentiable(self) -> Check:
        """Does the gradient come through at all?"""
        cut = self._no_gradient
        words = "The logits depend differentiably on the pixels."
        if cut:
            words = (
                "No gradient comes through the network, so no white-box attack can be made, and "
                "what black-box ones leave may not hold. Replace the layer that cuts it (BPDA), or "
                "take the detach() or no_grad() out."
            )
        return Check(
            "differentiable",
            "fail" if cut else "pass",
            words,
            {"pictures": self.count, "gradient": not cut},
        )

    def zero_gradient(self) -> Check:
        """Does the gradient say where to go?"""
        points = [(self._clean, self.images)]
        if self.ball is not None:
            start = self.ball.random(self.keys, self.images)
            points.append((self._ask(start, gradient=True), start))
        flat = torch.zeros(self.count, dtype=torch.bool, device=self.images.device)
        zero = 0
        for answer, _ in points:
            assert answer.gradient is not None
            assert answer.objective is not None
            size = answer.gradient.double().abs().flatten(1).sum(1)
            flat |= size <= VANISHING * answer.objective.abs()
            zero = max(zero, int((size == 0).sum()))
        count = int(flat.sum())
        status = _share(count, self.count)
        words = (
            f"On {count} of {self.count} pictures the gradient of the logits is zero or vanishes"
        ) + _end(
            status,
            "gradient attacks do not move there. Replace what flattens it (quantisation, a "
            "saturated layer) in the pass back (BPDA), and look at black-box attacks",
        )
        return Check(
            "zero gradient", status, words,
            {"pictures": self.count, "vanishing": count, "zero": zero},
        )  # fmt: skip

    def saturation(self) -> Check:
        """Has the cross-entropy a slope at the logits?"""
        logits = self._logits
        own = logits.gather(1, self.classes[:, None])
        others = logits.scatter(1, self.classes[:, None], -torch.inf)
        odds = (own - others.logsumexp(1, keepdim=True)).squeeze(1)
        # The probability that the class is another: how long the slope is.
        blind = int((torch.sigmoid(-odds) == 0).sum())
        # Elsewhere the slope is the softmax, less 1 for the class itself.
        shares = logits.float().softmax(1).scatter(1, self.classes[:, None], 0)
        blind32 = int((shares == 0).all(1).sum())
        status = _share(blind, self.count)
        if status == "pass" and _share(blind32, self.count) != "pass":
            status = "warn"
        where = "float64, in which it is taken here" if blind else "float32"
        words = (
            f"On {max(blind, blind32)} of {self.count} pictures the cross-entropy has no slope "
            f"left in {where}"
        ) + _end(
            status,
            "attacks on it are blind, those on the difference of logits ratio are not (apgd-t, "
            "fab-t). Divide the logits by a constant: no decision changes",
        )
        return Check(
            "saturation", status, words,
            {"pictures": self.count, "without_slope_float64": blind,
             "without_slope_float32": blind32,
             "median_lead": float(MARGIN(logits, self.classes).median())},
        )  # fmt: skip

    def finite_differences(self) -> Check | None:
        """Is the gradient the derivative of what the network computes?"""
        twin, nudge = self._double()
        # A little inside the box, so that a network that clamps its input bends nowhere near.
        at = (0.01 + 0.98 * self.images).to(twin.dtype)
        reach = 0.1 if self.ball is None else self._reach()
        here = self._ask(at, model=twin, gradient=True)
        assert here.gradient is not None
        slope = here.gradient.double()
        noise = 300 * torch.finfo(here.logits.dtype).eps * here.logits.abs().amax(1).double()
        foretold, found, far, far_foretold = [], [], [], []
        for number in range(DIRECTIONS):
            drawn = chance.uniform(self.keys, 100 + number, tuple(at.shape[1:]))
            signs = (drawn - 0.5).sign().to(at)
            lead = [self._lead(at + by * signs, model=twin) for by in (nudge, -nudge)]
            foretold.append((slope * signs).flatten(1).sum(1))
            found.append((lead[0] - lead[1]) / (2 * nudge))
            ends = [(at + by * signs).clamp(0, 1) for by in (reach, -reach)]
            far_foretold.append((slope * (ends[0] - ends[1])).flatten(1).sum(1))
            far.append(self._lead(ends[0], model=twin) - self._lead(ends[1], model=twin))
        by_slope, by_difference = torch.stack(foretold, 1), torch.stack(found, 1)
        apart = (by_slope - by_difference).abs().median(1).values
        size = torch.maximum(by_slope.abs(), by_difference.abs()).square().mean(1).sqrt()
        wrong = apart > DISAGREEMENT * size + noise / nudge
        steps = (by_difference.abs().amax(1) <= noise / nudge) & (
            torch.stack(far, 1).abs().amax(1) > 10 * noise
        )
        count, plateaus = int((wrong | steps).sum()), int(steps.sum())
        agreement = _correlation(torch.stack(far_foretold, 1), torch.stack(far, 1))
        status = _share(count, self.count)
        stands_in = status == "fail" and agreement > STAND_IN
        if stands_in:
            status = "warn"
        words = (
            f"On {count} of {self.count} pictures the gradient is not the slope that differences "
            f"find, on {plateaus} the network is flat close by and not further away"
        )
        if stands_in:
            words += (
                ", yet it foretells the changes over the whole ball: a stand-in that works, as in "
                "BPDA. What it leaves should be looked at by black-box attacks too."
            )
        else:
            words += _end(
                status,
                "gradient attacks follow something else than the network. Find the layer "
                "whose backward pass is wrong (fluoroscope gradient --check), or whose steps or "
                "bends hide the slope, and replace it (BPDA)",
            )
        return Check(
            "finite differences", status, words,
            {"pictures": self.count, "disagreeing": count, "plateaus": plateaus,
             "correlation_over_the_ball": round(agreement, 4),
             "median_difference": float((apart / size.clamp(min=1e-300)).median()),
             "precision": str(twin.dtype).removeprefix("torch.")},
        )  # fmt: skip

    # How attacks fare.

    def smoothness(self) -> Check:
        """Does the loss stay put under noise no larger than a step?"""
        assert self.ball is not None
        size = self._reach() / 16
        change = torch.zeros(self.count, dtype=torch.double, device=self.images.device)
        lead = self._clean.objective
        slope = self._clean.gradient
        assert lead is not None
        assert slope is not None
        for number in range(DRAWS):
            noise = 2 * chance.uniform(self.keys, 200 + number, tuple(self.images.shape[1:])) - 1
            moved = (self.images + size * noise.to(self.images)).clamp(0, 1)
            change += (self._lead(moved) - lead).abs() / DRAWS
        by_slope = size * slope.double().abs().flatten(1).sum(1)
        share = change / lead.abs()
        count = int(((share > UNSTABLE) & (change > BEYOND_LINEAR * by_slope)).sum())
        status = _share(count, self.count)
        words = (
            f"On {count} of {self.count} pictures noise of the size of one step changes the lead "
            f"of the class by more than {UNSTABLE:.0%} and than the slope accounts for"
        ) + _end(
            status,
            "the loss is too rough to be followed. Average the gradient over noise or over the "
            "network's own chance (EOT)",
        )
        return Check(
            "smoothness", status, words,
            {"pictures": self.count, "unstable": count, "median_change": share.median().item(),
             "median_beyond_slope": float((change / by_slope.clamp(min=1e-300)).median())},
        )  # fmt: skip

    def loss(self) -> Check:
        """Does gradient ascent raise the loss?"""
        path = self._path
        stuck = int((path.objective[-1] <= path.objective[0]).sum())
        rises = (path.objective.diff(dim=0) > 0).double().mean().item()
        status = _worst(_share(stuck, self.count), "warn" if rises < 0.5 else "pass")
        words = (
            f"In {STEPS} steps of gradient ascent the loss ended no higher than it began on "
            f"{stuck} of {self.count} pictures, and {rises:.0%} of the steps raised it"
        ) + _end(
            status,
            "the attack does not climb. Take smaller steps, another loss, or a gradient that "
            "points the way (EOT, BPDA)",
        )
        return Check(
            "loss", status, words,
            {"pictures": self.count, "no_higher": stuck, "share_of_rises": round(rises, 4)},
        )  # fmt: skip

    def single_step(self) -> Check:
        """Is one step no better than many, and fooled half way only if at its end?"""
        assert self.ball is not None
        fooled = [
            self._run("fgsm", replace(self.ball, eps=share * float(self.ball.eps))).success
            for share in FRACTIONS
        ]
        end, many = fooled[-1], self._path.misread.any(0).cpu()
        before = torch.stack(fooled[:-1]).any(0)
        between = int((before & ~end).sum())
        better = int((end & ~many).sum())
        one_of_many, by_many = int((end & many).sum()), int(many.sum())
        bent: Status = "pass"
        if by_many >= self.count / 2 and one_of_many < by_many / 4:
            bent = "fail" if one_of_many < by_many / 10 else "warn"
        overshoots = _share(better, self.count)
        status = _worst(_share(between, self.count), overshoots, bent)
        words = (
            f"One step of FGSM fools {int(end.sum())} of {self.count} pictures and {STEPS} smaller "
            f"ones {by_many}; {better} fall to the one alone, and {between} are misread on its way "
            "but not at its end"
        ) + _end(
            status,
            "small steps lose their way where one large one does not. Follow a smoother gradient "
            "(EOT with noise), or take larger steps"
            if overshoots != "pass"
            else "the loss is bent so that one step misses, as in catastrophic overfitting. Trust "
            "no single-step figure; judge by many small steps from random starts",
        )
        return Check(
            "single step", status, words,
            {"pictures": self.count, "fooled_by_one": int(end.sum()), "fooled_by_many": by_many,
             "by_one_alone": better, "between": between},
        )  # fmt: skip

    def more_steps(self) -> Check:
        """Had the white-box attack come to its end?"""
        when, _ = self._white
        marks = (WHITE_BOX_STEPS // 10, WHITE_BOX_STEPS // 2, WHITE_BOX_STEPS)
        by = [int((when <= mark).sum()) for mark in marks]
        late = by[2] - by[1]
        status = _share(late, self.count)
        words = (
            f"Auto-PGD fooled {by[0]}, {by[1]} and {by[2]} of {self.count} pictures within "
            f"{', '.join(map(str, marks[:2]))} and {marks[2]} steps"
        ) + _end(status, "more steps still pay. Give the attacks more of them")
        return Check(
            "more steps", status, words,
            {"pictures": self.count, **{f"within_{m}": n for m, n in zip(marks, by, strict=True)}},
        )  # fmt: skip

    def more_restarts(self) -> Check:
        """Do more random starts find what the white-box attacks left?"""
        left = self._left
        result = self._run("pgd", rows=left, restarts=RESTARTS, steps=STEPS)
        again = result.forwards - 1 > STEPS + 1
        count = int((result.success & again).sum())
        return self._of_those_left(
            "more restarts",
            count,
            f"{RESTARTS - 1} more random starts of PGD fooled {count}",
            "restarts still pay. Give the attacks more of them",
            {"by_the_first": int((result.success & ~again).sum()), "by_others": count},
        )

    def smoothed(self) -> Check:
        """Does the gradient of a smoothed network lead further than its own?"""
        assert self.ball is not None
        left, sigma = self._left, self._reach() / 4

        def noisy(images: Tensor) -> Tensor:
            return (images + sigma * torch.randn_like(images)).clamp(0, 1)

        surrogate = EOT(self.model, samples=SMOOTHED, transform=noisy, seed=self.seed)
        result = self._run("apgd", model=surrogate, rows=left, keep="best", steps=STEPS)
        count = 0
        if len(left):
            read = predict(self.model.plain, result.images, batch_size=self.batch_size).winners
            count = int((read.to(self.classes) != self.classes[left]).sum())
            self._count(len(left), plain=True)
        return self._of_those_left(
            "smoothed gradient",
            count,
            f"the gradient of the network behind noise fooled {count}",
            "the network's own gradient is shattered. Average it over noise "
            "(EOT with a transformation), or transfer from a smoother network",
            {"fooled": count, "sigma": sigma},
        )

    def growing(self) -> Check:
        """Does the accuracy fall to zero as the bound grows?"""
        ball = self.ball
        assert ball is not None
        whole = float(_whole(ball, self.images).eps)
        sizes = [size for size in (whole / 2, whole) if size > float(ball.eps)] or [whole]
        held = {float(ball.eps): len(self._left)} if float(ball.eps) < sizes[0] else {}
        for size in sizes:
            held[size] = len(self._left_by_both(replace(ball, eps=size), WHITE_BOX_STEPS // 2))
        return _whole_box(
            "growing eps",
            held[sizes[-1]],
            self.count,
            "Auto-PGD leaves "
            + ", ".join(f"{count} at {size:.3g}" for size, count in held.items())
            + f" of {self.count} pictures; the last is the whole box",
            {"held": {f"{size:.6g}": count for size, count in held.items()}},
        )

    def no_bound(self) -> Check:
        """Does gradient ascent without a bound succeed on every picture?"""
        result = self._run("bim", _whole(self.ball, self.images), steps=WHITE_BOX_STEPS // 2)
        held = self.count - int(result.success.sum())
        return _whole_box(
            "no bound",
            held,
            self.count,
            f"Plain gradient ascent that nothing bounds but the box leaves {held} of {self.count} "
            "pictures",
            {"held": held, "steps": WHITE_BOX_STEPS // 2},
        )

    def black_box(self) -> Check:
        """Does Square find what white-box attacks left?"""
        assert self.ball is not None
        result = self._run("square", rows=self._left, queries=QUERIES)
        count = int(result.success.sum())
        return self._of_those_left(
            "black box",
            count,
            f"Square, which sees no gradient, fooled {count} in {QUERIES} queries",
            "the gradient misleads attacks. Mend that first (BPDA, EOT, another loss), and "
            "give the black-box attacks more queries",
            {"fooled": count, "queries": QUERIES},
        )

    # What they share.

    @cached_property
    def _random(self) -> bool:
        """Whether the network draws anew for each answer."""
        self._count(ANSWERS * self.count, plain=True)
        return is_random(self.model.plain, self.images, ANSWERS)

    @cached_property
    def _draws(self) -> bool:
        """Whether there is chance in it, bare or within an expectation."""
        return isinstance(self.model.plain, EOT) or self._random

    @cached_property
    def _logits(self) -> Tensor:
        return self._ask(self.images).logits.double()

    @cached_property
    def _clean(self) -> Answer:
        """Lead of the class and its gradient at the pictures."""
        return self._ask(self.images, gradient=True)

    @cached_property
    def _no_gradient(self) -> bool:
        try:
            self._clean  # noqa: B018 - asks the network
        except NoGradientError:
            return True
        return False

    @cached_property
    def _path(self) -> "_Path":
        """Gradient ascent from the pictures themselves, whoever is fooled on the way."""
        objective = torch.zeros(STEPS + 1, self.count, dtype=torch.double)
        misread = torch.zeros(STEPS + 1, self.count, dtype=torch.bool)

        def see(step: Step) -> None:
            assert step.answer.objective is not None
            at = step.numbers.cpu(), step.indices.cpu()
            objective[at] = step.answer.objective.double().cpu()
            misread[at] = step.reached.cpu()

        self._run("bim", keep="last", on_step=see, steps=STEPS)
        return _Path(objective, misread)

    @cached_property
    def _white(self) -> tuple[Tensor, Tensor]:
        """After how many steps of Auto-PGD on the cross-entropy each picture was misread, ``(N,)``,
        and who holds against it and against the same on the difference of logits ratio."""
        when = torch.full((self.count,), torch.inf)

        def see(step: Step) -> None:
            when[step.indices[step.reached].cpu()] = step.numbers[step.reached].float().cpu()

        return when, self._left_by_both(None, WHITE_BOX_STEPS, see)

    def _left_by_both(
        self, ball: Threat | None, steps: int, on_step: Callable[[Step], None] | None = None
    ) -> Tensor:
        """Who holds against Auto-PGD on the cross-entropy, then on the difference of ratios."""
        first = self._run("apgd", ball, on_step=on_step, steps=steps)
        held = (~first.success).nonzero().squeeze(1)
        second = self._run("apgd", ball, rows=held, steps=steps, loss="dlr")
        return held[~second.success]

    @property
    def _left(self) -> Tensor:
        """The pictures that no white-box attack fooled."""
        return torch.arange(self.count) if self._no_gradient else self._white[1]

    def _of_those_left(
        self, name: str, fooled: int, what: str, mend: str, evidence: dict[str, Any]
    ) -> Check:
        """What another attack made of the pictures that are left, of which it ``fooled`` some."""
        left = len(self._left)
        if self._no_gradient:
            words = f"Of {self.count} pictures, on which no white-box attack can be made, {what}"
        elif not left:
            words = f"Auto-PGD left none of the {self.count} pictures to another attack"
        else:
            words = f"Of the {left} of {self.count} pictures that Auto-PGD left, {what}"
        status = _share(fooled, self.count)
        found = {"pictures": self.count, "left": left, **evidence}
        return Check(name, status, words + _end(status, mend), found)

    def _reach(self) -> float:
        """How far the ball lets every pixel value move at once."""
        assert self.ball is not None
        eps = float(self.ball.eps)
        return eps if self.ball.name == "linf" else eps / float(self.images[0].numel() ** 0.5)

    def _double(self) -> tuple[Classifier, float]:
        """The plain network in double precision if it can be had, and a nudge that fits."""
        plain = self.model.plain
        if self.images.device.type == "mps":  # has no float64
            return plain, NUDGE_FLOAT32
        try:
            twin = plain.to(dtype=torch.float64)
            evaluate(twin, self.images[:1].double())
        except (RuntimeError, TypeError, FluoroscopeError):
            # A network with numbers of another precision written into it, or one that cannot be
            # copied; the check goes on in the one that it has.
            return plain, NUDGE_FLOAT32
        self._count(1, plain=True)
        return twin, NUDGE

    def _ask(
        self, images: Tensor, *, model: Classifier | None = None, gradient: bool = False
    ) -> Answer:
        """The lead of each picture's class at images of all of them."""
        self._stop()
        answers = [
            evaluate(model or self.model, part, classes, MARGIN, gradient=gradient)
            for part, classes in zip(
                images.split(self.batch_size), self.classes.split(self.batch_size), strict=True
            )
        ]
        self._count(len(images), gradient=gradient)
        return Answer(
            torch.cat([a.logits for a in answers]),
            torch.cat([a.objective for a in answers if a.objective is not None]),
            torch.cat([a.gradient for a in answers if a.gradient is not None])
            if gradient
            else None,
        )

    def _lead(self, images: Tensor, *, model: Classifier | None = None) -> Tensor:
        lead = self._ask(images, model=model).objective
        assert lead is not None
        return lead

    def _run(
        self,
        name: str,
        ball: Threat | None = None,
        *,
        model: Classifier | None = None,
        rows: Tensor | None = None,
        keep: Keep = "first",
        restarts: int = 1,
        on_step: Callable[[Step], None] | None = None,
        **parameters: Any,
    ) -> "_Found":
        """Attack the pictures, or those rows of them, within the ball or another one."""
        ball = ball or self.ball
        assert ball is not None
        rows = torch.arange(self.count) if rows is None else rows
        if not len(rows):
            return _Found(torch.zeros(0, dtype=torch.bool), *(torch.zeros(0) for _ in range(3)))
        method = attack(name, eps=ball.eps, norm=ball.name, **parameters)
        with warnings.catch_warnings():
            # What an attack warns of, the checks say.
            warnings.simplefilter("ignore", FluoroscopeWarning)
            result = method(
                model or self.model,
                self.images[rows],
                self.classes[rows],
                keep=keep,
                restarts=restarts,
                batch_size=self.batch_size,
                seed=self.seed,
                numbers=rows,
                on_step=on_step,
                cancelled=self.cancelled,
            )
        self._stop()
        self.forwards += int(result.forwards.sum())
        self.backwards += int(result.backwards.sum())
        return _Found(result.success, result.forwards, result.distance, result.images)

    def _count(self, images: int, *, gradient: bool = False, plain: bool = False) -> None:
        passes = images * (self.model.plain if plain else self.model).passes
        self.forwards += passes
        self.backwards += passes if gradient else 0

    def _stop(self) -> None:
        if self.cancelled is not None and self.cancelled():
            raise _CancelledError


@dataclass(frozen=True)
class _Found:
    """What an attack made of some pictures."""

    success: Tensor
    forwards: Tensor
    distance: Tensor
    images: Tensor


@dataclass(frozen=True)
class _Path:
    """A search step by step."""

    objective: Tensor
    """``(steps + 1, N)``, what was raised."""
    misread: Tensor
    """``(steps + 1, N)`` booleans."""


def _correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's, of two tensors of one shape; 0 where one of them does not vary."""
    pair = torch.stack([one.flatten(), other.flatten()])
    return float(torch.corrcoef(pair)[0, 1].nan_to_num())


def _whole_box(name: str, held: int, of: int, words: str, evidence: dict[str, Any]) -> Check:
    """The check on how many pictures hold where every picture is allowed."""
    status: Status = "pass" if not held else "fail" if wilson(held, of)[0] > WARN else "warn"
    words += _end(
        status,
        "where every picture is allowed each can become another class, so the search fails, not "
        "the picture. Look for what hides the gradient (BPDA, EOT)",
    )
    return Check(name, status, words, {"pictures": of, **evidence})


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
