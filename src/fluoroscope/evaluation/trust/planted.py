"""Whether the run's own plan finds what is known to be there: planted examples.

After Zimmermann, Brendel, Tramèr and Carlini 2022 (2206.13991), see
:mod:`fluoroscope.evaluation.planted`. Of the pictures that were planted the plan has to find all
but what the rule of shares allows: one of sixteen.
"""

import torch

from fluoroscope.errors import NoGradientError
from fluoroscope.evaluation.check import Check, by_share, ending
from fluoroscope.evaluation.planted.examples import (
    PICTURES,
    PlantedExamples,
    ball_for,
    planted_examples,
)
from fluoroscope.evaluation.trust.bench import Bench
from fluoroscope.words import count, percent

NAME = "planted examples"


def planted(bench: Bench) -> Check:
    """Neighbours that are known to be misclassified, which the plan of the run has to find."""
    plan, threat = bench.plan, bench.threat
    assert plan is not None
    assert threat is not None
    if ball_for(threat) is None:
        words = "Not applicable: neighbours are planted within a bound in Linf or L2 alone."
        return Check(NAME, "not applicable", words, {"pictures": 0})
    few = min(PICTURES, bench.count)
    rows = torch.linspace(0, bench.count - 1, few, dtype=torch.float64, device="cpu")
    rows = rows.round().long().to(bench.images.device)
    try:
        found = planted_examples(
            bench.model, bench.images[rows], bench.classes[rows], threat=threat, plan=plan,
            seed=bench.seed, batch_size=bench.batch_size, cancelled=bench.cancelled,
        )  # fmt: skip
    except NoGradientError:
        words = (
            f"Not applicable: the plan {plan.name} reads gradients and none comes through the "
            "network, so it cannot be run on it."
        )
        return Check(NAME, "not applicable", words, {"pictures": len(rows)})
    bench.stop()
    bench.forwards += found.forwards
    bench.backwards += found.backwards
    return _said(found)


def _said(found: PlantedExamples) -> Check:
    missed = found.tried - found.found
    evidence = {
        "pictures": len(found.examples),
        "planted": found.planted,
        "tried": found.tried,
        "found": found.found,
        "by_stage": found.by_stage,
        "random_share": found.random_share,
    }
    if not found.tried:
        words = (
            f"At none of {count(len(found.examples), 'picture')} a misclassified neighbour could "
            f"be planted: {found.examples[0].why}. So nothing is known of the plan here."
        )
        return Check(NAME, "not applicable", words, evidence)
    status = by_share(missed, found.tried)
    number = f"all {found.tried}" if not missed else f"{found.found} of {found.tried}"
    words = (
        f"At {count(found.tried, 'picture')} the answers were changed so that an image within the "
        f"bound is known to be misclassified, and random ones are in {percent(found.random_share)} "
        f"of cases; the plan {found.plan} found one for {number}"
    ) + ending(
        status,
        "this plan is not to be believed on this network, where it may miss what is there as well. "
        "Give it another loss (apgd-t), BPDA for what hides the gradient, or black-box stages "
        "(square)",
    )
    return Check(NAME, status, words, evidence)
