"""What today's additions to adversarial training are worth, on CIFAR-10 at a size that a processor
core can train: weight averaging, AWP, MART, TRADES, a second source and several norms. And a
network that overfits catastrophically, watched.

Networks and what was measured of them are kept under ``KEPT``; a section that was broken off goes
on. Delete the folder to begin anew.
"""

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import fluoroscope as fs
from benchmarks.page import Section, percent
from fluoroscope.engine.memory import keep_freed_memory
from fluoroscope.engine.threats import L1, L2, Linf, Threat
from fluoroscope.files import atomic_path, atomic_set, remove
from fluoroscope.notices import collected
from fluoroscope.pictures.curves import COLORS
from fluoroscope.pictures.maps import write_figure
from fluoroscope.training.beside.averaging import WeightAverage
from fluoroscope.training.beside.awp import AdversarialWeightPerturbation
from fluoroscope.training.beside.watching import Watch, Watching
from fluoroscope.training.losses.adversarial import AdversarialLoss, FGSMLoss, PGDLoss, TRADESLoss
from fluoroscope.training.losses.mart import MARTLoss
from fluoroscope.training.losses.multi_norm import MultiNormLoss
from fluoroscope.training.trainer.checkpoint import describe
from fluoroscope.training.trainer.companion import Companion, Running
from fluoroscope.training.trainer.fitting import fit_stream
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.second import SecondSource
from fluoroscope.training.trainer.step import Loss
from reproductions import cifar
from reproductions.sources import PAGE, mnist

KEPT = Path("out/reproductions/training/robust")
SEED = 0
PICTURES = 5000
"""Training pictures; as many that follow them are the second source."""
STEPS = 3
"""Of the search for every moved picture."""
BALL = Linf(cifar.EPS)
NORMS: dict[str, Threat] = {"Linf 8/255": BALL, "L2 0.5": L2(0.5), "L1 12": L1(12.0)}
JUDGED = 200
"""The first test pictures, on which all are attacked."""
RECIPE = Recipe(epochs=4, batch_size=64, learning_rate=5e-3, augment=cifar.augment)
MORE = replace(RECIPE, epochs=2, learning_rate=1e-3)
"""Of the fine-tuning in several norms."""


TRUSTED = ("AT", "TRADES", "MART")
"""Whose verdicts are looked at for reasons not to trust them."""
FILES = ("average.safetensors", "passes.json", "weights.safetensors")


@dataclass(frozen=True)
class Arm:
    """How a network is trained."""

    loss: Loss | Companion
    beside: tuple[Companion, ...] = ()
    second: float | None = None
    """The second source's share of each batch."""
    recipe: Recipe = RECIPE
    after: str | None = None
    """The network that it goes on from."""
    averaged: bool = False
    """Whether the network is the average of the weights; every training makes both."""

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "loss": describe(self.loss), "beside": describe(self.beside), "second": self.second,
            "recipe": describe(self.recipe), "pictures": PICTURES, "judged": JUDGED, "seed": SEED,
            "after": None if self.after is None else ARMS[self.after].describe(),
        }  # fmt: skip


PLAIN = PGDLoss(threat=BALL, steps=STEPS)
ARMS = {
    "AT": Arm(PLAIN),
    "AT + EMA": Arm(PLAIN, averaged=True),
    "AT + AWP": Arm(PLAIN, (AdversarialWeightPerturbation(),)),
    "TRADES": Arm(TRADESLoss(threat=BALL, steps=STEPS)),
    "MART": Arm(MARTLoss(threat=BALL, steps=STEPS)),
    "AT + second source": Arm(PLAIN, second=0.5, recipe=replace(RECIPE, epochs=2)),
    "AT, then several norms": Arm(
        MultiNormLoss(threats=(BALL, NORMS["L1 12"]), steps=5), recipe=MORE, after="AT"
    ),
}


