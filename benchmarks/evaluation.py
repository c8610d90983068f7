"""Whole verdicts: the plans ``standard`` and ``fast``, and the nearest that the peers offer.

Passes are counted at the module for all alike: the images that it is shown, and those whose
gradients come back through it. So looks that a verdict needs, and peers' own bookkeeping, count.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import fluoroscope as fs
from benchmarks.adapters import Bare, Search, by_art, by_foolbox, by_torchattacks, versions
from benchmarks.page import PAGE, Scale, Section, Skipped, percent
from benchmarks.peers import MNIST, PICTURES, SHARED
from benchmarks.timing import on_threads
from fluoroscope.engine.bounds import as_number
from fluoroscope.evaluation.runs.run_directory import RunDirectory

PLANS = ("standard", "fast")
_BATCH = 256


@dataclass
class Passes:
    """What went through a module."""

    forwards: int = 0
    backwards: int = 0

    @contextmanager
    def counted(self, *modules: nn.Module) -> Iterator[None]:
        """Inside, the modules' images count, and those whose gradients come back."""

        def back(gradient: Tensor) -> None:
            self.backwards += len(gradient)

        def forth(_: nn.Module, __: tuple[Tensor, ...], output: Any) -> None:
            logits = output if isinstance(output, Tensor) else output.logits
            self.forwards += len(logits)
            if logits.requires_grad:
                logits.register_hook(back)

        hooks = [module.register_forward_hook(forth) for module in modules]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


@dataclass(frozen=True)
class Found:
    """A verdict, and what it cost."""

    fooled: Tensor
    """``(N,)`` booleans: misclassified clean, or within the bound."""
    seconds: float
    """By the processor's clock."""
    wall: float
    """By the clock on the wall."""
    passes: Passes

    @property
    def total(self) -> int:
        """Passes forward and back."""
        return self.passes.forwards + self.passes.backwards


@dataclass(frozen=True)
class Bed:
    """A network, labelled pictures for it, and bounds in Linf."""

    title: str
    load: Callable[[], tuple[fs.Classifier, fs.ImageSet]]
    bounds: tuple[str, ...]
    count: int
    """Pictures."""
    peers: bool = False
    words: str = ""
    seeds: tuple[int, ...] = (0,)
    prepared: bool = False
    """Whether both plans search on the network prepared exactly, as the command line does."""


def evaluations(name: str, scale: Scale) -> Section:
    """Both plans, and the peers where they are asked for, on one network."""
    bed = BEDS[name]
    model, data = bed.load()
    data = data.take(min(scale.limit or bed.count, len(data)), first=True)
    section = Section(PAGE, f"evaluate-{name}", bed.title)
    section.text(
        f"The first {len(data)} pictures{bed.words}. *Forwards* and *backwards* are the images "
        "that went through the module and the gradients that came back through it, counted there "
        "for everybody, looks at the clean images included; one thread. *Only it fools*: pictures "
        "that the plan `standard` leaves. *Only `standard`*: those that it fools alone."
    )
    rows = []
    for bound in bed.bounds:
        for seed in bed.seeds:
            ways = {
                f"`{plan}`": partial(_verdict, model, data, bound, plan, seed, bed.prepared)
                for plan in PLANS
            }
            if bed.peers:
                ways |= _peers(model, data, bound)
            found: dict[str, Found] = {}
            for by, way in ways.items():
                found[by] = way()
                rows.append(_cells(bound, seed, by, found[by], found["`standard`"]))
                print(" | ".join(rows[-1]), flush=True)
    section.table(
        ["Linf", "seed>", "by", "robust accuracy>", "forwards>", "backwards>", "passes ÷ standard>",
         "CPU s>", "÷ standard>", "wall s>", "only it fools>", "only `standard`>"],
        rows,
    )  # fmt: skip
    if bed.peers:
        section.text(
            "The peers get the bare network, frozen, and the pictures that it classifies "
            "correctly; what they return counts as fooled if the plain network misclassifies it "
            "within the bound and the box. torchattacks: its APGD, APGDT, FAB and Square with the "
            "published budgets (100 steps, 9 targets, 5,000 queries) one after the other on what "
            "is left, for its own `AutoAttack` makes 10 steps. ART: its `AutoAttack` with its "
            "defaults, which has no targeted DLR and no FAB. Foolbox has no AutoAttack: PGD of 100 "
            "steps from 10 starts, then FMN of 1,000 steps and DeepFool. "
            f"{versions(['torchattacks', 'foolbox', 'ART'])}."
        )
    return section


