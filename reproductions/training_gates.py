"""Class-specific gates (Liang et al. 2020), on digits and on CIFAR-10.

Each network is trained from the same weights, in the same order and as many steps: as usual, and
with gates that learn at the network's rate and at ten times it. ``python -m
reproductions.training_gates`` trains them without measuring anything; they are kept under ``KEPT``,
and a training that was broken off goes on.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import fluoroscope as fs
from benchmarks.page import Section, percent
from fluoroscope.engine.evaluate import evaluate
from fluoroscope.engine.information import Information, correlation, information, mean_of_largest
from fluoroscope.files import atomic_path
from fluoroscope.neurons.answers.localisation import Localisation, localisation
from fluoroscope.neurons.detection.result import CLEAN, Detection
from fluoroscope.training.gates.gates import ClassGates
from fluoroscope.training.gates.judging import agreement, features
from fluoroscope.training.gates.matrix import GateMatrix, load_gates
from fluoroscope.training.trainer.fitting import cross_entropy, fit
from fluoroscope.training.trainer.recipe import Recipe
from reproductions import cifar
from reproductions.sources import PAGE, held, mnist

KEPT = Path("out/reproductions/training/gates")
SEED = 0
GATES = ClassGates(rate=1.0)
"""As in the authors' code: density .2, weight .001, one epoch without, then every third batch."""
TRAININGS: dict[str, ClassGates | None] = {
    "standard": None, "gated": GATES, "gated, rate 10": replace(GATES, rate=10.0)
}  # fmt: skip
ATTACKED, EPS = 150, {"digits": 0.15, "CIFAR-10": "8/255"}
SCENES = 500
"""Pictures of two digits, on which class maps are held against the ink of either."""
INK = 0.5


def digits_network() -> nn.Module:
    """Three convolutions with batch norm and the mean of 64 filters; 24,058 weights."""
    layers: list[nn.Module] = []
    for before, after, stride in ((1, 16, 1), (16, 32, 2), (32, 64, 2)):
        convolution = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


@dataclass(frozen=True)
class Subject:
    """Data, a network, and how long it learns."""

    make: Callable[[], nn.Module]
    recipe: Recipe
    pictures: int
    """Of the training split, the first ones."""
    layer: str
    """Of the filters, behind their ReLU."""
    labels: tuple[str, ...]
    data: Callable[[str], tuple[Tensor, Tensor]]
    """8-bit pictures and labels of a split."""

    def classifier(self, name: str, module: nn.Module) -> fs.Classifier:
        """In evaluation mode; a bare network that takes pictures of any size."""
        channels = next(module.parameters()).shape[1]
        return fs.Classifier(
            module.eval().requires_grad_(False), labels=self.labels, name=name, channels=channels
        )


def _digits(split: str) -> tuple[Tensor, Tensor]:
    images, labels = mnist(split)
    return (images * 255).round().to(torch.uint8), labels


_RECIPE = Recipe(epochs=6, batch_size=64)
_COLOUR = replace(_RECIPE, learning_rate=5e-3, weight_decay=0.02, augment=cifar.augment)
SUBJECTS = {
    "digits": Subject(digits_network, _RECIPE, 30_000, "8", tuple("0123456789"), _digits),
    "CIFAR-10": Subject(cifar.network, _COLOUR, 20_000, "11", cifar.LABELS, cifar.cifar),
}


@dataclass(frozen=True)
class Network:
    """One that was trained, and what is known of it."""

    model: fs.Classifier
    gates: GateMatrix | None
    record: dict[str, Any]
    values: Any
    """``(N, K)``, of each test picture what each filter says, on the mean over its places."""
    labels: Any
    """``(N,)``"""
    right: int

    @property
    def information(self) -> Information:
        """What filters tell of classes."""
        return information(self.values, self.labels, 10)

    @property
    def correlation(self) -> Any:
        """Of filters and classes, ``(K, C)``."""
        return correlation(self.values, self.labels, 10)

    @property
    def weights_apart(self) -> float:
        """The mean absolute cosine of the weights of two classes, less the mean over classes."""
        matrix = fs.neurons.class_similarity("weights", model=self.model).matrix
        return float(np.abs(matrix[~np.eye(len(matrix), dtype=bool)]).mean())


def section() -> Section:
    """Both data sets, standard against gated."""
    page = Section(PAGE, "training-gates", "Class-specific gates")
    found = {(data, name): _network(data, name) for data in SUBJECTS for name in TRAININGS}
    _say_what(page)
    _numbers(page, found)
    _matrix(page, found)
    _local(page, found)
    _detect(page, found)
    return page


