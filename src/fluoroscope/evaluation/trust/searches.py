"""Checks of how attacks fare against the network.

Their thresholds, beside the rule of shares:

* *loss*: a picture counts where 20 steps of gradient ascent end no higher than they began; and a
  warning if fewer than half of the steps rise, which a coin would do.
* *single step*: where one step is misclassified half way but not at its end, or fools where 20
  steps fail (Carlini et al.: iterated attacks are never weaker); and a warning where 20 steps fool
  at least half of the pictures and one step less than a quarter of these, a failure below a tenth:
  the loss is bent as in catastrophic overfitting (Wong et al. 2020, 2001.03994; Kim et al. 2021,
  2010.01799).
* *another loss*: a warning where, of the pictures that Auto-PGD on the cross-entropy leaves, more
  than a tenth fall to the same on the difference of logits ratio, by the lower end of the 95 %
  interval; a failure above a half. In published tables (MAIR's) 8 % of what
  PGD-10 leaves of an adversarially trained network falls to AutoAttack, and 13 % of one trained by
  MART (Wang et al. 2020).
* *the run beside Auto-PGD*: a picture counts that the run left and these searches fooled, each a
  proof that its number is too high.
* *growing eps*, *no bound*: in the whole box every picture can become any other, so one that
  survives is a failed search. One is a warning; the rule's 2 % is a failure. The norm is the
  threat's own: a network trained in Linf does hide its gradient in L2 (Tramèr and Boneh 2019,
  1904.13000).
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fluoroscope.engine.intervals import wilson
from fluoroscope.evaluation.check import FAIL, WARN, Check, Status, by_share, ending, worst
from fluoroscope.evaluation.trust.bench import STEPS, WHITE_BOX_STEPS, Bench, whole_box
from fluoroscope.models.wrappers.randomised import EOT

FRACTIONS = (0.25, 0.5, 0.75, 1.0)
RESTARTS = 5
QUERIES = 500
MOSTLY = 0.5
"""A share of the pictures above which PGD's figure says nothing."""
SMOOTHED = 8
"""Draws of noise whose mean the smoothed gradient is."""


def loss(bench: Bench) -> Check:
    """Does gradient ascent raise the loss?"""
    path = bench.path
    stuck = int((path.objective[-1] <= path.objective[0]).sum())
    rises = (path.objective.diff(dim=0) > 0).double().mean().item()
    status = worst(by_share(stuck, bench.count), "warn" if rises < 0.5 else "pass")
    words = (
        f"In {STEPS} steps of gradient ascent the loss ended no higher than it began on "
        f"{stuck} of {bench.count} pictures, and {rises:.0%} of the steps raised it"
    ) + ending(
        status,
        "the attack does not climb. Take smaller steps, another loss, or a gradient that "
        "points the way (EOT, BPDA)",
    )
    return Check(
        "loss", status, words,
        {"pictures": bench.count, "no_higher": stuck, "share_of_rises": round(rises, 4)},
    )  # fmt: skip


def single_step(bench: Bench) -> Check:
    """Is one step no better than many, and fooled half way only if at its end?"""
    assert bench.ball is not None
    fooled = [
        bench.run("fgsm", replace(bench.ball, eps=share * float(bench.ball.eps))).success
        for share in FRACTIONS
    ]
    end, many = fooled[-1], bench.path.misclassified.any(0).cpu()
    before = torch.stack(fooled[:-1]).any(0)
    between = int((before & ~end).sum())
    better = int((end & ~many).sum())
    one_of_many, by_many = int((end & many).sum()), int(many.sum())
    bent: Status = "pass"
    if by_many >= bench.count / 2 and one_of_many < by_many / 4:
        bent = "fail" if one_of_many < by_many / 10 else "warn"
    overshoots = by_share(better, bench.count)
    status = worst(by_share(between, bench.count), overshoots, bent)
    words = (
        f"One step of FGSM fools {int(end.sum())} of {bench.count} pictures and {STEPS} smaller "
        f"ones {by_many}; {better} fall to the one alone, and {between} are misclassified on its "
        "way but not at its end"
    ) + ending(
        status,
        "small steps lose their way where one large one does not. Follow a smoother gradient "
        "(EOT with noise), or take larger steps"
        if overshoots != "pass"
        else "the loss is bent so that one step misses, as in catastrophic overfitting. Trust "
        "no single-step figure; judge by many small steps from random starts",
    )
    return Check(
        "single step", status, words,
        {"pictures": bench.count, "fooled_by_one": int(end.sum()), "fooled_by_many": by_many,
         "by_one_alone": better, "between": between},
    )  # fmt: skip


def another_loss(bench: Bench) -> Check:
    """Does the cross-entropy's figure say what another loss finds?"""
    first = bench.white_box[0].isinf()
    both = torch.zeros_like(first)
    both[bench.left.cpu()] = True
    left, fooled = int(first.sum()), int((first & ~both).sum())
    low = wilson(fooled, left)[0] if fooled > 1 else 0.0
    status: Status = "fail" if low > MOSTLY else "warn" if low > FAIL else "pass"
    words = (
        f"Of the {left} of {bench.count} pictures that Auto-PGD on the cross-entropy left, the "
        f"same on the difference of logits ratio fooled {fooled}"
    ) + ending(
        status,
        "the cross-entropy flatters the network, as that of one trained by MART does. Trust no "
        "figure of PGD alone; judge by a plan of several losses (standard, fast)",
    )
    return Check(
        "another loss", status, words,
        {"pictures": bench.count, "left": left, "fooled": fooled},
    )  # fmt: skip