def section() -> Section:
    """All of it."""
    keep_freed_memory()
    page = Section(PAGE, "training-robust", "What is added to adversarial training today")
    found = {name: measured(name) for name in ARMS}
    _of_arms(page, found)
    _of_norms(page, found)
    _of_watch(page)
    return page


def network(name: str) -> fs.Classifier:
    """One of the trained networks, made now if it was not before."""
    place = _place(name)
    if not (place / FILES[0]).is_file():
        _train(name, place)
    weights = place / f"{'average' if ARMS[name].averaged else 'weights'}.safetensors"
    module = cifar.network()
    module.load_state_dict(load_file(weights))
    module.eval().requires_grad_(False)
    return fs.Classifier(module, labels=cifar.LABELS, name=name, input_size=32)


def measured(name: str) -> dict[str, Any]:
    """What was measured of it, now if it was not before."""
    file = _place(name) / f"measured{'-average' if ARMS[name].averaged else ''}.json"
    if not file.is_file():
        found = _measure(network(name), name in TRUSTED) | json.loads(
            (file.parent / "passes.json").read_text()
        )
        with atomic_path(file) as draft:
            draft.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        print(name, found, flush=True)
    kept: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return kept


def _place(name: str) -> Path:
    """Where all that belongs to a network lies, by how it is made; the folder is there."""
    made = json.dumps(ARMS[name].describe(), sort_keys=True).encode()
    words = name.removesuffix(" + EMA").lower()
    words = words.replace(" + ", "-").replace(", ", "-").replace(" ", "-")
    place = KEPT / f"{words}-{hashlib.sha256(made).hexdigest()[:12]}"
    place.mkdir(parents=True, exist_ok=True)
    return place


def _train(name: str, place: Path) -> None:
    arm = ARMS[name]
    with torch.random.fork_rng([]):
        torch.manual_seed(SEED)
        module = cifar.network()
    if arm.after is not None:
        module.load_state_dict(network(arm.after).module.state_dict())
    images, labels = cifar.cifar("train")
    second = None
    if arm.second is not None:
        of = slice(PICTURES, 2 * PICTURES)
        second = SecondSource(images[of], labels[of], arm.second)
    passes, checkpoint = _counted(module), place / "checkpoint.safetensors"
    average = WeightAverage().begin(module, 10)
    first, *_, last = fit_stream(
        module, images[:PICTURES], labels[:PICTURES], arm.recipe, seed=SEED, loss=arm.loss,
        beside=[*arm.beside, _Own(), average], second=second, checkpoint=checkpoint,
    )  # fmt: skip
    # Of a training that went on, those of the steps before it are like the others'.
    share = last.number / (last.number - (first.number if first.number > 1 else 0))
    made = {kind: round(many * share) for kind, many in passes.items()}
    print(name, last, made, flush=True)
    with atomic_set(*(place / f for f in FILES)) as (averaged, said, own):
        save_file(module.state_dict(), averaged)
        save_file(_Own.kept, own)
        said.write_text(json.dumps(made | {"seconds": last.seconds}), encoding="utf-8")
    remove(checkpoint)


class _Own(Running):
    """Keeps the network's own weights, before the average takes their place."""

    kept: ClassVar[dict[str, Tensor]] = {}

    def end(self, module: nn.Module) -> None:
        _Own.kept = {name: value.clone() for name, value in module.state_dict().items()}


