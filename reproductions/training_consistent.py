"""Dong et al.: does a consistent loss make units follow what pictures show?

On digits and on CIFAR-10, three seeds each: plain training, adversarial training by FGSM, and the
same with the consistent loss, whose features come from passes that are made in any case. Every
network is then held against adversarial pictures of its own, by what ``neurons consistency`` says.
Networks and what was measured of them are kept under ``KEPT``; a section that was broken off goes
on. Delete the folder to begin anew.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import fluoroscope as fs
from benchmarks.page import Scale, Section, percent
from fluoroscope.engine.memory import keep_freed_memory
from fluoroscope.engine.threats import Linf
from fluoroscope.files import atomic_path, remove
from fluoroscope.models.builtin import build_architecture
from fluoroscope.models.checkpoints import load_checkpoint
from fluoroscope.models.layers import outputs_of, tapped
from fluoroscope.neurons.meaning.class_similarity import ClassSimilarity
from fluoroscope.neurons.meaning.noise import with_noise
from fluoroscope.neurons.meaning.result import Consistency
from fluoroscope.pictures.curves import COLORS
from fluoroscope.pictures.maps import write_figure
from fluoroscope.training.losses.adversarial import FGSMLoss
from fluoroscope.training.losses.consistent import ConsistentLoss, feature_distance
from fluoroscope.training.trainer.checkpoint import describe
from fluoroscope.training.trainer.fitting import cross_entropy, fit_stream
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import Loss
from fluoroscope.words import count
from reproductions import cifar
from reproductions.sources import PAGE, mnist

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KEPT = Path("out/reproductions/training/consistent")
SEEDS = (0, 1, 2)
WEIGHTS = (1.0,)
RAMP = 0.35
REAL = 1500
"""Test pictures whose units are read."""
SOURCES, TARGETS = 80, 5
"""Test pictures that are led somewhere, and to how many classes each."""
JUDGED, HELD = 100, 200
"""Test pictures of the evaluation, and whose features are held against moved ones."""
STEPS = 20
"""Of the targeted PGD that makes the adversarial pictures."""
FEW = 50
"""Pictures that must have succeeded for units to be read from them alone."""


@dataclass(frozen=True)
class Setting:
    """Pictures, a network for them, and how it is trained."""

    title: str
    eps: str
    pictures: int
    recipe: Recipe
    make: Callable[[], nn.Module]
    layer: str
    """Its last convolution."""
    size: int
    data: Callable[[str], tuple[Tensor, Tensor]]
    labels: tuple[str, ...]


SETTINGS = {
    "digits": Setting(
        "digits", "0.2", 5000, Recipe(epochs=4, batch_size=64),
        lambda: build_architecture("digits-robust", 10), "2", 28, mnist,
        tuple(str(each) for each in range(10)),
    ),
    "cifar": Setting(
        "CIFAR-10", "8/255", 6000,
        Recipe(epochs=4, batch_size=64, learning_rate=5e-3, augment=cifar.augment),
        cifar.network, "9", 32, cifar.cifar, cifar.LABELS,
    ),
}  # fmt: skip
ROWS = {
    "clean": "clean accuracy",
    "robust": "robust accuracy",
    "cosine": "cosine of features, real and moved, less their mean",
    "success": "led to the target",
    "cs1": "CS1",
    "cs2": "CS2",
    "r1": "r1",
    "r2": "r2",
    "level": "p'Ap, real",
    "level_adversarial": "p'Ap, adversarial",
    "flips_attack": "label flips, attack",
    "flips_noise": "label flips, noise",
    "r1_succeeded": "r1, succeeded",
    "cs1_succeeded": "CS1, succeeded",
    "cs2_succeeded": "CS2, succeeded",
}
_SHARES = ("clean", "robust", "success", "flips_attack", "flips_noise")


def arms() -> dict[str, float | None]:
    """By name the weight of the distance; adversarial training has none, plain none at all."""
    return {"plain": None, "adversarial": 0.0, **{f"consistent, {w:g}": w for w in WEIGHTS}}


def section(scale: Scale | None = None) -> Section:
    """Both data sets, all seeds."""
    keep_freed_memory()
    page = Section(
        PAGE, "training-consistent", "Do units follow the picture after a consistent loss?"
    )
    limit = None if scale is None else scale.limit
    page.text(
        "Trained by `ConsistentLoss` (`fluoroscope train --recipe consistent`) on the last "
        "convolution: half the cross-entropy of real pictures, half that of what FGSM makes of "
        "them, and once the distance of their features, `|a - b|² / (|a|² + |b|²)` less what the "
        "pictures of a batch have in common. Neither weight nor distance of the paper are known. "
        "A first distance, with nothing taken off, was lowered by a constant for all pictures, and "
        "is not shown. *Adversarial* is the same without the distance: the same pictures "
        "in the same order from the same weights, and the same passes, for the features come from "
        "passes that are made in any case. Clean and robust accuracy (plan `fast`) are of "
        f"{JUDGED} test pictures; the cosine is of the features of the first {HELD} and of what "
        f"{STEPS} steps of PGD make of them. Units: {REAL:,} real pictures, and "
        f"{SOURCES * TARGETS} adversarial ones, {SOURCES} led to {TARGETS} classes each within the "
        f"bound by {STEPS} steps of targeted PGD against the network itself; *succeeded* are those "
        "that it predicts as their target. A is the identity, so that p'Ap is the same question to "
        "every network. Mean of three seeds, in brackets the lowest and the highest. "
        "Networks and numbers are kept; the seconds below count what was not there."
    )
    for name, setting in SETTINGS.items():
        found = {arm: [_measured(name, arm, seed, limit) for seed in SEEDS] for arm in arms()}
        recipe = setting.recipe
        page.text(
            f"**{setting.title}**: {limit or setting.pictures:,} training pictures, "
            f"{recipe.epochs} epochs in batches of {recipe.batch_size}, bound {setting.eps}."
        )
        page.table(
            ["", *(f"{arm}>" for arm in found)],
            [[words, *(_cell(row, [one[row] for one in each]) for each in found.values())]
             for row, words in ROWS.items()],
        )  # fmt: skip
        page.text(*_claims(setting.title, found))
    _figure(page, limit)
    return page


def network(name: str, arm: str, seed: int = 0, limit: int | None = None) -> fs.Classifier:
    """One of the trained networks, made now if it was not before."""
    setting, place = SETTINGS[name], _place(name, arm, seed, limit)
    module, weights = _module(setting, seed), place / "weights.safetensors"
    if not weights.is_file():
        _train(module, setting, _loss(setting, arm), seed, limit, place / "checkpoint.safetensors")
        with atomic_path(weights) as draft:
            save_file(module.state_dict(), draft)
        remove(place / "checkpoint.safetensors")
    load_checkpoint(module, weights)
    module.eval().requires_grad_(False)
    return fs.Classifier(
        module, labels=setting.labels, name=f"{name}, {arm}", input_size=setting.size
    )


def pictures(name: str, arm: str, seed: int = 0) -> tuple[fs.ImageSet, fs.ImageSet]:
    """The real pictures, and the adversarial ones that were made against one of the networks."""
    _measured(name, arm, seed, None)
    led = fs.load_images(_place(name, arm, seed, None) / "set")
    return _real(SETTINGS[name]), led


def meaning(name: str, arm: str, seed: int = 0, limit: int | None = None) -> Consistency:
    """What the units of its last convolution mean, on all its adversarial pictures."""
    _measured(name, arm, seed, limit)
    return Consistency.load(_place(name, arm, seed, limit) / "meaning")


def _place(name: str, arm: str, seed: int, limit: int | None) -> Path:
    """Where all that belongs to a network lies, by how it is made; the folder is there."""
    setting = SETTINGS[name]
    loss = None if arm == "plain" else describe(_loss(setting, arm))
    made = {
        "recipe": describe(setting.recipe), "loss": loss,
        "pictures": limit or setting.pictures, "layers": str(setting.make()),
        "measured": [REAL, SOURCES, TARGETS, JUDGED, HELD, STEPS, setting.layer],
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:12]
    place = KEPT / f"{name}-{arm.replace(', ', '-')}-{seed}-{digest}"
    place.mkdir(parents=True, exist_ok=True)
    return place


def _module(setting: Setting, seed: int) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return setting.make()


def _loss(setting: Setting, arm: str) -> Loss | ConsistentLoss:
    weight = arms()[arm]
    if weight is None:
        return cross_entropy
    base = FGSMLoss(threat=Linf(setting.eps), ramp=RAMP)
    return ConsistentLoss(base=base, layer=setting.layer, weight=weight) if weight else base


def _train(
    module: nn.Module, setting: Setting, loss: Loss | ConsistentLoss, seed: int,
    limit: int | None, checkpoint: Path,
) -> None:  # fmt: skip
    images, labels = (part[: limit or setting.pictures] for part in setting.data("train"))
    steps = fit_stream(
        module, images, labels, setting.recipe, seed=seed, loss=loss, checkpoint=checkpoint
    )
    *_, last = steps
    print(f"{checkpoint.parent.name}: {last}", flush=True)


def _measured(name: str, arm: str, seed: int, limit: int | None) -> dict[str, float]:
    """What was measured of a network, now if it was not before."""
    file = _place(name, arm, seed, limit) / "measured.json"
    if not file.is_file():
        found = _measure(SETTINGS[name], network(name, arm, seed, limit), file.parent)
        with atomic_path(file) as draft:
            draft.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        print(file.parent.name, found, flush=True)
    measured: dict[str, float] = json.loads(file.read_text("utf-8"))
    return measured


def _measure(setting: Setting, model: fs.Classifier, place: Path) -> dict[str, float]:
    images, labels = _test(setting)
    verdict = fs.evaluate(
        model,
        images[:JUDGED],
        labels[:JUDGED],
        threat=Linf(setting.eps),
        plan="fast",
        at_chance=True,
    )
    all_of_them, succeeded = _meanings(setting, model, place)
    found = {
        "clean": verdict.clean_accuracy,
        "robust": verdict.robust_accuracy,
        "cosine": _cosine(setting, model, images[:HELD], labels[:HELD]),
        "success": all_of_them.record["targeted_success"],
    }
    for name in ("cs1", "cs2", "r1", "r2", "level", "level_adversarial", "flips_attack",
                 "flips_noise"):  # fmt: skip
        found[name] = all_of_them.layer[name].value
    for name in ("r1", "cs1", "cs2"):
        found[f"{name}_succeeded"] = nan if succeeded is None else succeeded.layer[name].value
    return found


def _test(setting: Setting) -> tuple[Tensor, Tensor]:
    images, labels = (part[:REAL] for part in setting.data("test"))
    return (images / 255 if images.dtype == torch.uint8 else images), labels


def _real(setting: Setting) -> fs.ImageSet:
    images, labels = _test(setting)
    return fs.load_images(images, labels=[setting.labels[each] for each in labels])


def _meanings(
    setting: Setting, model: fs.Classifier, place: Path
) -> tuple[Consistency, Consistency | None]:
    """Of all adversarial pictures, and of those that succeeded if there are enough."""
    real = _real(setting)
    attack = fs.attack("pgd", eps=setting.eps, steps=STEPS)
    led = fs.neurons.adversarial_set(
        model, real.take(SOURCES, first=True), out=place / "set", targets=TARGETS, attack=attack
    )
    read = {
        kind: fs.neurons.read(model, pictures, setting.layer, out=place / kind)
        for kind, pictures in
        {"real": real, "adversarial": led, "noisy": with_noise(model, real)}.items()
    }  # fmt: skip
    alike = ClassSimilarity(
        np.eye(len(setting.labels)), setting.labels, "tree", "no class is like another", "ours"
    )
    made = []
    for successful in (False, True):
        if successful and made[0].record["targeted_success"] * SOURCES * TARGETS < FEW:
            made.append(None)
            continue
        made.append(
            fs.neurons.consistency(
                read["real"],
                read["adversarial"],
                alike,
                model=model,
                noisy=read["noisy"],
                successful=successful,
            )
        )
    made[0].save(place / "meaning")
    return made[0], made[1]


def _cosine(setting: Setting, model: fs.Classifier, images: Tensor, labels: Tensor) -> float:
    """Of the layer's features on pictures and on what PGD makes of them, the mean."""
    attack = fs.attack("pgd", eps=setting.eps, steps=STEPS)
    moved = attack(model, images, labels, keep="last").images
    features = []
    for pictures in (images, moved):
        with tapped(model, setting.layer) as kept, torch.no_grad():
            model(pictures)
        features += outputs_of(kept, setting.layer, len(pictures), model)
    return 1 - float(feature_distance(*features, "cosine"))


