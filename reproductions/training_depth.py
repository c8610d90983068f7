"""Selective units (You et al. 2021, 2108.05312): monocular depth, and then classes.

Depth networks and what was learnt with them are kept in ``KEPT``, so that a section that was broken
off goes on; delete the folder to begin anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch

import fluoroscope as fs
from benchmarks.page import Scale, Section, percent
from fluoroscope.depth.ablation import COLUMNS, Ablation
from fluoroscope.depth.diagnosis import SCORES, Diagnosis
from fluoroscope.depth.measure import DepthErrors
from fluoroscope.depth.network_files import TrainedDepth
from fluoroscope.depth.selectivity import Selectivity
from fluoroscope.depth.training import DepthRun, DepthSettings
from fluoroscope.models.builtin import build_architecture, digits_classifier
from fluoroscope.pictures.maps import write_figure
from fluoroscope.process import random_state_lock
from fluoroscope.training.losses.selective import SelectiveLoss, assignment
from fluoroscope.training.trainer.classification import accuracy
from fluoroscope.training.trainer.fitting import cross_entropy, fit
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import Loss
from reproductions.sources import PAGE, held, mnist

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEPT = Path("out/reproductions/training/depth")
SEEDS = (0, 1, 2)
WEIGHTS = (0.0, 0.1)
"""Of the selectivity: depth alone, and the paper's."""
JUDGED = 300
"""Scenes that no training sees."""
PICTURES, EPOCHS = 5000, 6
"""Of MNIST, for the classifiers."""
CLASS_WEIGHTS = (0.0, 0.1, 1.0, 5.0)
"""Of the selectivity for classes."""
READ_AT = "5"
"""The ReLU behind the last convolution of ``digits-cnn``."""
SMALL = DepthSettings()


@dataclass(frozen=True)
class Judged:
    """One trained depth network and all that is measured of it."""

    trained: TrainedDepth
    errors: DepthErrors
    units: Selectivity
    ablation: Ablation
    diagnosis: Diagnosis


def section(scale: Scale | None = None) -> Section:
    """All of it."""
    page = Section(PAGE, "training-depth", "Units that each answer to one depth, or one class")
    settings = SMALL
    if scale is not None and scale.limit:
        settings = replace(settings, scenes=scale.limit)
    found = {weight: [judged(weight, seed, settings) for seed in SEEDS] for weight in WEIGHTS}
    _depth(page, found, settings)
    _ablation(page, found)
    _diagnosis(page, found)
    _classes(page)
    return page


def judged(weight: float, seed: int, settings: DepthSettings = SMALL) -> Judged:
    """A network, trained now if it was not before."""
    place = KEPT / f"{settings.scenes}-scenes-weight-{weight:g}-seed-{seed}"
    if (place / "depth.json").is_file():
        trained = TrainedDepth.load(place)
    else:
        run = DepthRun(out=place, settings=replace(settings, weight=weight), seed=seed)
        for _ in run:
            pass
        trained = run.result
    others = fs.depth.unseen_scenes(settings.size, seed=seed, many=JUDGED)
    units = fs.depth.depth_selectivity(trained.network, others, trained.bins)
    if not weight:
        units = units.by_favourite()  # it was assigned none
    return Judged(
        trained,
        fs.depth.depth_errors(trained.network, others),
        units,
        fs.depth.ablate(trained.network, others, trained.bins, assigned=units.assigned),
        fs.depth.diagnose(trained.network, others, trained.bins, measured=units),
    )


def _spread(values: Sequence[float], scale: float = 1.0, digits: int = 3) -> str:
    """A mean with the least and the largest."""
    low, high = (scale * edge for edge in (min(values), max(values)))
    return f"{scale * fmean(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _depth(page: Section, found: dict[float, list[Judged]], settings: DepthSettings) -> None:
    plain, selective = found[WEIGHTS[0]], found[WEIGHTS[1]]
    height, width = settings.size
    recipe = settings.recipe
    page.text(
        f"You et al. (2021) train networks for monocular depth whose units each answer to one bin "
        f"of depth; their tables could not be found, and the abstract says that selectivity rises "
        f"largely at no cost in depth. Here the scenes are rendered ({settings.scenes:,} of "
        f"{height}×{width} with exact depth: boxes and spheres on a floor before a wall) and the "
        f"network is small ({plain[0].trained.record['parameters']:,} weights, {settings.units} "
        f"units in the last features, {settings.bins.count} bins by the paper's formula, alpha "
        f"{settings.bins.first}, beta {settings.bins.last:g}), {recipe.epochs} epochs; means over "
        f"seeds {', '.join(map(str, SEEDS))} with the least and the largest, on {JUDGED} other "
        "scenes. Selectivity is the paper's DS.",
    )
    page.table(
        ["training", "mean DS>", "relative error, %>", "RMSE, m>", "within 1.25, %>",
         "units that answer most to their own bin, %>"],
        [
            [
                f"selectivity with {weight:g}" if weight else "depth alone",
                _spread([one.units.mean for one in some]),
                _spread([one.errors.rel for one in some], 100, 1),
                _spread([one.errors.rmse for one in some], 1, 2),
                _spread([one.errors.right for one in some], 100, 1),
                _spread([one.units.own for one in some], 100, 0) if weight else "–",
            ]
            for weight, some in found.items()
        ],
    )  # fmt: skip
    rise = fmean(one.units.mean for one in selective) - fmean(one.units.mean for one in plain)
    least = min(b.units.mean - a.units.mean for a, b in zip(plain, selective, strict=True))
    ratios = {
        "relative error": fmean(one.errors.rel for one in selective)
        / fmean(one.errors.rel for one in plain),
        "RMSE": fmean(one.errors.rmse for one in selective)
        / fmean(one.errors.rmse for one in plain),
    }
    page.table(
        ["claim", "measured", "holds"],
        [
            [
                "mean DS rises by at least 0.1",
                f"by {rise:.3f}, at least {least:.3f} of a seed",
                held(rise >= 0.1),
            ],
            *(
                [
                    f"the {name} is at most 5 % larger",
                    f"{100 * (ratio - 1):+.1f} %",
                    held(ratio <= 1.05),
                ]
                for name, ratio in ratios.items()
            ),
        ],
    )
    figure = units_figure(plain[0], selective[0])
    write_figure(
        page.picture(
            "depth-units.png",
            "What each unit answers to, by bin of depth: trained for depth alone, and selective.",
        ),
        figure,
    )
    others = fs.depth.unseen_scenes(settings.size, seed=SEEDS[0], many=JUDGED)
    write_figure(
        page.picture(
            "depth-scenes.png",
            "Scenes, their depth, what the selective network makes of them, its error, and the "
            "bins of the units that answer most.",
        ),
        fs.depth.sheet(selective[0].trained.network, others, selective[0].units),
    )