def _say_what(page: Section) -> None:
    digits, colour = SUBJECTS.values()
    page.text(
        "The gates of Liang et al. (CSG), `fs.training.ClassGates` with the settings of their "
        f"code: density {GATES.density:g}, weight {GATES.weight:g}, gates from {GATES.start:g}, "
        f"{GATES.warm_up} epoch without gates, then one of {GATES.every} batches with them. On "
        f"MNIST (the first {digits.pictures:,} pictures, {digits.recipe.epochs} epochs, batches of "
        f"{digits.recipe.batch_size}: as many steps as all in batches of 128) three convolutions "
        "with batch norm and the mean of K = 64 filters; on CIFAR-10 the first "
        f"{colour.pictures:,} training pictures, {colour.recipe.epochs} epochs, the four "
        "convolutions of `cifar-plain`, K = 128. Standard and gated begin with the same weights "
        "and make the same steps in the same order; a gated batch costs two passes, so the gated "
        "training costs more. The gates are not used at test time. How fast gates learn beside the "
        "network is not comparable: in the authors' code at a hundred times its rate, which "
        "fine-tunes a network that is there; so here at the network's own rate and at ten times "
        "it. Measured on the 10,000 test pictures at the mean over places of each filter, behind "
        "its ReLU; the seconds are a crowded machine's."
    )


def _numbers(page: Section, found: dict[tuple[str, str], Network]) -> None:
    rows = []
    for (data, name), one in found.items():
        told, related = one.information, one.correlation
        gates = one.gates
        agrees = () if gates is None else agreement(gates, related)
        rows.append(
            [data, name, f"{one.record['seconds']:.0f}", cifar.rate(one.right, len(one.labels)),
             f"{told.score:.4f}", f"{told.by_chance:.4f}", f"{mean_of_largest(related):.3f}",
             f"{one.weights_apart:.3f}",
             "–" if gates is None else f"{gates.density:.3f}",
             "–" if gates is None else f"{gates.classes_per_filter:.2f}",
             *([percent(share, 0) for share in agrees] or ["–", "–"])]
        )  # fmt: skip
    page.table(
        ["data", "training", "seconds>", "test accuracy>", "MIS, nats>", "at random>",
         "correlation>", "weights' cosine>", "density>", "classes a filter>", "agree>",
         "agree by chance>"],
        rows,
    )  # fmt: skip
    page.text(
        "*MIS* is the mean over filters of the largest mutual information with one class, by the "
        "plug-in estimate of ten bins (theirs is from nearest neighbours), beside what it is with "
        "labels dealt at random; *correlation* the mean over filters of the largest with one "
        "class; *weights' cosine* the mean absolute cosine between two classes' rows of the last "
        "layer, less the mean over classes; *density* the mean gate, 1/C = .1 if each filter had "
        "one class; *classes a filter* those with a gate above .5; *agree* the share of filters "
        "that are open to the class they are correlated with most, beside what it is with a class "
        "drawn at random for each: gates that are open to all classes agree with any. The paper's "
        "own tables were not found."
    )
    claims, changes = [], []
    for name in list(TRAININGS)[1:]:
        pairs = [(found[data, "standard"], found[data, name]) for data in SUBJECTS]
        lost = [(plain.right - gated.right) / len(gated.labels) for plain, gated in pairs]
        raised = [gated.information.score - plain.information.score for plain, gated in pairs]
        changes += raised
        matrices = [gated.gates for _, gated in pairs if gated.gates is not None]
        claims += [
            [name, "accuracy lost, points", "0.05", *(f"{100 * each:.2f}" for each in lost),
             "at most 2", _each(each <= 0.02 for each in lost)],
            [name, "MIS, gated less standard", "+.0043", *(f"{each:+.4f}" for each in raised),
             "above 0", _each(each > 0 for each in raised)],
            [name, "density", ".208", *(f"{one.density:.3f}" for one in matrices),
             "at most .25", _each(one.density <= 0.25 for one in matrices)],
            [name, "classes a filter", "1.7",
             *(f"{one.classes_per_filter:.2f}" for one in matrices), "", ""],
        ]  # fmt: skip
    page.text(_BESIDE)
    page.table(["training", "", "C1>", "digits>", "CIFAR-10>", "claim", "holds"], claims)
    page.text(
        "That filters tell more of classes once the gates are gone is what the paper trains for; "
        f"here it is {'seen' if min(changes) > 0 else 'not seen'}: the MIS changes by "
        f"{min(changes):+.4f} to {max(changes):+.4f} nats, with one seed. The penalty closes "
        "nothing by itself: what all gates of a filter lose alike, the division by the largest "
        "gives back, "
        "so only what the cross-entropy tells apart is closed."
    )


