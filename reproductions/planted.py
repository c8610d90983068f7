"""Planted examples: which plans find what is known to be there, on honest and on other networks.

After Zimmermann, Brendel, Tramèr and Carlini (2022, 2206.13991), whose test eleven of thirteen
published evaluations fail. What was tuned (how deep a neighbour lies, and from how many answers it
is made) was tuned on the networks that are marked.
"""

from collections.abc import Iterator

import fluoroscope as fs
from benchmarks.page import Section, percent
from fluoroscope.engine.threats import as_threat
from fluoroscope.evaluation.plan import Plan, Stage
from reproductions.deceivers import DECEIVERS
from reproductions.sources import PAGE, SHARED, mnist
from reproductions.trust import MOBILENET, Case

SEED = 0
PICTURES = 16
TESTED = 60
DECEIVING = (
    "quantised",
    "wrong gradient",
    "ripple",
    "saturated",
    "straight-through",
    "softmax",
    "finely bent",
    "random resize",
)
TUNED = {
    *("digits-cnn linf:0.1", "digits-cnn linf:0.05", "digits-robust linf:0.3"),
    *("quantised", "wrong gradient", "ripple"),
    *("straight-through", "softmax", "saturated", "finely bent"),
}
PLANS = ("PGD-10", "APGD-CE", "fast", "standard", "black-box")


def section() -> Section:
    """All of it."""
    page = Section(PAGE, "planted", "Planted examples")
    page.text(
        f"At {PICTURES} pictures of each network a neighbour within the bound is planted that is "
        "known to be misclassified, and each plan is run on them as an evaluation runs it. A cell "
        "has how many it found of those that it was tried on: four that are missed fail, and end "
        "it. The deceiving networks are `digits-cnn` behind something that makes attacks fail. "
        "PGD-10 and APGD-CE follow the gradient of the cross-entropy alone; `black-box` "
        "reads none. *random* is the share of random images in the same balls that are "
        "misclassified, *passes* what planting took and what each of the last three plans spent "
        "on all pictures, forward and back. What was tuned was tuned on the networks with a star."
    )
    rows, missed = [], {True: 0, False: 0}
    for case in _cases():
        cells, spent, share = [], [], 0.0
        for name in PLANS:
            found = fs.planted_examples(
                case.model, case.images, case.labels, threat=case.threat,
                plan=_plan(name, case.threat), pictures=PICTURES, seed=SEED,
            )  # fmt: skip
            cells.append(f"{found.found} of {found.tried}")
            if found.tried - found.found > 1:
                missed[case.honest] += 1
                cells[-1] = f"**{cells[-1]}**"
            share = max(share, found.random_share)
            by_plan = sum(each.forwards + each.backwards for each in found.examples)
            spent.append((found.forwards + found.backwards - by_plan, by_plan))
        star = " \\*" if TUNED & {case.name, f"{case.name} {case.threat}"} else ""
        kind = "honest" if case.honest else "deceives"
        passes = " · ".join(f"{by_plan:,}" for _, by_plan in spent[2:])
        rows.append(
            [
                case.name + star,
                case.threat,
                kind,
                *cells,
                percent(share),
                f"{spent[-1][0]:,}",
                passes,
            ]
        )
    page.table(
        ["network", "within", "", *(f"{name}>" for name in PLANS), "random>", "planting>",
         "fast · standard · black-box>"], rows
    )  # fmt: skip
    page.text(
        f"Cells in bold are not to be believed: {missed[True]} on honest networks and "
        f"{missed[False]} on those that deceive."
    )
    return page


def _plan(name: str, threat: str) -> str | Plan:
    methods = {"PGD-10": ("pgd", {"steps": 10}), "APGD-CE": ("apgd", {})}
    if name not in methods:
        return name
    attack, parameters = methods[name]
    ball = as_threat(threat)
    made = fs.attack(attack, eps=ball.eps, norm=ball.name, **parameters)
    return Plan(name, (Stage(attack, made),))


def _cases() -> Iterator[Case]:
    images, labels = mnist("test", TESTED)
    for name, threat in (
        ("digits-cnn", "linf:0.1"),
        ("digits-cnn", "l2:1"),
        ("digits-robust", "linf:0.3"),
        ("digits-robust", "linf:0.2"),
    ):
        yield Case(name, fs.load_model(name), images, labels, threat, True)
    model = fs.load_model(MOBILENET)
    sample = fs.load_images(SHARED / "data" / "imagenet_sample").select(range(0, 1000, 25))
    batch = next(iter(sample.batches(len(sample), fit=model)))
    assert batch.labels is not None
    yield Case("MobileNet v1 0.25", model, batch.images, batch.labels, "linf:1/255", True)
    for name in DECEIVING:
        model = DECEIVERS[name](network="digits-cnn")
        yield Case(name, model, images, labels, "linf:0.1", False)
