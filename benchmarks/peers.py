"""The same attacks by Fluoroscope and by its peers, on the same network and images.

Success is judged by one and the same look at the plain network, within the bound and the box, so
nobody can win by doing less.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import fluoroscope as fs
from benchmarks.adapters import (
    Bare,
    Search,
    by_art,
    by_foolbox,
    by_torchattacks,
    passes,
    pgd_by_all,
    versions,
)
from benchmarks.page import PAGE, Scale, Section, Skipped, percent
from benchmarks.timing import Timing, cpu_and_wall
from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.result import AttackResult

SHARED = Path("../shared")
MNIST = SHARED / "data/mnist"
PICTURES = SHARED / "data/imagenet_sample"
MOBILENET = SHARED / "models/mobilenet_v1_0.75_224"

FAIR = (
    "Every peer gets the bare network in evaluation mode, its parameters frozen, and the same "
    "images, all of which the network classifies correctly; its randomness is seeded with 0, as "
    "ours is. Fooled is judged by one look of the plain float32 network at what each returns: "
    "classified otherwise, within the bound and the box."
)
LOOKS = "floor and two looks"
FLOOR = (
    "The floor is the steps' forward passes and their gradients at the pixels, parameters frozen, "
    "and nothing else. Ours looks at the clean images and at the last ones as well, where the "
    "peers leave the verdict to the caller; it counts the cost of each sample and asks a network "
    "twice whether it is random."
)
WITH_LOOKS = f"`{LOOKS}` adds the two forward passes of these looks."


@dataclass(frozen=True)
class Contest:
    """The same images for all."""

    model: fs.Classifier
    images: Tensor
    classes: Tensor
    batch: int
    ways: dict[str, Callable[[], object]] = field(default_factory=dict)

    @property
    def network(self) -> nn.Module:
        """The bare network."""
        return Bare(self.model)

    def ours(
        self,
        name: str,
        attack: Callable[..., AttackResult],
        model: fs.Classifier | None = None,
        **options: object,
    ) -> None:
        """One of our attacks, under that name."""
        self.ways[name] = lambda: (
            attack(
                model or self.model, self.images, self.classes, batch_size=self.batch, **options
            ).images
        )

    def peers(self, searches: dict[str, Search]) -> None:
        """Those of the peers."""
        for name, search in searches.items():
            self.ways[name] = lambda search=search: search(self.images, self.classes)

    def floor(self, steps: int, *, looks: bool = True) -> None:
        """The bare passes; and, if ``looks``, the same with the two looks that a verdict needs."""
        for name, extra in (("floor", 0), (LOOKS, 2))[: 1 + looks]:
            self.ways[name] = partial(
                passes, self.network, self.images, self.classes, steps, self.batch, extra
            )

    def fooled(self, found: Tensor | None, eps: float | None = None) -> Tensor:
        """Which of what was found is classified otherwise, in the box and within ``eps`` in
        Linf.
        """
        if found is None:
            return torch.zeros_like(self.classes, dtype=torch.bool)
        inside = ((found >= 0) & (found <= 1)).flatten(1).all(1)
        if eps is not None:
            inside &= fs.Linf(eps).allows(found, self.images)
        with torch.no_grad():
            logits = torch.cat([self.network(part) for part in found.split(500)])
        return inside & (logits.argmax(1) != self.classes)


def pgd_digits(scale: Scale) -> Section:
    """PGD with all its steps on digits, against the floor and every peer."""
    steps, count = scale.steps or 40, scale.limit or 128
    eps, step = 0.1, 0.01
    contest = digit_contest("digits-cnn", count, batch=128)
    contest.floor(steps)
    attack = fs.attack("pgd", eps=eps, step_size=step, steps=steps)
    contest.ours("ours, the end kept", attack, keep="last")
    contest.ours("ours, the best kept", attack, keep="best")
    contest.peers(
        pgd_by_all(contest.network, contest.images, eps=eps, step=step, steps=steps, batch=128)
    )
    contest.ours("ours, until fooled", attack)
    section = Section(PAGE, "pgd-digits", f"PGD-{steps} on {len(contest.images)} digits")
    section.text(
        f"`digits-cnn`, test digits of MNIST, Linf {eps:g}, steps of {step:g} from a random start, "
        f"one batch. {FLOOR} {WITH_LOOKS} The last row stops at the first success, "
        "as a verdict may; all others make all steps.",
        FAIR + f" Peers: {versions(contest.ways)}.",
    )
    _times(section, contest, scale.times(9, 9), eps)
    return section


def pgd_resnet18(scale: Scale) -> Section:
    """PGD on a ResNet-18 at full size."""
    return _pgd_pictures("pgd-resnet18", "ResNet-18", resnet18(), scale)


def pgd_mobilenet(scale: Scale) -> Section:
    """PGD on a MobileNet at full size."""
    return _pgd_pictures("pgd-mobilenet", "MobileNet v1 0.75", mobilenet(), scale)


def apgd_resnet18(scale: Scale) -> Section:
    """APGD on a ResNet-18 at full size."""
    return _apgd_pictures("apgd-resnet18", "ResNet-18", resnet18(), scale)


def apgd_mobilenet(scale: Scale) -> Section:
    """APGD on a MobileNet at full size."""
    return _apgd_pictures("apgd-mobilenet", "MobileNet v1 0.75", mobilenet(), scale)


def verdict_cnn(scale: Scale) -> Section:
    """PGD that may stop at the first success, on a plain network."""
    return _verdicts("verdict-cnn", "digits-cnn", scale)


def verdict_robust(scale: Scale) -> Section:
    """PGD that may stop at the first success, on a hardened network."""
    return _verdicts("verdict-robust", "digits-robust", scale)


def autoattack(scale: Scale) -> Section:
    """The four components of AutoAttack, each on all digits read correctly."""
    steps, count, eps, batch = scale.steps or 100, scale.limit or 200, 0.3, 200
    queries = 50 * steps
    model = _robust()
    section = Section(PAGE, "autoattack", f"AutoAttack's components on {count} digits")
    section.text(
        f"`digits-robust`, test digits of MNIST read correctly, Linf {eps:g}, one batch, the "
        f"published budgets: {steps} iterations, 9 targets, {queries} queries; each component on "
        "all digits, not on the survivors. Components of torchattacks are given these budgets one "
        "by one, for its `AutoAttack` silently makes 10 steps. ART has neither the targeted DLR "
        "nor FAB. All stop a sample, or leave out what has been fooled, as far as they can.",
        FAIR + f" Peers: {versions(['torchattacks', 'ART'])}.",
    )
    rows = []
    components = _autoattack(model, digit_contest(model, count, batch), eps, steps, queries)
    for component, contest in components.items():
        cpu, wall = cpu_and_wall(contest.ways, scale.times(1, 1), warm=False)
        own = contest.fooled(wall.results["ours"], eps)
        for name in contest.ways:
            theirs = contest.fooled(wall.results[name], eps)
            rows.append(
                [
                    component, name,
                    f"{cpu.median(name):.1f}", f"{cpu.ratio('ours', name):.2f}",
                    f"{wall.median(name):.1f}", f"{wall.ratio('ours', name):.2f}",
                    f"{int(theirs.sum())} of {len(theirs)}",
                    int((theirs & ~own).sum()), int((own & ~theirs).sum()),
                ]
            )  # fmt: skip
    section.table(
        ["component", "by", "CPU s, 1 thread>", "ours takes>", "wall s, 2 threads>", "ours takes>",
         "fooled>", "only they fool>", "only we fool>"],
        rows,
    )  # fmt: skip
    return section


def minimum_norm(scale: Scale) -> Section:
    """C&W and DeepFool: the closest success, at equal steps."""
    count, steps, searches = scale.limit or 256, scale.steps or 50, 5
    contest = digit_contest("digits-cnn", count, batch=128)
    section = Section(PAGE, "minimum-norm", f"C&W and DeepFool on {len(contest.images)} digits")
    section.text(
        f"`digits-cnn`, test digits of MNIST, L2, batches of 128. C&W: {searches} values of c from "
        f"0.01 on, {steps} steps each, rate 0.01, all with early abort; torchattacks has one c, "
        f"here 1, and gets {searches * steps} steps. DeepFool: {steps} steps, overshoot 0.02, all "
        "ten classes; what torchattacks returns of it lies within rounding of the border, so that "
        "another batch size may classify it correctly again. The median counts what was not fooled "
        "as infinitely far.",
        FAIR + f" Peers: {versions(['torchattacks', 'foolbox', 'ART'])}.",
    )
    rows = []
    for attack, each in (
        ("C&W", _carlini_wagner(contest, steps, searches)),
        ("DeepFool", _deepfool(contest, steps)),
    ):
        cpu, wall = cpu_and_wall(each.ways, scale.times(1, 1), warm=False)
        for name in each.ways:
            found = wall.results[name]
            fooled = each.fooled(found)
            distance = (found - each.images).flatten(1).norm(dim=1).where(fooled, torch.inf)
            rows.append(
                [
                    attack, name,
                    f"{cpu.median(name):.2f}", f"{cpu.ratio(name, 'ours'):.2f}",
                    f"{wall.median(name):.2f}", f"{wall.ratio(name, 'ours'):.2f}",
                    percent(float(fooled.float().mean())), f"{float(distance.median()):.3f}",
                ]
            )  # fmt: skip
    section.table(
        ["attack", "by", "CPU s, 1 thread>", "÷ ours>", "wall s, 2 threads>", "÷ ours>", "fooled>",
         "median L2>"],
        rows,
    )  # fmt: skip
    return section


def _pgd_pictures(name: str, called: str, model: fs.Classifier, scale: Scale) -> Section:
    steps = scale.steps or 10
    contest, eps = picture_contest(model, scale.limit or 8), 4 / 255
    contest.floor(steps)
    attack = fs.attack("pgd", eps=eps, step_size=eps / 4, steps=steps)
    _plain_and_prepared(contest, attack)
    contest.peers(
        pgd_by_all(
            contest.network, contest.images, eps=eps, step=eps / 4, steps=steps, batch=contest.batch
        )
    )
    title = f"PGD-{steps} on {called} at 224×224, {len(contest.images)} pictures"
    section = Section(PAGE, name, title)
    section.text(
        _of_pictures(called, "steps of 1/255 from a random start"), f"{FLOOR} {WITH_LOOKS}"
    )
    section.text(FAIR + f" Peers: {versions(contest.ways)}.")
    _times(section, contest, scale.times(3, 3), eps)
    return section


def _apgd_pictures(name: str, called: str, model: fs.Classifier, scale: Scale) -> Section:
    steps = scale.steps or 100
    contest, eps = picture_contest(model, scale.limit or 8), 4 / 255
    contest.floor(steps, looks=False)
    _plain_and_prepared(contest, fs.attack("apgd", eps=eps, steps=steps))
    apgd = by_torchattacks(contest.network, "APGD", contest.batch, eps=eps, steps=steps)
    contest.peers({"torchattacks": apgd})
    title = f"APGD-{steps} on {called} at 224×224, {len(contest.images)} pictures"
    section = Section(PAGE, name, title)
    section.text(_of_pictures(called, "cross-entropy"), FLOOR)
    section.text(FAIR + f" Peer: {versions(contest.ways)}.")
    _times(section, contest, scale.times(1, 1), eps, warm=False)
    return section


def _of_pictures(called: str, how: str) -> str:
    weights = "random weights (seed 0), " if called == "ResNet-18" else ""
    return (
        f"{called}: {weights}one batch of pictures from the sample of ImageNet, their classes the "
        f"network's own, Linf 4/255, {how}. All make all steps. The exact preparation is "
        "`fs.prepare(model)`; in the 16-bit one every success is verified by the plain float32 "
        "network. Preparing is not in the time."
    )


def _plain_and_prepared(contest: Contest, attack: Method) -> None:
    model, images = contest.model, contest.images
    contest.ours("ours", attack, keep="best")
    exact = fs.prepare(model, images=images)
    contest.ours("ours, exact preparation", attack, exact, keep="best")
    lower = fs.prepare(model, precision="bf16", images=images)
    contest.ours("ours, bf16 search", attack, lower, keep="best")


def _verdicts(section_name: str, called: str, scale: Scale) -> Section:
    steps, count, eps, batch = scale.steps or 100, scale.limit or 2000, 0.3, 128
    model = _robust() if called == "digits-robust" else called
    contest, step = digit_contest(model, count, batch), 0.01
    contest.ours("ours", fs.attack("pgd", eps=eps, step_size=step, steps=steps))
    contest.peers(
        pgd_by_all(contest.network, contest.images, eps=eps, step=step, steps=steps, batch=batch)
    )
    total = len(contest.images)
    section = Section(PAGE, section_name, f"PGD-{steps} until fooled: {total} digits on `{called}`")
    section.text(
        f"Test digits of MNIST, Linf {eps:g}, steps of {step:g} from a random start, batches of "
        f"{batch}. Ours stops a sample at its first success and gives its place to the next; the "
        "peers' PGD knows no stopping and makes all steps.",
        FAIR + f" Peers: {versions(contest.ways)}.",
    )
    cpu, wall = cpu_and_wall(contest.ways, scale.times(1, 1), warm=False)
    section.table(
        ["by", "images/s, CPU s, 1 thread>", "ours is faster by>", "images/s, 2 threads>",
         "ours is faster by>", "fooled>"],
        [
            [
                name,
                f"{total / cpu.median(name):.1f}", f"{cpu.ratio(name, 'ours'):.2f}",
                f"{total / wall.median(name):.1f}", f"{wall.ratio(name, 'ours'):.2f}",
                f"{int(contest.fooled(wall.results[name], eps).sum())} of {total}",
            ]
            for name in contest.ways
        ],
    )  # fmt: skip
    return section


def _autoattack(
    model: fs.Classifier, digits: Contest, eps: float, steps: int, queries: int
) -> dict[str, Contest]:
    network, batch, like = digits.network, digits.batch, digits.images
    made = {
        name: Contest(model, digits.images, digits.classes, batch)
        for name in ("APGD-CE", "APGD-T", "FAB-T", "Square")
    }
    linf = {"norm": "Linf", "eps": eps}
    made["APGD-CE"].ours("ours", fs.attack("apgd", eps=eps, steps=steps))
    made["APGD-CE"].peers(
        {
            "torchattacks": by_torchattacks(network, "APGD", batch, steps=steps, **linf),
            "ART": by_art(
                network, "AutoProjectedGradientDescent", like, batch, eps=eps, eps_step=2 * eps,
                max_iter=steps, nb_random_init=1, loss_type="cross_entropy",
            ),
        }
    )  # fmt: skip
    made["APGD-T"].ours("ours", fs.attack("apgd-t", eps=eps, steps=steps))
    apgdt = by_torchattacks(network, "APGDT", batch, steps=steps, n_classes=10, **linf)
    made["APGD-T"].peers({"torchattacks": apgdt})
    made["FAB-T"].ours("ours", fs.attack("fab-t", eps=eps, steps=steps), keep="first")
    fab = by_torchattacks(
        network, "FAB", batch, steps=steps, n_classes=10, multi_targeted=True, **linf
    )
    made["FAB-T"].peers({"torchattacks": fab})
    made["Square"].ours("ours", fs.attack("square", eps=eps, queries=queries))
    made["Square"].peers(
        {
            "torchattacks": by_torchattacks(network, "Square", batch, n_queries=queries, **linf),
            "ART": by_art(network, "SquareAttack", like, batch, eps=eps, max_iter=queries),
        }
    )
    return made


def _carlini_wagner(digits: Contest, steps: int, searches: int) -> Contest:
    import foolbox

    contest = Contest(digits.model, digits.images, digits.classes, digits.batch)
    network, batch = digits.network, digits.batch
    contest.ours("ours", fs.attack("cw", steps=steps, searches=searches, c=0.01, lr=0.01))
    theirs = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=searches, steps=steps, stepsize=0.01, initial_const=0.01
    )
    contest.peers(
        {
            "torchattacks": by_torchattacks(network, "CW", batch, c=1, steps=searches * steps),
            "foolbox": by_foolbox(network, theirs, batch),
            "ART": by_art(
                network, "CarliniL2Method", digits.images, batch, max_iter=steps,
                binary_search_steps=searches, initial_const=0.01, learning_rate=0.01,
            ),
        }
    )  # fmt: skip
    return contest


def _deepfool(digits: Contest, steps: int) -> Contest:
    import foolbox

    contest = Contest(digits.model, digits.images, digits.classes, digits.batch)
    network, batch = digits.network, digits.batch
    contest.ours("ours", fs.attack("deepfool", steps=steps))
    theirs = foolbox.attacks.L2DeepFoolAttack(steps=steps, candidates=10, overshoot=0.02)
    contest.peers(
        {
            "torchattacks": by_torchattacks(
                network, "DeepFool", batch, steps=steps, overshoot=0.02
            ),
            "foolbox": by_foolbox(network, theirs, batch),
            "ART": by_art(
                network, "DeepFool", digits.images, batch, max_iter=steps, epsilon=0.02, nb_grads=10
            ),
        }
    )
    return contest


def _times(
    section: Section, contest: Contest, repeats: tuple[int, int], eps: float, warm: bool = True
) -> None:
    """A table of seconds, their ratio to the floor, and successes."""
    cpu, wall = cpu_and_wall(contest.ways, repeats, warm=warm)

    def cells(timing: Timing, name: str) -> list[str]:
        ratio = f"{timing.ratio(name, 'floor'):.3f}"
        return [f"{timing.median(name):.2f}", ratio, timing.spread(name, "floor")]

    section.table(
        ["by", "CPU s, 1 thread>", "÷ floor>", "quartiles>", "wall s, 2 threads>", "÷ floor>",
         "quartiles>", "fooled>"],
        [
            [
                name, *cells(cpu, name), *cells(wall, name),
                "" if name in ("floor", LOOKS)
                else f"{int(contest.fooled(wall.results[name], eps).sum())} of "
                f"{len(contest.images)}",
            ]
            for name in contest.ways
        ],
    )  # fmt: skip
    section.text(f"Turns: {repeats[0]} by the CPU's clock, {repeats[1]} by the wall's; medians.")


def digit_contest(model: fs.Classifier | str, count: int, batch: int) -> Contest:
    """The first ``count`` test digits of MNIST that the network classifies correctly."""
    if not MNIST.is_dir():
        raise Skipped(f"it needs {MNIST}")
    network = fs.load_model(model) if isinstance(model, str) else model
    size = min(10_000, count + count // 10 + 20)
    digits = next(iter(fs.load_images(str(MNIST), "test", channels=1).take(size).batches(size)))
    assert digits.labels is not None
    right = (fs.predict(network, digits.images).logits.argmax(1) == digits.labels).nonzero()
    rows = right.squeeze(1)[:count]
    return Contest(network, digits.images[rows], digits.labels[rows], batch)


def picture_contest(model: fs.Classifier, count: int) -> Contest:
    """Pictures of ImageNet with what the network classifies them as."""
    if not PICTURES.is_dir():
        raise Skipped(f"it needs {PICTURES}")
    batch = next(
        iter(
            fs.load_images(str(PICTURES))
            .take(count, first=True)
            .batches(count, fit=model.preprocessing)
        )
    )
    return Contest(model, batch.images, fs.predict(model, batch.images).logits.argmax(1), count)


def resnet18() -> fs.Classifier:
    """A ResNet-18 with random weights."""
    from torchvision import models

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = models.resnet18(weights=None)
    return fs.Classifier(
        module, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), input_size=224,
        name="ResNet-18",
    )  # fmt: skip


def mobilenet() -> fs.Classifier:
    """MobileNet v1 0.75 from ../shared."""
    if not MOBILENET.is_dir():
        raise Skipped(f"it needs {MOBILENET}")
    return fs.load_model(str(MOBILENET))


def _robust() -> fs.Classifier:
    try:
        return fs.load_model("digits-robust")
    except fs.FluoroscopeError as problem:
        raise Skipped(f"digits-robust cannot be loaded: {problem}") from problem