def _counted(module: nn.Module) -> dict[str, int]:
    """Pictures that go through the network from now on, forward and back."""
    passes = {"forwards": 0, "backwards": 0}

    def forward(part: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
        passes["forwards"] += len(answer)
        if answer.requires_grad:
            answer.register_hook(back)

    def back(slope: Tensor) -> None:
        passes["backwards"] += len(slope)

    module.register_forward_hook(forward)
    return passes


def _measure(model: fs.Classifier, trust: bool) -> dict[str, Any]:
    images, labels = cifar.cifar("test")
    images = images / 255
    few = images[:JUDGED], labels[:JUDGED]
    right = int((fs.predict(model, images, batch_size=500).winners == labels).sum())
    pgd = fs.attack("pgd", eps=cifar.EPS, steps=10)(model, *few, seed=SEED)
    verdict = fs.evaluate(model, *few, threat=BALL, plan="fast", at_chance=True, trust=trust)
    norms, left = {}, torch.ones(JUDGED, dtype=torch.bool)
    for name, threat in NORMS.items():
        attack = fs.attack("apgd", eps=threat.eps, norm=threat.name, steps=20)
        survives = ~attack(model, *few, seed=SEED).success.cpu()
        norms[name] = survives.double().mean().item()
        left &= survives
    return {
        "clean": right / len(images),
        "pgd": (~pgd.success).double().mean().item(),
        "robust": verdict.robust_accuracy,
        "norms": norms,
        "all_norms": left.double().mean().item(),
        "trust": {check.name: check.status for check in verdict.trust},
        "words": {c.name: c.words for c in verdict.trust if c.status not in ("pass", "not made")},
    }


def _of_arms(page: Section, found: Mapping[str, dict[str, Any]]) -> None:
    page.text(
        f"The network of `reproductions/cifar.py` (132,426 weights) on {PICTURES:,} training "
        f"pictures, {RECIPE.epochs} epochs in batches of {RECIPE.batch_size}, moved within "
        f"{cifar.EPS} by {STEPS} steps, from the same weights and in the same order; seed {SEED}. "
        "AT is `PGDLoss`. *Second source*: half of each batch are pictures that were held back, "
        "which stand in for what a generator would make, for half as many epochs: so each real "
        "picture is seen half as often, and as many pictures in all. Clean accuracy is of 10,000 "
        f"test pictures, the others of the first {JUDGED}: PGD of 10 steps, and the verdict of the "
        "plan `fast`; the trust checks were made of three. Passes are pictures that went through "
        "the network in the training, forward and back. EMA and the last weights of AT are of one "
        "training."
    )
    rows = []
    for name, one in found.items():
        gap = one["pgd"] - one["robust"]
        objecting = [check for check, status in one["trust"].items() if status in ("warn", "fail")]
        rows.append(
            [name, percent(one["clean"]), percent(one["pgd"]), percent(one["robust"]),
             f"{100 * gap:.1f}", f"{one['forwards'] / 1e3:.0f}", f"{one['backwards'] / 1e3:.0f}",
             (", ".join(objecting) or "none") if one["trust"] else "–"]
        )  # fmt: skip
    page.table(
        ["training", "clean>", "PGD-10>", "verdict>", "gap, points>", "thousand passes forward>",
         "and back>", "trust checks that object"], rows,
    )  # fmt: skip
    spent = sum(one["seconds"] for name, one in found.items() if not ARMS[name].averaged)
    page.text(
        f"The trainings took {spent:.0f} s of a crowded machine's clock; they are kept, and the "
        "time below is of what was not."
    )
    at, mart = found["AT"], found["MART"]
    page.text(
        "Of a ResNet-18 trained for long the gap of MART between PGD and AutoAttack is twice that "
        f"of AT (7.2 and 4.1 points, MAIR's table); here it is {_gap(mart)} and {_gap(at)} points, "
        f"of {JUDGED} pictures, where a point is {JUDGED // 100} pictures. "
        "Verdicts that differ by less than some six points may be the same, those of EMA and AWP "
        "beside AT included: in so short a training robust overfitting, which both are for, has "
        "not begun."
    )
    for name, one in found.items():
        for check, words in one["words"].items():
            page.text(f"{name}, *{check}*: {words}")


def _gap(one: Mapping[str, Any]) -> str:
    return f"{100 * (one['pgd'] - one['robust']):.1f}"


def _of_norms(page: Section, found: Mapping[str, dict[str, Any]]) -> None:
    page.text(
        f"**Several norms.** The network of AT, trained on for {MORE.epochs} epochs by "
        "`MultiNormLoss` within Linf 8/255 and L1 12 (E-AT, 5 steps): surviving 20 steps of "
        f"Auto-PGD within each norm and within all, of {JUDGED} pictures."
    )
    at, tuned = found["AT"]["norms"], found["AT, then several norms"]["norms"]
    changes = [f"{norm} by {100 * (tuned[norm] - at[norm]):+.1f}" for norm in NORMS]
    page.text(
        f"Points gained: {', '.join(changes)}; in all three by "
        f"{100 * (found['AT, then several norms']['all_norms'] - found['AT']['all_norms']):+.1f}. "
        f"The network of AT survives within L1 12 on {percent(at['L1 12'])} of the pictures and "
        f"within Linf 8/255 on {percent(at['Linf 8/255'])}"
        + (
            ", so there is little to gain in the norm that it was not trained in."
            if at["Linf 8/255"] - at["L1 12"] < 0.05
            else "."
        )
    )
    page.table(
        ["training", *(f"{norm}>" for norm in NORMS), "all three>", "clean>"],
        [[name, *(percent(one["norms"][norm]) for norm in NORMS), percent(one["all_norms"]),
          percent(one["clean"])]
         for name, one in found.items() if name in ("AT", "AT, then several norms")],
    )  # fmt: skip


# A network that resists is trained on, within more than it resists: in one step, and in several.
WATCHED: dict[str, AdversarialLoss] = {
    "FGSM, one step": FGSMLoss(threat=Linf(0.4), alpha=0.0),
    "PGD, 7 steps": PGDLoss(threat=Linf(0.4), steps=7),
}
WATCHED_RECIPE = Recipe(epochs=2, batch_size=64, learning_rate=5e-3)
WATCHED_PICTURES = 2000


def watched(name: str) -> tuple[Watching, list[str]]:
    """The watch of a training, and what it told."""
    loss, (images, labels) = WATCHED[name], mnist("train")
    module = deepcopy(fs.load_model("digits-robust").module).requires_grad_(True)
    watch = Watch(images=images[:128], labels=labels[:128], threat=loss.threat).begin(module, 10)
    of = slice(128, 128 + WATCHED_PICTURES)
    with collected() as told:
        for _ in fit_stream(
            module, images[of], labels[of], WATCHED_RECIPE, seed=SEED, loss=loss, beside=[watch]
        ):
            pass
    return watch, told


def _of_watch(page: Section) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained", dpi=110)
    places = figure.subplots(1, len(WATCHED), sharey=True)
    page.text(
        "**Catastrophic overfitting, planted.** `digits-robust`, which resists within 0.3, is "
        f"trained on within 0.4 on {WATCHED_PICTURES:,} MNIST pictures for {WATCHED_RECIPE.epochs} "
        "epochs, once by one step of FGSM alone and once by PGD. The watch looks at 128 held-out "
        "pictures, ten steps of PGD each, some twenty times."
    )
    for axes, name in zip(places, WATCHED, strict=True):
        watch, told = watched(name)
        at = [look.number for look in watch.found]
        for (words, values), colour in zip(
            {
                "moved training pictures": [look.training for look in watch.found],
                "held out, clean": [look.clean / look.pictures for look in watch.found],
                "held out, PGD": [look.adversarial for look in watch.found],
            }.items(),
            COLORS,
            strict=False,
        ):
            axes.plot(at, values, color=colour, marker="o", markersize=3, label=words)
        page.text(f"{name}: {told[0]}." if told else f"{name}: no warning.")
        if told:
            warned = int(told[0].split()[1].rstrip(":"))
            axes.axvline(warned, color="black", linestyle=":", label="warning")
        axes.set(title=name, xlabel="step", ylim=(-0.02, 1.02))
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, loc="center right")
    places[0].set(ylabel="share classified correctly")
    words = "Watched while it happens: one step is found no more, ten find nearly all."
    write_figure(page.picture("training-robust-watch.png", words), figure)
