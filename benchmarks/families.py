"""Every attack that a peer also has: seconds at the same images, bound and steps or queries.

By the processor's clock on one thread, which other work on the machine hardly bends.

Speed is only compared at equal success: a peer's seconds are divided by those of the quickest of
ours that does at least as well, which is that it fools as many (within one image in fifty) and,
where the closest success is wanted, that its median distance is at most 5 % above the peer's. Where
ours would go on to do better than any peer, it is shown with smaller budgets as well.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import fluoroscope as fs
from benchmarks.adapters import Bare, Search, by_art, by_foolbox, by_torchattacks, versions
from benchmarks.page import PAGE, Scale, Section, Skipped, percent
from benchmarks.peers import FAIR, SHARED, Contest, digit_contest, picture_contest
from benchmarks.timing import interleaved
from benchmarks.verdicts import Passes
from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.result import AttackResult

SMALL = SHARED / "models/mobilenet_v1_0.25_128"
_CLOSE = 1.05
_ALIKE = 0.02
_FEW = 2
_PREPARED = "ours, prepared"
_WHOLE = "the end kept"


@dataclass(frozen=True)
class Match:
    """One attack by all who have it."""

    attack: str
    """Its name in the registry, and what is told apart by a norm."""
    ours: Method
    settings: str
    """In words, what all were given."""
    peers: Callable[[nn.Module, Tensor, int], dict[str, Search]]
    """From the bare network, images of the kind and a batch size."""
    count: int = 128
    """Images."""
    turns: int = 5
    """Of every way, after one on a few images to warm up."""
    whole: bool = False
    """Whether ours is shown with all its steps as well, as an attack to transfer is used."""
    variants: dict[str, Callable[..., AttackResult]] = field(default_factory=dict)
    """Ours with other budgets on the prepared network, by what they are called."""
    colour: bool = False
    """On pictures of ImageNet by a small MobileNet: for a peer that takes no grey ones."""


def family(name: str, scale: Scale) -> Section:
    """Seconds of every attack of a family that a peer has, and of the peer."""
    section = Section(PAGE, f"family-{name}", f"Attacks that a peer also has: {name}")
    section.text(
        "`digits-cnn`, test digits of MNIST, at most 128 a batch (the smallest MobileNet and "
        "pictures of ImageNet where a peer takes no grey ones); fewer images where a peer takes "
        "them one by one. *Images through* are the images that the network has seen for each one "
        "attacked, those of gradients included. The median distance counts what was not fooled as "
        "infinitely far. Ours stops at a success unless it looks for the closest. *Prepared*: it "
        "searches on what `fs.prepare(model)` makes, as `fluoroscope attack` does by default; the "
        "plain network judges every success, and preparing is not in the time.",
        FAIR + f" Peers: {versions(['torchattacks', 'foolbox', 'ART'])}.",
    )
    rows, verdicts = [], []
    for match in FAMILIES[name]():
        found = _measured(match, scale)
        rows += [_cells(match, by, each, found["ours"]) for by, each in found.items()]
        verdicts += _verdicts(match, found)
        print(*(" | ".join(row) for row in rows[-len(found) :]), sep="\n", flush=True)
    section.table(
        ["attack", "settings", "by", "CPU s, 1 thread>", "÷ ours>", "fooled>", "median distance>",
         "images through>"],
        rows,
    )  # fmt: skip
    section.text(
        "At equal success: each peer's seconds over those of the quickest of ours that does at "
        "least as well (as many fooled within one in fifty, and no more than 5 % farther where the "
        "closest is wanted)."
    )
    section.table(["attack", "peer", "ours", "times as fast>"], verdicts)
    return section


@dataclass(frozen=True)
class _Found:
    cpu: float
    fooled: float
    distance: float
    through: float


def _measured(match: Match, scale: Scale) -> dict[str, _Found]:
    count = scale.limit or match.count
    plain = _small_pictures(count) if match.colour else digit_contest("digits-cnn", count, 128)
    prepared = fs.prepare(plain.model, images=plain.images)
    passes = Passes()

    def contest_of(images: int) -> Contest:
        made = Contest(plain.model, plain.images[:images], plain.classes[:images], plain.batch)
        made.ours("ours", match.ours)
        made.ours(_PREPARED, match.ours, prepared)
        if match.whole:
            made.ours(f"{_PREPARED}, {_WHOLE}", match.ours, prepared, keep="last")
        for name, attack in match.variants.items():
            made.ours(f"{_PREPARED}, {name}", attack, prepared)
        made.peers(match.peers(Bare(plain.model), plain.images, plain.batch))
        return made

    for way in contest_of(_FEW).ways.values():
        way()
    contest = contest_of(count)
    images: dict[str, int] = {}
    for name, way in contest.ways.items():
        contest.ways[name] = lambda way=way, name=name: _counting(passes, way, images, name)
    with passes.counted(plain.model.module, prepared.module):
        timing = interleaved(
            contest.ways, scale.repeats or match.turns, clock=time.process_time, threads=1,
            warm=False,
        )  # fmt: skip
    found = {}
    for name in contest.ways:
        result = timing.results[name]
        fooled = contest.fooled(result) & match.ours.threat.allows(result, plain.images)
        distance = match.ours.threat.distance(result - plain.images)
        found[name] = _Found(
            timing.median(name), float(fooled.float().mean()),
            float(distance.double().where(fooled, torch.inf).median()),
            images[name] / len(plain.images),
        )  # fmt: skip
    return found


def _small_pictures(count: int) -> Contest:
    if not SMALL.is_dir():
        raise Skipped(f"it needs {SMALL}")
    return picture_contest(fs.load_model(str(SMALL)), count)


def _counting(
    passes: Passes, way: Callable[[], object], images: dict[str, int], name: str
) -> object:
    before = passes.forwards
    result = way()
    images[name] = passes.forwards - before
    return result


def _cells(match: Match, name: str, found: _Found, ours: _Found) -> list[str]:
    close = match.ours.minimum_norm
    return [
        match.attack, match.settings, name,
        f"{found.cpu:.2f}", f"{found.cpu / ours.cpu:.2f}",
        percent(found.fooled), f"{found.distance:.3g}" if close else "",
        f"{found.through:.0f}",
    ]  # fmt: skip


def _verdicts(match: Match, found: dict[str, _Found]) -> list[list[str]]:
    ours = {name: each for name, each in found.items() if name.startswith("ours")}
    rows = []
    for peer, theirs in found.items():
        if peer in ours:
            continue
        as_good = {
            name: each for name, each in ours.items()
            if each.fooled >= theirs.fooled - _ALIKE
            and (not match.ours.minimum_norm or each.distance <= _CLOSE * theirs.distance)
        }  # fmt: skip
        if not as_good:
            rows.append([match.attack, peer, "none does as well", ""])
            continue
        quickest = min(as_good, key=lambda name: as_good[name].cpu)
        ratio = theirs.cpu / as_good[quickest].cpu
        rows.append([match.attack, peer, quickest, f"{ratio:.2f}"])
    return rows


def _transfer() -> Iterator[Match]:
    import foolbox

    eps, steps = 0.1, 10
    step = eps / steps
    common = {"eps": eps, "alpha": step, "steps": steps}
    words = f"Linf {eps}, {steps} steps of {step:g}"

    def fewer(name: str, **ours: Any) -> dict[str, Callable[..., AttackResult]]:
        attacks = {
            few: fs.attack(name, eps=eps, steps=few, step_size=eps / few, **ours) for few in (8, 9)
        }
        return {
            f"{few} steps, the end kept": partial(attack, keep="last")
            for few, attack in attacks.items()
        }

    def match(name: str, theirs: str, ours: dict[str, Any], **parameters: Any) -> Match:
        return Match(
            name, fs.attack(name, eps=eps, steps=steps, step_size=step, **ours), words,
            lambda network, _, batch: {
                "torchattacks": by_torchattacks(network, theirs, batch, **common, **parameters)
            },
            256, turns=5, whole=True, variants=fewer(name, **ours),
        )  # fmt: skip

    momentum = foolbox.attacks.LinfMomentumIterativeFastGradientMethod(
        momentum=1.0, abs_stepsize=step, steps=steps
    )
    yield Match(
        "mi-fgsm", fs.attack("mi-fgsm", eps=eps, steps=steps, step_size=step), words,
        lambda network, like, batch: {
            "torchattacks": by_torchattacks(network, "MIFGSM", batch, **common),
            "foolbox": by_foolbox(network, momentum, batch, epsilon=eps),
            "ART": by_art(
                network, "MomentumIterativeMethod", like, batch,
                norm=np.inf, eps=eps, eps_step=step, max_iter=steps, decay=1.0,
            ),
        },
        256, turns=5, whole=True, variants=fewer("mi-fgsm"),
    )  # fmt: skip
    yield match("ni-fgsm", "NIFGSM", {})
    yield match("vmi-fgsm", "VMIFGSM", {"neighbours": 5}, N=5)
    yield match("di-fgsm", "DIFGSM", {}, decay=1.0)
    yield replace(
        match("ti-fgsm", "TIFGSM", {}, decay=1.0, diversity_prob=0.0),
        count=16,
        turns=1,
        colour=True,
    )

    def scaled(model: fs.Classifier, *given: Any, steps: int, **options: Any) -> AttackResult:
        nesterov = fs.attack("ni-fgsm", eps=eps, steps=steps, step_size=eps / steps)
        return nesterov(fs.ScaleInvariant(model), *given, keep="last", **options)

    yield replace(
        match("si-fgsm", "SINIFGSM", {}),
        variants={
            f"ni-fgsm through si, {few} steps, the end kept": partial(scaled, steps=few)
            for few in (8, 10)
        },
    )


def _minimum_norm() -> Iterator[Match]:
    import foolbox

    steps, searches = 50, 5
    yield Match(
        "ead", fs.attack("ead", steps=steps, searches=searches, c=0.01),
        f"L1, {searches} searches of {steps} steps",
        lambda network, like, batch: {
            "torchattacks": by_torchattacks(
                network, "EADL1", batch, binary_search_steps=searches, max_iterations=steps,
                initial_const=0.01,
            ),
            "foolbox": by_foolbox(
                network,
                foolbox.attacks.EADAttack(
                    binary_search_steps=searches, steps=steps, initial_const=0.01,
                    regularization=0.001, decision_rule="L1",
                ),
                batch,
            ),
            "ART": by_art(
                network, "ElasticNet", like, batch, binary_search_steps=searches, max_iter=steps,
                initial_const=0.01, decision_rule="L1",
            ),
        },
        32, turns=1,
        variants={
            f"{few} searches": fs.attack("ead", steps=steps, searches=few, c=0.01)
            for few in (2, 3, 4)
        },
    )  # fmt: skip
    yield Match(
        "cw-linf", fs.attack("cw-linf", steps=50), "Linf, 50 steps, else defaults",
        lambda network, like, batch: {
            "ART": by_art(network, "CarliniLInfMethod", like, batch, max_iter=50)
        },
        16, turns=1,
    )  # fmt: skip
    yield Match(
        "cw-l0", fs.attack("cw-l0", steps=50), "L0, 50 steps, else defaults",
        lambda network, like, batch: {
            "ART": by_art(network, "CarliniL0Method", like, batch, max_iter=50)
        },
        8, turns=1,
    )  # fmt: skip
    for norm, theirs in (
        ("l2", foolbox.attacks.L2FMNAttack), ("linf", foolbox.attacks.LInfFMNAttack),
        ("l1", foolbox.attacks.L1FMNAttack), ("l0", foolbox.attacks.L0FMNAttack),
    ):  # fmt: skip
        yield Match(
            f"fmn {norm}", fs.attack("fmn", norm=norm, steps=100), f"{norm}, 100 steps",
            lambda network, _, batch, theirs=theirs: {
                "foolbox": by_foolbox(network, theirs(steps=100), batch)
            },
            variants={"50 steps": fs.attack("fmn", norm=norm, steps=50)},
        )  # fmt: skip
    yield Match(
        "apgd l1", fs.attack("apgd", norm="l1", eps=8.0, steps=50), "L1 8, 50 steps",
        lambda network, like, batch: {
            "ART": by_art(
                network, "AutoProjectedGradientDescent", like, batch,
                norm=1, eps=8.0, eps_step=16.0, max_iter=50, nb_random_init=1,
                loss_type="cross_entropy",
            )
        },
    )  # fmt: skip


def _sparse() -> Iterator[Match]:
    jsma = fs.attack("jsma", theta=1.0, gamma=0.1)
    yield Match(
        "jsma", jsma, "theta 1, gamma 0.1; peers towards the label plus 1",
        lambda network, like, batch: {
            "torchattacks": by_torchattacks(network, "JSMA", batch, theta=1.0, gamma=0.1),
            "ART": by_art(
                network, "SaliencyMapMethod", like, batch, towards_next=True, theta=1.0, gamma=0.1
            ),
        },
        32, turns=1,
        variants={f"{n} targets": partial(jsma, restarts=n) for n in (2, 3)},
    )  # fmt: skip
    yield Match(
        "sparsefool", fs.attack("sparsefool"), "lambda 3",
        lambda network, _, batch: {
            "torchattacks": by_torchattacks(network, "SparseFool", batch, steps=10, lam=3)
        },
        32, turns=1,
    )  # fmt: skip
    yield Match(
        "one-pixel", fs.attack("one-pixel", eps=5, population=20, generations=20),
        "5 pixels, 20 candidates, 20 generations",
        lambda network, _, batch: {
            "torchattacks": by_torchattacks(
                network, "OnePixel", batch, pixels=5, steps=20, popsize=20
            )
        },
        96, turns=1,
        variants={
            f"from the best member, crossover 0.7, {count} generations": fs.attack(
                "one-pixel", eps=5, population=20, generations=count, base="best", crossover=0.7
            )
            for count in (2, 5, 10)
        },
    )  # fmt: skip
    yield Match(
        "one-pixel, longer", fs.attack("one-pixel", eps=5, population=400, generations=75),
        "5 pixels, 75 generations of 400 candidates",
        lambda network, like, batch: {
            "ART": by_art(network, "PixelAttack", like, batch, th=5, es=1, max_iter=100)
        },
        16, turns=1,
        variants={
            f"from the best member, crossover 0.7, {count} candidates": fs.attack(
                "one-pixel", eps=5, population=count, generations=75, base="best", crossover=0.7
            )
            for count in (50, 100, 200)
        },
    )  # fmt: skip


def _scores() -> Iterator[Match]:
    yield Match(
        "simba", fs.attack("simba", eps=4.0, queries=1500), "L2 4, at most 1,500 queries",
        lambda network, like, batch: {
            "ART": by_art(
                nn.Sequential(network, nn.Softmax(1)), "SimBA", like, 1,
                attack="px", max_iter=750, epsilon=0.2, order="random", one_hot=True,
            )
        },
        32, turns=1,
    )  # fmt: skip
    yield Match(
        "spsa", fs.attack("spsa", eps=0.1, samples=128, queries=20 * 129),
        "Linf 0.1, 20 steps of 128",
        lambda network, _, batch: {
            "torchattacks": by_torchattacks(
                network, "SPSA", batch, eps=0.1, nb_iter=20, nb_sample=128
            )
        },
        32, turns=1,
        variants={"256 samples": fs.attack("spsa", eps=0.1, samples=256, queries=20 * 257)},
    )  # fmt: skip
    yield Match(
        "zoo", fs.attack("zoo", searches=1, steps=100, c=1.0, lr=0.05),
        "L2, 100 steps of 128 coordinates",
        lambda network, like, batch: {
            "ART": by_art(
                network, "ZooAttack", like, 1, max_iter=100, use_resize=False,
                use_importance=False, nb_parallel=128, binary_search_steps=1, initial_const=1.0,
                learning_rate=0.05,
            )
        },
        48, turns=1,
        variants={
            f"{steps} steps": fs.attack("zoo", searches=1, steps=steps, c=1.0, lr=0.05)
            for steps in (12, 25)
        },
    )  # fmt: skip


def _decisions() -> Iterator[Match]:
    import foolbox

    # ART's GeoDA was written for a NumPy that had it.
    np.mat = getattr(np, "mat", np.asmatrix)

    queries = 2000
    words = f"L2, about {queries} queries"

    def shorter(name: str, *budgets: int) -> dict[str, Callable[..., AttackResult]]:
        return {f"{few} queries": fs.attack(name, queries=few) for few in budgets}

    yield Match(
        "boundary", fs.attack("boundary", queries=queries), words,
        lambda network, like, batch: {
            "foolbox": by_foolbox(
                network, foolbox.attacks.BoundaryAttack(steps=1750), batch
            ),
            "ART": by_art(
                network, "BoundaryAttack", like, batch, targeted=False, max_iter=100,
            ),
        },
        96, turns=1, variants=shorter("boundary", 400, 500, 1250),
    )  # fmt: skip
    hopskipjump = Match(
        "hopskipjump", fs.attack("hopskipjump", queries=queries), words,
        lambda network, like, batch: {
            "foolbox": by_foolbox(network, foolbox.attacks.HopSkipJumpAttack(steps=8), batch),
            "ART": by_art(network, "HopSkipJump", like, batch, max_iter=9),
        },
        96, turns=1, variants=shorter("hopskipjump", 500, 1000, 1500),
    )  # fmt: skip
    yield hopskipjump
    yield replace(hopskipjump, attack="hopskipjump, 4 pictures", count=4, turns=3)
    yield Match(
        "geoda", fs.attack("geoda", queries=queries), words,
        lambda network, like, batch: {
            "ART": by_art(network, "GeoDA", like, batch, max_iter=queries, sub_dim=28)
        },
        24, turns=1, variants=shorter("geoda", 125, 250),
    )  # fmt: skip


def _others() -> Iterator[Match]:
    import foolbox

    yield Match(
        "rotation-translation", fs.attack("rotation-translation"),
        "±30 degrees, ±3 pixels, grid of 31 × 5 × 5",
        lambda network, like, batch: {
            "foolbox": by_foolbox(
                network,
                foolbox.attacks.SpatialAttack(
                    max_translation=3, max_rotation=30, num_translations=5, num_rotations=31
                ),
                batch,
            ),
            "ART": by_art(
                network, "SpatialTransformation", like, batch, max_translation=10,
                num_translations=5, max_rotation=30, num_rotations=31,
            ),
        },
        32, turns=1,
    )  # fmt: skip
    yield Match(
        "universal", fs.attack("universal", eps=0.2, epochs=10),
        "Linf 0.2, 10 passes over the images, judged on the same",
        lambda network, like, batch: {
            "ART": by_art(
                network, "UniversalPerturbation", like, batch, attacker="pgd",
                attacker_params={"max_iter": 5, "eps": 0.2, "eps_step": 0.1, "verbose": False},
                eps=0.2, max_iter=2, norm=np.inf,
            )
        },
        turns=1,
    )  # fmt: skip


FAMILIES: dict[str, Callable[[], Iterator[Match]]] = {
    "transfer": _transfer,
    "minimum-norm": _minimum_norm,
    "sparse": _sparse,
    "score": _scores,
    "decision": _decisions,
    "others": _others,
}
SECTIONS = {f"family-{name}": partial(family, name) for name in FAMILIES}