_BESIDE = (
    "Beside an earlier measurement of ours on MNIST with 64 filters (C1; its layers and the "
    "rate of its gates are not known):"
)


def _each(facts: Any) -> str:
    return ", ".join(held(fact) for fact in facts)


def _matrix(page: Section, found: dict[tuple[str, str], Network]) -> None:
    gates = found["digits", "gated, rate 10"].gates
    assert gates is not None
    path = page.picture("gates-digits.png", "Gates of ten digits and 64 filters.")
    gates.figure().savefig(path)


def _local(page: Section, found: dict[tuple[str, str], Network]) -> None:
    """Two digits in one picture: does the map of a class lie on its digit, or on the other?"""
    images, masks, labels = scenes()
    rows = []
    for name in TRAININGS:
        one = found["digits", name]
        ways = {"most correlated filter": _most_related(one), "last layer's weights (CAM)": None}
        if one.gates is not None:
            ways["gates above .5"] = (one.gates.values > 0.5).double()
        for way, weights in ways.items():
            maps = class_maps(one, images, labels, weights)
            own, other = localisation(maps, masks[0]), localisation(maps, masks[1])
            rows.append([name, way, *_said(own, other)])
    page.text(
        f"Where does a class lie? {SCENES} pictures of two test digits of different classes side "
        "by side. Both networks average over places, and take pictures of any size. The map of the "
        "left digit's class is held against that digit's ink, and against the other's: by the one "
        "filter most correlated with the class over the test pictures, by the last layer's "
        "weights as in CAM, and by the filters whose gate is open to it. A map is on above .2 of "
        "its largest value; *points* is the share of maps whose largest value lies on the ink; "
        "AP20 the share with an IoU above .2. Ink that is a stroke or two wide and maps of 7×14 "
        "places bound what an IoU can be."
    )
    page.table(
        ["training", "map by", "IoU, own digit>", "other digit>", "AP20, own>", "points, own>",
         "points, other>"],
        rows,
    )  # fmt: skip


def _said(own: Localisation, other: Localisation) -> list[str]:
    return [
        f"{own.mean_iou:.3f}", f"{other.mean_iou:.3f}", percent(own.above(0.2), 0),
        percent(own.pointing, 0), percent(other.pointing, 0),
    ]  # fmt: skip


def scenes() -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """Pictures ``(N, 1, 28, 56)``, the ink of the left and the right digit ``(N, 28, 56)``, and
    the class of the left one.
    """
    images, labels = mnist("test")
    left, right = images[:SCENES], images[SCENES : 2 * SCENES]
    apart = labels[:SCENES] != labels[SCENES : 2 * SCENES]
    left, right = left[apart], right[apart]
    nothing = torch.zeros_like(left, dtype=torch.bool)[:, 0]
    own = torch.cat([left[:, 0] > INK, nothing], 2)
    other = torch.cat([nothing, right[:, 0] > INK], 2)
    return torch.cat([left, right], 3), (own, other), labels[:SCENES][apart]


