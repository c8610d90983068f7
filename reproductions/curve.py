"""Accuracy against eps of the built-in digits networks, and how close its searches come."""

import numpy as np
import torch

import fluoroscope as fs
from benchmarks.page import Section, percent
from fluoroscope.evaluation.curve import Curve
from fluoroscope.pictures.curves import robustness_curves
from fluoroscope.pictures.maps import write_figure
from reproductions.sources import PAGE

SEED = 0
PICTURES = 300
COMPARED = 60
"""Pictures on which long searches are made too."""
NETWORKS = ("digits-cnn", "digits-robust")
LONG = {
    "linf": (
        ("fmn", {"steps": 200, "along": "steepest", "step_size": 0.5, "gamma": 0.1}),
        ("fmn", {"steps": 200}),
        ("fab-t", {"steps": 20, "targets": 9}),
    ),
    "l2": (
        ("ddn", {"steps": 300}),
        ("ddn", {"steps": 300, "loss": "margin"}),
        ("fmn", {"steps": 200}),
    ),
}
NORMS = tuple(LONG)


def section() -> Section:
    """All of it."""
    page = Section(PAGE, "curve", "Accuracy against eps")
    page.text(
        "The plan `curve` looks for the closest misclassified image of every picture and so has "
        "the accuracy at all bounds. The built-in digits that no network was trained on, the first "
        f"{PICTURES}; bands are 95 % intervals of Wilson's at each bound; distances are of the "
        "pictures classified correctly, and upper bounds of the true ones."
    )
    rows = []
    for norm in NORMS:
        curves = {}
        for name in NETWORKS:
            verdict = fs.evaluate(_prepared(name), _digits(PICTURES), threat=norm, plan="curve")
            assert verdict.curve is not None
            curves[name] = verdict.curve
            passes = (verdict.forwards + verdict.backwards) / verdict.count
            quarter, middle, last = (verdict.curve.quantile(share) for share in (0.25, 0.5, 0.75))
            rows.append(
                [name, norm, percent(verdict.clean_accuracy), f"{quarter:.3g}", f"{middle:.3g}",
                 f"{last:.3g}", f"{passes:.0f}", f"{verdict.seconds:.0f} s"]
            )  # fmt: skip
        _draw(page, norm, curves)
    page.table(
        ["network", "norm", "clean>", "25 % within>", "half within>", "75 % within>",
         "passes a picture>", "time>"], rows,
    )  # fmt: skip
    _compared(page)
    return page


def _draw(page: Section, norm: str, curves: dict[str, Curve]) -> None:
    points = {
        name: [(at.eps, at.accuracy, *at.interval) for at in curve.points()]
        for name, curve in curves.items()
    }
    figure = robustness_curves(points, norm=norm, title=f"{PICTURES} digits")
    words = f"Accuracy against {norm} eps of two digits networks."
    write_figure(page.picture(f"curve-{norm}.png", words), figure)


def _compared(page: Section) -> None:
    page.text(
        f"**How close?** The same on the first {COMPARED} pictures beside long searches on each of "
        "them; *best* is the closest of all, the plan's included. Accuracies are at the best's "
        "25 %, 50 % and 75 % quantile of all pictures."
    )
    rows = []
    for norm, long in LONG.items():
        for name in NETWORKS:
            model, data = _prepared(name), _digits(COMPARED)
            verdict = fs.evaluate(model, data, threat=norm, plan="curve")
            assert verdict.curve is not None
            batch = next(iter(data.batches(COMPARED)))
            assert batch.labels is not None
            found = [verdict.curve.distance]
            for attack, parameters in long:
                made = fs.attack(attack, norm=norm, **parameters)
                result = made(model, batch.images, batch.labels, keep="nearest", seed=SEED)
                far = result.distance.double().where(result.success, torch.inf)
                found.append(far.numpy())
            best = Curve(norm, np.min(found, axis=0), batch.labels.numpy())
            marks = [float(np.quantile(best.distance, share)) for share in (0.25, 0.5, 0.75)]
            pairs = [(verdict.curve.at(eps).accuracy, best.at(eps).accuracy) for eps in marks]
            rows.append(
                [name, norm, f"{verdict.curve.median:.4g}", f"{best.median:.4g}",
                 percent(verdict.curve.median / best.median - 1),
                 *(f"{percent(one, 0)} / {percent(other, 0)}" for one, other in pairs)]
            )  # fmt: skip
    page.table(
        ["network", "norm", "median, plan>", "best>", "above>", "accuracy, plan / best>", ">",
         ">"], rows,
    )  # fmt: skip


def _prepared(name: str) -> fs.Classifier:
    return fs.prepare(fs.load_model(name))


def _digits(count: int) -> fs.ImageSet:
    return fs.load_images("digits", channels=1).take(count)