def more_steps(bench: Bench) -> Check:
    """Had the white-box attack come to its end?"""
    when, _ = bench.white_box
    marks = (WHITE_BOX_STEPS // 10, WHITE_BOX_STEPS // 2, WHITE_BOX_STEPS)
    by = [int((when <= mark).sum()) for mark in marks]
    late = by[2] - by[1]
    status = by_share(late, bench.count)
    words = (
        f"Auto-PGD fooled {by[0]}, {by[1]} and {by[2]} of {bench.count} pictures within "
        f"{', '.join(map(str, marks[:2]))} and {marks[2]} steps"
    ) + ending(status, "more steps still pay. Give the attacks more of them")
    return Check(
        "more steps", status, words,
        {"pictures": bench.count, **{f"within_{m}": n for m, n in zip(marks, by, strict=True)}},
    )  # fmt: skip


def more_restarts(bench: Bench) -> Check:
    """Do more random starts find what the white-box attacks left?"""
    left = bench.left
    result = bench.run("pgd", rows=left, restarts=RESTARTS, steps=STEPS)
    again = result.forwards - 1 > STEPS + 1
    count = int((result.success & again).sum())
    return bench.of_those_left(
        "more restarts",
        count,
        f"{RESTARTS - 1} more random starts of PGD fooled {count}",
        "restarts still pay. Give the attacks more of them",
        {"by_the_first": int((result.success & ~again).sum()), "by_others": count},
    )


def beside_the_run(bench: Bench) -> Check:
    """Does Auto-PGD fool pictures that the run's own plan left?"""
    assert bench.held is not None
    left = int(bench.held.sum())
    missed = left - int(bench.held[bench.left].sum())
    status = by_share(missed, bench.count)
    words = (
        f"Auto-PGD on two losses fooled {missed} of the {left} pictures looked at that the run had "
        "left"
    ) + ending(
        status,
        "its plan is too weak for its number to say anything. Take the plan fast or standard",
    )
    evidence = {"pictures": bench.count, "left": left, "fooled": missed}
    return Check("the run beside Auto-PGD", status, words, evidence)


def smoothed(bench: Bench) -> Check:
    """Does the gradient of a smoothed network lead further than its own?"""
    assert bench.ball is not None
    left, sigma = bench.left, bench.reach() / 4

    def noisy(images: Tensor) -> Tensor:
        return (images + sigma * torch.randn_like(images)).clamp(0, 1)

    surrogate = EOT(bench.model, samples=SMOOTHED, transform=noisy, seed=bench.seed)
    result = bench.run("apgd", model=surrogate, rows=left, keep="best", steps=STEPS)
    count = int((~bench.right(left, result.images)).sum())
    return bench.of_those_left(
        "smoothed gradient",
        count,
        f"the gradient of the network behind noise fooled {count}",
        "the network's own gradient is shattered. Average it over noise "
        "(EOT with a transformation), or transfer from a smoother network",
        {"fooled": count, "sigma": sigma},
    )


def growing(bench: Bench) -> Check:
    """Does the accuracy fall to zero as the bound grows?"""
    ball = bench.ball
    assert ball is not None
    whole = float(whole_box(ball, bench.images).eps)
    sizes = [size for size in (whole / 2, whole) if size > float(ball.eps)] or [whole]
    surviving = {float(ball.eps): len(bench.left)} if float(ball.eps) < sizes[0] else {}
    for size in sizes:
        surviving[size] = len(bench.left_by_both(replace(ball, eps=size), WHITE_BOX_STEPS // 2))
    return _whole_box(
        "growing eps",
        surviving[sizes[-1]],
        bench.count,
        "Auto-PGD leaves "
        + ", ".join(f"{count} at {size:.3g}" for size, count in surviving.items())
        + f" of {bench.count} pictures; the last is the whole box",
        {"held": {f"{size:.6g}": count for size, count in surviving.items()}},
    )


def no_bound(bench: Bench) -> Check:
    """Does gradient ascent without a bound succeed on every picture?"""
    result = bench.run("bim", whole_box(bench.ball, bench.images), steps=WHITE_BOX_STEPS // 2)
    surviving = bench.count - int(result.success.sum())
    return _whole_box(
        "no bound",
        surviving,
        bench.count,
        f"Plain gradient ascent that nothing bounds but the box leaves {surviving} of "
        f"{bench.count} pictures",
        {"held": surviving, "steps": WHITE_BOX_STEPS // 2},
    )


def black_box(bench: Bench) -> Check:
    """Does Square find what white-box attacks left?"""
    assert bench.ball is not None
    result = bench.run("square", rows=bench.left, queries=QUERIES)
    count = int(result.success.sum())
    return bench.of_those_left(
        "black box",
        count,
        f"Square, which sees no gradient, fooled {count} in {QUERIES} queries",
        "the gradient misleads attacks. Mend that first (BPDA, EOT, another loss), and "
        "give the black-box attacks more queries",
        {"fooled": count, "queries": QUERIES},
    )


def _whole_box(name: str, surviving: int, of: int, words: str, evidence: dict[str, Any]) -> Check:
    """The check on how many pictures survive where every picture is allowed."""
    status: Status = (
        "pass" if not surviving else "fail" if wilson(surviving, of)[0] > WARN else "warn"
    )
    words += ending(
        status,
        "where every picture is allowed each can become another class, so the search fails, not "
        "the picture. Look for what hides the gradient (BPDA, EOT)",
    )
    return Check(name, status, words, {"pictures": of, **evidence})