def _cell(row: str, values: Sequence[float]) -> str:
    """Mean, lowest and highest of the seeds."""
    known = [value for value in values if not isnan(value)]
    if not known:
        return "–"
    words = percent if row in _SHARES else "{:.3f}".format
    few = "" if len(known) == len(values) else f", {count(len(known), 'seed')}"
    return f"{words(fmean(known))} ({words(min(known))} to {words(max(known))}{few})"


def _claims(title: str, found: dict[str, list[dict[str, float]]]) -> list[str]:
    """What the paper says, beside adversarial training alone, for each weight."""
    said = []
    before, plain = found["adversarial"], found["plain"]
    for arm in list(found)[2:]:
        after = found[arm]
        better = {
            "CS1 is higher": ("cs1", 1), "CS2 is lower": ("cs2", -1), "r1 is lower": ("r1", -1),
            "r2 is lower": ("r2", -1), "fewer labels flip": ("flips_attack", -1),
            "features agree more": ("cosine", 1),
        }  # fmt: skip
        seeds = {
            words: sum(sign * (b[row] - a[row]) > 0 for a, b in zip(before, after, strict=True))
            for words, (row, sign) in better.items()
        }
        agree, alone = (
            sum(b["cosine"] > a["cosine"] for a, b in zip(plain, one, strict=True))
            for one in (after, before)
        )
        below = {row: sum(one[row] < 1 for one in after) for row in ("r1", "r2")}
        holds = min(*seeds.values(), *below.values()) == len(SEEDS)
        verdict = "holds" if holds else "does not hold in all of this"
        listed = ", ".join(f"{words} in {many}" for words, many in seeds.items())
        said.append(
            f"{title}, {arm}, beside adversarial training alone, of {len(SEEDS)} seeds: {listed}; "
            f"r1 is below 1 in {below['r1']}, r2 in {below['r2']}. That units follow what pictures "
            f"show more than after adversarial training alone **{verdict}**; clean accuracy goes "
            f"from {percent(_mean(before, 'clean'))} to {percent(_mean(after, 'clean'))}, robust "
            f"from {percent(_mean(before, 'robust'))} to {percent(_mean(after, 'robust'))}. "
            f"Features of real and moved pictures agree more than after plain training in {agree}, "
            f"and after adversarial training alone do so in {alone}."
        )
        low, high = (pick(one["robust"] for one in after) for pick in (min, max))
        if low < high / 3:
            said[-1] += (
                f" In one seed {percent(low)} stay robust, in another {percent(high)}: against "
                "FGSM a network may learn to bend its gradient, and the distance does not keep it "
                "from that."
            )
    return said


