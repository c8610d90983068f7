"""Can the number be trusted? A network that one step cannot fool, and others built to deceive.

Wong, Rice and Kolter (2020, 2001.03994) met catastrophic overfitting: trained against FGSM alone, a
network learns to bend its loss around the one step, and many small steps undo it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

import fluoroscope as fs
from benchmarks.page import Section, percent
from fluoroscope.engine.threats import Linf
from fluoroscope.evaluation.check import Check
from fluoroscope.evaluation.trust.checks import trust_checks
from fluoroscope.models.builtin import build_architecture, digits_classifier
from fluoroscope.training.losses.adversarial import FGSMLoss
from fluoroscope.training.trainer.fitting import fit
from fluoroscope.training.trainer.recipe import Recipe
from reproductions.deceivers import DECEIVERS
from reproductions.sources import PAGE, SHARED, mnist

SEED = 0
EPS = 0.3
EPOCHS = 4
TESTED = 1000
PICTURES = 64
SMALL_EPS = 0.1
MOBILENET = SHARED / "models" / "mobilenet_v1_0.25_128"
BUILT = {
    "quantised": "quantised",
    "straight-through": "straight-through",
    "saturated": "saturated",
    "random resize": "random resize",
    "NumPy layer": "not differentiable",
    "detached": "switched off",
    "ripple": "ripple",
    "softmax": "softmax",
}
"""Networks built to deceive, by their names on the page."""
_OBJECTS = ("warn", "fail")
SIGNS = {"pass": "·", "warn": "warns", "fail": "**fails**", "not applicable": "–"}


@dataclass(frozen=True)
class Case:
    """A network, the pictures it is shown, and whether it was built to deceive."""

    name: str
    model: fs.Classifier
    images: Tensor
    labels: Tensor
    threat: str
    honest: bool
    second: fs.Classifier | None = None
    """What adversarial examples are transferred from."""


def section() -> Section:
    """All of it."""
    page = Section(PAGE, "trust", "Can this number be trusted?")
    overfitted = _overfitted()
    _compare(page, overfitted)
    _checks(page, overfitted)
    return page


def _overfitted() -> fs.Classifier:
    """Trained against one step from the clean picture, and nothing else."""
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(SEED)
        module = build_architecture("digits-robust")
    recipe = Recipe(epochs=EPOCHS, batch_size=128, learning_rate=5e-3)
    loss = FGSMLoss(threat=Linf(EPS), alpha=0.0, ramp=0.35)
    fit(module, *mnist("train"), recipe, seed=SEED, loss=loss)
    return digits_classifier("trained against FGSM", module.eval().requires_grad_(False))


def _compare(page: Section, overfitted: fs.Classifier) -> None:
    images, labels = mnist("test", TESTED)
    rows = []
    for model, paper in (
        (overfitted, "–, 99.9 %, 0.0 %"),
        (fs.load_model("digits-robust"), "98.4 %, 95.8 %, 90.4 %"),
    ):
        clean = float((fs.predict(model, images).winners == labels).float().mean())
        left = [
            1 - float(attack(model, images, labels, restarts=restarts).success.float().mean())
            for attack, restarts in (
                (fs.attack("fgsm", eps=EPS), 1),
                (fs.attack("pgd", eps=EPS, steps=50), 3),
            )
        ]
        rows.append([model.name, *map(percent, [clean, *left]), paper])
    page.text(
        f"**Catastrophic overfitting.** The architecture of `digits-robust`, {EPOCHS} epochs of "
        f"MNIST on pictures moved by one FGSM step of Linf {EPS} and on nothing else (seed {SEED}, "
        "no random start), beside `digits-robust` itself, which learnt from seven steps of PGD. "
        f"Accuracy on the first {TESTED:,} test pictures; PGD makes 50 steps, 3 restarts. The last "
        "column has what an earlier measurement found: of FGSM from a random start after 10 "
        "epochs, and of PGD training with 5 restarts."
    )
    columns = ["network", "clean>", "FGSM>", "PGD-50×3>", "there: clean, FGSM, PGD"]
    page.table(columns, rows)


def _checks(page: Section, overfitted: fs.Classifier) -> None:
    found: dict[str, dict[str, Check]] = {}
    passes = {}
    cases = list(_cases(overfitted))
    for case in cases:
        checks = trust_checks(
            case.model, case.images, case.labels, case.threat,
            second=case.second, pictures=PICTURES, seed=SEED,
        )  # fmt: skip
        found[case.name] = {check.name: check for check in checks}
        passes[case.name] = sum(check.forwards + check.backwards for check in checks)
    names = list(dict.fromkeys(name for checks in found.values() for name in checks))
    page.text(
        f"**The checks** on up to {PICTURES} pictures of each network that it classifies "
        "correctly. The first networks are honest and must pass everything; each of the others has "
        "something that makes attacks fail: 8 levels of grey, the same with a straight-through "
        "gradient, logits times 1,000, a random size and place (Xie et al. 2018), a layer in "
        "NumPy, a detached answer, a fine ripple on every pixel, a softmax at the end, and "
        "training on one step. Transfer is from `digits-cnn` to the others of digits, most of "
        "which are made of it, and from `digits-linear` to `digits-cnn` itself. A dot is a pass, "
        "a dash a check that could not be made."
    )
    rows = []
    for case in cases:
        cells = [
            SIGNS[found[case.name][name].status] if name in found[case.name] else "–"
            for name in names
        ]
        kind = "honest" if case.honest else "deceives"
        rows.append([case.name, case.threat, kind, *cells, f"{passes[case.name]:,}"])
    page.table(["network", "within", "", *names, "passes>"], rows)
    honest = [check for case in cases if case.honest for check in found[case.name].values()]
    alarms = sum(check.status in _OBJECTS for check in honest)
    caught = [
        any(c.status in _OBJECTS for c in found[x.name].values()) for x in cases if not x.honest
    ]
    page.text(
        f"False alarms: {alarms} of {len(honest)} checks of honest networks. Of {len(caught)} "
        f"deceivers {sum(caught)} were caught."
    )
    page.text(
        "In their words: "
        + " ".join(
            f"*{case.name}*, {check.name}: {check.words}"
            for case in cases
            if not case.honest
            for check in list(found[case.name].values())
            if check.status == "fail"
            and check.name in ("zero gradient", "saturation", "single step")
        )
    )


def _cases(overfitted: fs.Classifier) -> "list[Case]":
    images, labels = mnist("test", 200)
    cnn, linear = fs.load_model("digits-cnn"), fs.load_model("digits-linear")

    def case(name: str, model: fs.Classifier, eps: float, *, honest: bool = False) -> Case:
        second = linear if model is cnn else cnn
        return Case(name, model, images, labels, f"linf:{eps}", honest, second)

    cases = [
        case("digits-linear", linear, 0.05, honest=True),
        case("digits-cnn", cnn, SMALL_EPS, honest=True),
        case("digits-cnn, further", cnn, EPS, honest=True),
        case("digits-robust", fs.load_model("digits-robust"), EPS, honest=True),
        case("digits-robust, nearer", fs.load_model("digits-robust"), 0.2, honest=True),
    ]
    model = fs.load_model(MOBILENET)
    sample = fs.load_images(SHARED / "data" / "imagenet_sample").select(range(0, 1000, 25))
    batch = next(iter(sample.batches(len(sample), fit=model)))
    assert batch.labels is not None
    cases.append(Case("MobileNet v1 0.25", model, batch.images, batch.labels, "linf:1/255", True))
    return [
        *cases,
        *(
            case(name, DECEIVERS[deceiver](network="digits-cnn"), SMALL_EPS)
            for name, deceiver in BUILT.items()
        ),
        case("trained against FGSM", overfitted, EPS),
    ]