def _cells(bound: str, seed: int, by: str, found: Found, standard: Found) -> list[str]:
    count = len(found.fooled)
    surviving = int((~found.fooled).sum())
    return [
        bound, str(seed), by, f"{percent(surviving / count)} ({surviving} of {count})",
        f"{found.passes.forwards:,}", f"{found.passes.backwards:,}",
        f"{found.total / standard.total:.3f}", f"{found.seconds:.0f}",
        f"{found.seconds / standard.seconds:.3f}", f"{found.wall:.0f}",
        str(int((found.fooled & ~standard.fooled).sum())),
        str(int((~found.fooled & standard.fooled).sum())),
    ]  # fmt: skip


def _verdict(
    model: fs.Classifier, data: fs.ImageSet, bound: str, plan: str, seed: int, prepared: bool
) -> Found:
    passes, searched = Passes(), fs.prepare(model) if prepared else model
    modules = {model.module, searched.module}
    with tempfile.TemporaryDirectory() as out, on_threads(1), passes.counted(*modules):
        began = _now()
        fs.evaluate(
            searched, data, threat=f"linf:{bound}", plan=plan, out=out, seed=seed,
            batch_size=_BATCH, at_chance=True,
        )  # fmt: skip
        seconds, wall = _since(began)
        rows = RunDirectory(Path(out)).tables()
    fooled = set(rows.filter(rows["success"])["index"].to_pylist())
    misclassified = torch.tensor([index in fooled for index in data.indices])
    return Found(misclassified, seconds, wall, passes)


def _now() -> tuple[float, float]:
    """The processor's clock and the one on the wall."""
    return time.process_time(), time.perf_counter()


def _since(began: tuple[float, float]) -> tuple[float, float]:
    seconds, wall = _now()
    return seconds - began[0], wall - began[1]


def _peers(model: fs.Classifier, data: fs.ImageSet, bound: str) -> dict[str, Callable[[], Found]]:
    """By each peer, attack after attack on what is left."""
    import foolbox

    batch = next(iter(data.batches(len(data), fit=model.preprocessing)))
    images, labels, eps = batch.images, batch.labels, as_number(bound)
    assert labels is not None
    network, classes = Bare(model), model.num_classes
    linf = {"norm": "Linf", "eps": eps}
    pgd = foolbox.attacks.LinfPGD(steps=100).repeat(10)
    searches: dict[str, list[Search]] = {
        "torchattacks": [
            by_torchattacks(network, "APGD", _BATCH, steps=100, **linf),
            by_torchattacks(network, "APGDT", _BATCH, steps=100, n_classes=classes, **linf),
            by_torchattacks(
                network, "FAB", _BATCH, steps=100, multi_targeted=True, n_classes=classes, **linf
            ),
            by_torchattacks(network, "Square", _BATCH, n_queries=5000, **linf),
        ],
        "ART": [by_art(network, "AutoAttack", images, _BATCH, eps=eps, eps_step=2 * eps)],
        "foolbox": [
            by_foolbox(network, pgd, _BATCH, epsilon=eps),
            by_foolbox(network, foolbox.attacks.LInfFMNAttack(steps=1000), _BATCH),
            by_foolbox(network, foolbox.attacks.LinfDeepFoolAttack(steps=100), _BATCH),
        ],
    }
    return {
        name: partial(_by_peer, model, network, images, labels, fs.Linf(eps), each)
        for name, each in searches.items()
    }