def units_figure(*found: Judged) -> "Figure":
    """What the units of networks answer to, in the order of the bins by the paper's rule."""
    return fs.depth.heat_maps(
        [
            (_title(one.trained.record["settings"]["weight"]), replace(one.units, given=None))
            for one in found
        ]
    )


def _title(weight: float) -> str:
    return f"selective, weight {weight:g}" if weight else "depth alone"


def _ablation(page: Section, found: dict[float, list[Judged]]) -> None:
    page.text(
        "**Taking a bin's units away** (set to zero): by how much the relative error rises, in "
        "points, in that bin and in the others. Of the network trained for depth alone each unit "
        "counts for the bin that it answers most to."
    )
    rows = []
    for weight, some in found.items():
        maps = [one.ablation for one in some]
        own = [float(one.own[one.asked].mean()) for one in maps]
        others = [float(one.elsewhere[one.asked].mean()) for one in maps]
        more = ", ".join(f"{one.more_in_own} of {int(one.asked.sum())}" for one in maps)
        rows.append([_title(weight), _spread(own, 100, 1), _spread(others, 100, 1), more])
    page.table(
        ["training", "rise in the bin>", "rise elsewhere>", "bins where it rises more, by seed"],
        rows,
    )
    page.text(f"The selective network of seed {SEEDS[0]}, bin by bin:")
    one = found[WEIGHTS[1]][0].ablation
    right = {1, 3, 4, 5, 6}
    page.table([f"{name}>" if at in right else name for at, name in enumerate(COLUMNS)], one.rows)
    write_figure(
        page.picture(
            "depth-ablation.png",
            "By how much the error rises in each bin of true depth without the units of another.",
        ),
        fs.depth.ablation_map(
            [(_title(weight), some[0].ablation) for weight, some in found.items()]
        ),
    )


def _diagnosis(page: Section, found: dict[float, list[Judged]]) -> None:
    page.text(
        "**Errors told by units**: of each pixel the bin of the unit that answers most against the "
        "bin of the prediction; how well the difference tells pixels that are off by more than a "
        "factor of 1.25 from the others (AUROC), beside what needs no units."
    )
    page.table(
        ["training", *(f"{words}>" for words in SCORES.values()), "the bins agree, %>"],
        [
            [
                _title(weight),
                *(_spread([one.diagnosis.told[name].auroc for one in some]) for name in SCORES),
                _spread([one.diagnosis.agreement for one in some], 100, 0),
            ]
            for weight, some in found.items()
        ],
    )
    one = found[WEIGHTS[1]][0].diagnosis
    page.text(f"The selective network of seed {SEEDS[0]}: {one.headline}.")
    page.table(["bins apart>", "pixels>", "wrong>"], one.distance_rows)


def _classes(page: Section) -> None:
    images, labels = mnist("train", PICTURES)
    tests, answers = mnist("test", 2000)
    page.text(
        f"**Classes in place of bins**: `digits-cnn` on {PICTURES:,} digits of MNIST, {EPOCHS} "
        "epochs, each unit of the last convolution assigned a class; read behind its ReLU on 2,000 "
        "test digits. The class-selectivity index is that of `fs.neurons.unit_statistics`."
    )
    rows = []
    for weight in CLASS_WEIGHTS:
        reached, index, own = [], [], []
        for seed in SEEDS:
            with random_state_lock, torch.random.fork_rng([]):
                torch.manual_seed(seed)
                module = build_architecture("digits-cnn")
            loss: Loss | SelectiveLoss = SelectiveLoss(weight=weight) if weight else cross_entropy
            fit(module, images, labels, Recipe(epochs=EPOCHS), seed=seed, loss=loss)
            model = digits_classifier("digits-cnn", module.eval().requires_grad_(False))
            read = fs.neurons.read(model, (tests, answers), READ_AT)
            found = fs.neurons.unit_statistics(read)
            reached.append(accuracy(module, tests, answers))
            index.append(float(np.nanmean(found.selectivity)))
            classes = assignment(found.units.count, len(model.labels)).numpy()
            own.append(float((found.favourite == classes).mean()))
        rows.append(
            [f"{weight:g}" if weight else "0 (cross-entropy)", _spread(index),
             _spread(own, 100, 0), percent(fmean(reached), 2)]
        )  # fmt: skip
    page.table(
        ["weight", "mean class selectivity>", "units that answer most to their own class, %>",
         "accuracy>"],
        rows,
    )  # fmt: skip