def _mean(found: Sequence[dict[str, float]], row: str) -> float:
    return fmean(one[row] for one in found)


def _figure(page: Section, limit: int | None) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained", dpi=110)
    places = figure.subplots(1, len(SETTINGS), sharey=True)
    for axes, (name, setting) in zip(places, SETTINGS.items(), strict=True):
        _levels(axes, name, limit)
        axes.set(title=setting.title, xlabel="level of consistency, p'Ap", ylim=(-0.02, 1.02))
    places[0].set(ylabel="cosine")
    places[-1].legend(fontsize=8)
    words = (
        "CS1 (lines) and CS2 (dashed) of units by their level of consistency, as in Fig. 8 of the "
        f"paper; seed {SEEDS[0]}."
    )
    write_figure(page.picture("training-consistent-levels.png", words), figure)


def _levels(axes: "Axes", name: str, limit: int | None) -> None:
    for colour, arm in zip(COLORS, arms(), strict=False):
        bins = meaning(name, arm, SEEDS[0], limit).bins
        levels = [each.level for each in bins]
        for row, style in (("cs1", "-"), ("cs2", "--")):
            axes.plot(
                levels, [getattr(each, row).value for each in bins], style, color=colour,
                marker="o", markersize=3, label=arm if row == "cs1" else None,
            )  # fmt: skip
    axes.grid(alpha=0.25)