def _by_peer(
    model: fs.Classifier, network: nn.Module, images: Tensor, labels: Tensor, threat: fs.Linf,
    searches: list[Search],
) -> Found:  # fmt: skip
    passes, began = Passes(), _now()
    with on_threads(1), passes.counted(model.module):
        fooled = _misread(network, images, labels)
        for search in searches:
            left = (~fooled).nonzero().squeeze(1)
            if not len(left):
                break
            found = search(images[left], labels[left])
            inside = ((found >= 0) & (found <= 1)).flatten(1).all(1)
            inside &= threat.allows(found, images[left])
            fooled[left] = inside & _misread(network, found, labels[left])
    return Found(fooled, *_since(began), passes)


@torch.no_grad()
def _misread(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return torch.cat([network(part).argmax(1) for part in images.split(_BATCH)]) != labels


def _digits(name: str) -> Callable[[], tuple[fs.Classifier, fs.ImageSet]]:
    def load() -> tuple[fs.Classifier, fs.ImageSet]:
        _needs(MNIST)
        return fs.load_model(name), fs.load_images(str(MNIST), "test", channels=1)

    return load


def _pictures(name: str) -> Callable[[], tuple[fs.Classifier, fs.ImageSet]]:
    def load() -> tuple[fs.Classifier, fs.ImageSet]:
        _needs(SHARED / "models" / name)
        _needs(PICTURES)
        return fs.load_model(str(SHARED / "models" / name)), fs.load_images(str(PICTURES))

    return load


def _cifar(name: str) -> Callable[[], tuple[fs.Classifier, fs.ImageSet]]:
    def load() -> tuple[fs.Classifier, fs.ImageSet]:
        _needs(SHARED / "data/cifar10")
        model = fs.load_model(f"python:reproductions.cifar:{name}")
        return model, fs.load_images(str(SHARED / "data/cifar10"), "test")

    return load


def _needs(path: Path) -> None:
    if not path.is_dir():
        raise Skipped(f"it needs {path}")


_DIGITS = " of MNIST's test set"
_CIFAR = " of CIFAR-10's test set; the network is that of `reproductions.cifar`"
_PICTURES = " of the sample of ImageNet; both plans search on the network as `fs.prepare` makes it"
_SMALL = ("0.25/255", "0.5/255", "1/255")
BEDS = {
    "digits-robust": Bed(
        "Verdicts: `digits-robust`", _digits("digits-robust"), ("0.3", "0.2"), 1000, words=_DIGITS
    ),
    "digits-cnn": Bed(
        "Verdicts: `digits-cnn`", _digits("digits-cnn"), ("0.05", "0.1"), 1000, words=_DIGITS
    ),
    "peers": Bed(
        "Verdicts: the nearest that peers offer", _digits("digits-robust"), ("0.3",), 200,
        peers=True, words=_DIGITS + ", `digits-robust`",
    ),
    "cifar-robust": Bed(
        "Verdicts: a network that the plans were not built on, adversarially trained",
        _cifar("robust"), ("8/255", "4/255"), 200, words=_CIFAR,
    ),
    "cifar-plain": Bed(
        "Verdicts: a network that the plans were not built on, plain",
        _cifar("plain"), ("1/255", "0.5/255"), 200, words=_CIFAR,
    ),
    "mobilenet-small": Bed(
        "Verdicts: MobileNet v1 0.25 at 128×128", _pictures("mobilenet_v1_0.25_128"), _SMALL, 30,
        words=_PICTURES, prepared=True,
    ),
    "mobilenet-v1": Bed(
        "Verdicts: MobileNet v1 0.75 at 224×224", _pictures("mobilenet_v1_0.75_224"),
        ("0.1/255", *_SMALL), 12,
        words=_PICTURES, prepared=True,
    ),
    "mobilenet-v2": Bed(
        "Verdicts: MobileNet v2 1.0 at 224×224", _pictures("mobilenet_v2_1.0_224"), _SMALL, 16,
        words=_PICTURES, prepared=True,
    ),
}  # fmt: skip
SECTIONS = {f"evaluate-{name}": partial(evaluations, name) for name in BEDS}