def class_maps(one: Network, images: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Maps ``(N, h, w)`` of the class of each picture, by weights ``(C, K)`` of filters."""
    if weights is None:
        last = list(one.model.module.modules())[-1]
        weights = last.weight.detach().double()  # type: ignore[union-attr, operator]
    layer = SUBJECTS["digits"].layer
    answer = evaluate(one.model, images, layer=layer, look=False)
    assert answer.activation is not None
    own: Tensor = (answer.activation.double() * weights[labels][:, :, None, None]).sum(1)
    return own


def _most_related(one: Network) -> Tensor:
    related = np.nan_to_num(one.correlation, nan=-1.0)
    chosen = torch.zeros(10, related.shape[0], dtype=torch.float64)
    chosen[range(10), related.argmax(0).tolist()] = 1
    return chosen


def _detect(page: Section, found: dict[tuple[str, str], Network]) -> None:
    """Adversarial pictures of each network, told from clean ones by its filters."""
    rows = []
    for (data, name), one in found.items():
        detection = _detection(data, name, one)
        row = [data, name, f"{len(detection.groups['adversarial']):,}"]
        for score in ("mean", "neighbours", "confidence"):
            told = detection.told(score, "adversarial")
            assert told is not None
            row.append(f"{percent(error(detection, score))} / {told.auroc:.3f}")
        rows.append(row)
    page.text(
        f"Can adversarial pictures be told by what the filters say? PGD with 20 steps leads the "
        f"first {ATTACKED} test pictures to a drawn class each, within {EPS['digits']} on digits "
        f"and {EPS['CIFAR-10']} on CIFAR-10, on each network itself; `fluoroscope neurons detect` "
        "looks at the same layer. Error of the detector (the least mean of missed and falsely "
        "detected over its thresholds) / AUROC. Theirs is a small trained detector, of which no "
        "number was found."
    )
    page.table(
        ["data", "training", "adversarial>", "nearest class mean>", "nearest real pictures>",
         "confidence>"],
        rows,
    )  # fmt: skip


def _detection(data: str, name: str, one: Network) -> Detection:
    images, labels = SUBJECTS[data].data("test")
    real = fs.load_images(images[:2000] / 255, labels=labels[:2000])
    led = fs.neurons.adversarial_set(
        one.model, real.take(ATTACKED, first=True), out=KEPT / f"{_slug(data, name)}-led",
        targets=1, attack=fs.attack("pgd", eps=EPS[data], steps=20), seed=SEED,
    )  # fmt: skip
    return fs.neurons.detect(one.model, real, led, SUBJECTS[data].layer, steps=0, seed=SEED)


def error(found: Detection, score: str) -> float:
    """The least mean of the two kinds of error over all thresholds."""
    clean, led = (found.groups[group].scores[score] for group in (CLEAN, "adversarial"))
    thresholds = np.concatenate([clean, led, [np.inf]])[:, None]
    return float(((clean >= thresholds).mean(1) + (led < thresholds).mean(1)).min() / 2)


def _network(data: str, name: str) -> Network:
    subject = SUBJECTS[data]
    place = KEPT / f"{_slug(data, name)}.safetensors"
    if not place.is_file():
        train(data, name)
    module = subject.make()
    module.load_state_dict(load_file(place))
    images, labels = subject.data("test")
    model = subject.classifier(_slug(data, name), module)
    values = features(model, images, subject.layer)
    winners = fs.predict(model, images / 255, batch_size=500).winners
    return Network(
        model,
        None if TRAININGS[name] is None else kept_gates(data, name),
        json.loads(place.with_suffix(".json").read_text(encoding="utf-8")),
        values,
        labels.numpy(),
        int((winners == labels).sum()),
    )


def kept_gates(data: str, name: str) -> GateMatrix:
    """The gates of a training; made now if it was not."""
    place = KEPT / f"{_slug(data, name)}.gates.safetensors"
    if not place.is_file():
        train(data, name)
    return load_gates(place)


def train(data: str, name: str) -> None:
    """Train one of the networks of a data set, and keep it."""
    subject = SUBJECTS[data]
    images, labels = (part[: subject.pictures] for part in subject.data("train"))
    KEPT.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng([]):
        torch.manual_seed(SEED)
        module = subject.make()
    place = KEPT / f"{_slug(data, name)}.safetensors"
    checkpoint = place.with_suffix(".checkpoint")
    settings = TRAININGS[name]
    gates = None if settings is None else settings.begin(module, 10)
    began = time.perf_counter()
    step = fit(
        module, images, labels, subject.recipe, seed=SEED, loss=gates or cross_entropy,
        checkpoint=checkpoint,
    )  # fmt: skip
    if gates is not None:
        gates.matrix(subject.labels).save(place.with_suffix(".gates.safetensors"))
    noted = {"seconds": round(step.seconds, 1), "steps": step.number, "loss": step.loss}
    with atomic_path(place) as draft, atomic_path(place.with_suffix(".json")) as about:
        save_file(module.state_dict(), draft)
        about.write_text(json.dumps(noted) + "\n", encoding="utf-8")
    checkpoint.unlink()
    print(f"{data}, {name}: {time.perf_counter() - began:.0f} s", flush=True)


def _slug(data: str, name: str) -> str:
    return f"{data}-{name}".lower().replace("cifar-", "cifar").replace(", ", "-").replace(" ", "")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in SUBJECTS:
        for one in TRAININGS:
            train(each, one)
