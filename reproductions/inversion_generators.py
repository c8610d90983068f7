"""Generators that invert small networks: every conditioning, with all measures, and an ablation."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

import fluoroscope as fs
from benchmarks.page import Scale, Section, percent
from fluoroscope.gradients.randomised import with_random_weights
from fluoroscope.inversion.generator.losses import divergence
from fluoroscope.inversion.generator.result import Inversion, Samples
from fluoroscope.inversion.measures.assess import assess
from fluoroscope.inversion.measures.result import Assessment
from fluoroscope.words import number
from reproductions import inversion_networks
from reproductions.cifar import cifar
from reproductions.inversion_kept import (
    assessment,
    flags,
    generator,
    measures,
    sheet,
    some_of_each,
)
from reproductions.sources import PAGE, held, mnist

CONDITIONINGS = ("label", "one-hot", "matrix", "vector", "vector-matrix", "embedding")
ON_CIFAR = ("label", "one-hot", "matrix", "vector")
HARD = ("label", "one-hot", "matrix", "embedding")
"""Those whose codes say one class for certain."""
EACH, ASSESSED = 1000, 100
"""Samples of each class by which accuracy is told, and by which all measures are taken."""
TRAINED = 500
"""Training pictures of each class that they are held against."""
LEAD = 0.1
STEPS = {"digits-cnn": 400, "digits-robust": 400, "inversion-plain": 200, "inversion-robust": 800}
"""Of a generator for each network: the robust one needs more of them for the same accuracy."""
ABLATED = 100
DEVICES: dict[str, dict[str, Any]] = {
    "none": {"dropout": 0.0, "cosine": 0.0, "orthogonality": 0.0},
    "dropout": {"cosine": 0.0, "orthogonality": 0.0},
    "cosine": {"dropout": 0.0, "orthogonality": 0.0},
    "Gram": {"dropout": 0.0, "cosine": 0.0},
    "all": {},
}
"""What is changed so that one device of diversity is left."""
MEASURED = (
    "second accuracy", "second confidence", "Vendi within a class", "pixel spread within a class",
    "precision", "recall", "density", "coverage", "Fréchet distance", "spectrum distance",
    "nearest training, pixels", "copies, pixels", "survives rounding", "survives JPEG",
    "survives a shift", "two-alternative test", "way through the layers",
)  # fmt: skip


@dataclass(frozen=True)
class Field:
    """A network with its judge and real pictures."""

    name: str
    model: fs.Classifier
    judge: fs.Classifier
    real: tuple[Tensor, Tensor]
    """Of the test split."""
    train: tuple[Tensor, Tensor]
    gate: float
    """Own accuracy that hard codes are to reach."""


def digits(name: str) -> Field:
    """A built-in network; the other one is its judge."""
    other = {"digits-cnn": "digits-robust", "digits-robust": "digits-cnn"}[name]
    return Field(
        name,
        fs.load_model(name),
        fs.load_model(other),
        some_of_each(*mnist("test"), ASSESSED),
        some_of_each(*mnist("train"), TRAINED),
        0.99,
    )


def of_cifar(name: str) -> Field:
    """One of :mod:`.inversion_networks`, with their judge."""
    real, train = (
        some_of_each(images, labels, each)
        for (images, labels), each in ((cifar("test"), ASSESSED), (cifar("train"), TRAINED))
    )
    return Field(
        name,
        inversion_networks.network(name),
        inversion_networks.judge(),
        (real[0] / 255, real[1]),
        (train[0] / 255, train[1]),
        0.95,
    )


def digits_section(scale: Scale) -> Section:
    """Every conditioning on the built-in networks."""
    page = Section(PAGE, "inversion-digits", "Network inversion of digits")
    fields = [digits("digits-cnn"), digits("digits-robust")]
    _conditionings(page, fields, CONDITIONINGS, scale.steps, "inversion-digits")
    return page


def cifar_section(scale: Scale) -> Section:
    """Several conditionings on a plain and on a robust network."""
    page = Section(PAGE, "inversion-cifar", "Network inversion of CIFAR-10: plain against robust")
    fields = [of_cifar("inversion-plain"), of_cifar("inversion-robust")]
    found = _conditionings(page, fields, ON_CIFAR, scale.steps, "inversion-cifar")
    agreed = [
        (
            told,
            *(
                one.of("second accuracy").value
                for one in (found[field.name, told] for field in fields)
            ),
        )
        for told in ON_CIFAR
    ]
    page.text("The second network's agreement, the plain network's pictures and the robust one's:")
    page.table(
        ["code", "plain>", "robust>", "robust is higher"],
        [
            [told, percent(a.value), percent(b.value), held(b.value > a.value)]
            for told, a, b in agreed
            if a is not None and b is not None
        ],
    )
    return page


def ablation_section(scale: Scale) -> Section:
    """Every conditioning with each device of diversity."""
    page = Section(PAGE, "inversion-ablation", "What makes inverted pictures of a class differ")
    field, steps = digits("digits-cnn"), scale.steps or ABLATED
    found: dict[tuple[str, str], Assessment] = {}
    rows, shown = [], []
    for told in CONDITIONINGS:
        for device, changes in DEVICES.items():
            made = generator(field.model, conditioning=told, steps=steps, **changes)
            dropped = changes.get("dropout") != 0.0
            one = _assessed(field, made, f"{told}, {device}", steps=steps, device=device)
            found[told, device] = one
            _, accuracy, kl, leading = _answers(field.model, made)
            rows.append(
                [told, device, percent(accuracy), number(kl), leading, *measures(one, MEASURED),
                 flags(one)]
            )  # fmt: skip
            if device in ("none", "all"):
                few = made.sample(n=1, seed=5, dropout=dropped).images
                again = made.sample(n=1, seed=6, dropout=dropped).images
                shown.append((f"{told}, {device}", [*few[:5], *again[:5]]))
    page.text(
        f"Of `digits-cnn`, {steps} steps each, judged by `digits-robust`. *none*: no dropout, and "
        "neither the cosine nor the Gram term; the others have one of the three, *all* has all. "
        f"{ASSESSED} samples of each class, held against as many test pictures and {TRAINED} "
        "training pictures of each; own accuracy and KL of 1,000 of each."
    )
    page.table(
        ["code", "device", "own accuracy>", "KL>", "accuracy where the code leads>",
         *(f"{name}>" for name in MEASURED), "flags"],
        rows,
    )  # fmt: skip
    page.text("What the papers say raises diversity, and what is seen:")
    page.table(["claim", "by", "with>", "without>", "of real pictures>", "held"], _claims(found))
    sheet(
        page,
        "inversion-ablation.png",
        "Digits 0 to 4 twice, by code and device.",
        shown,
        heads=[*"0123401234"],
    )
    return page


def _claims(found: dict[tuple[str, str], Assessment]) -> list[list[str]]:
    rows = []
    for measure in ("Vendi within a class", "pixel spread within a class", "recall"):

        def value(told: str, device: str, measure: str = measure) -> float:
            one = found[told, device].of(measure).value
            assert one is not None
            return one.value

        real = found["label", "all"].of(measure).reference("real")
        for told in CONDITIONINGS:
            base = value(told, "none")
            rows += [
                [f"{device} raises it, {told} code", measure, number(value(told, device)),
                 number(base), real, held(value(told, device) > base)]
                for device in ("dropout", "cosine", "Gram")
            ]  # fmt: skip
        rows += [
            [f"a {more} code has more than a {less} one", measure, number(value(more, "all")),
             number(value(less, "all")), real, held(value(more, "all") > value(less, "all"))]
            for more, less in (("vector", "label"), ("matrix", "label"), ("vector", "matrix"))
        ]  # fmt: skip
    return rows


def _conditionings(
    page: Section, fields: list[Field], conditionings: tuple[str, ...], most: int | None, file: str
) -> dict[tuple[str, str], Assessment]:
    """A table of the conditionings for each network, and sheets of samples."""
    found: dict[tuple[str, str], Assessment] = {}
    told_rows, rows, sheets = [], [], []
    for field in fields:
        steps = most or STEPS[field.name]
        for told in conditionings:
            made = generator(field.model, conditioning=told, steps=steps)
            samples, accuracy, kl, leading = _answers(field.model, made)
            again = None
            if told == "matrix":
                again = generator(field.model, conditioning=told, steps=steps, seed=1)
            one = _assessed(
                field, made, told, control=told in ("label", "matrix"), again=again, steps=steps
            )
            found[field.name, told] = one
            gate = held(accuracy >= field.gate) if told in HARD else "–"
            told_rows.append(
                [f"`{field.name}`", steps, told, percent(accuracy), gate, number(kl), leading,
                 _half(one, "Vendi within a class"), _half(one, "recall"),
                 f"{made.record['seconds']:.0f}"]
            )  # fmt: skip
            rows.append(
                [f"`{field.name}`", told, *measures(one, MEASURED, beside=True), flags(one)]
            )
            sheets.append((field, told, samples))
    judges = dict.fromkeys(field.judge.name for field in fields)
    page.text(
        "A generator for each network and each way to tell it the class, of 64 pictures a step. "
        "Own accuracy, KL to the code and accuracy among the codes that lead by more "
        f"than {LEAD} are of {EACH:,} samples of each class, all other measures of {ASSESSED} of "
        f"each, held against as many test pictures and {TRAINED} training pictures of each class, "
        f"in the features of the second network ({', '.join(judges)}). "
        "Vendi and recall are to be half of real pictures' (in brackets)."
    )
    page.table(
        ["network", "steps>", "code", "own accuracy>", f"≥ {percent(fields[0].gate, 0)}", "KL>",
         "accuracy where the code leads>", "Vendi, half of real", "recall, half of real",
         "seconds>"],
        told_rows,
    )  # fmt: skip
    page.text("All measures; in brackets the same of real pictures.")
    page.table(["network", "code", *(f"{name}>" for name in MEASURED), "flags"], rows)
    for field in fields:
        shown = [(told, samples) for one, told, samples in sheets if one is field]
        sheet(
            page,
            f"{file}-{field.name}.png",
            f"Samples of every class, by code, of {field.name}; below real pictures.",
            [
                *(
                    (told, _first_of_each(samples.images, samples.classes))
                    for told, samples in shown
                ),
                ("real", _first_of_each(*field.real)),
            ],
            heads=[name[:10] for name in field.model.labels],
            title=field.name,
        )
    return found


def _half(found: Assessment, name: str) -> str:
    """A measure, that of real pictures, and whether the one is half of the other at least."""
    one = found.of(name)
    real = one.references.get("real")
    if one.value is None or real is None:
        return "–"
    return f"{one.words()} ({one.reference('real')}) {held(one.value.value >= real.value / 2)}"


def _first_of_each(images: Tensor, classes: Tensor) -> list[Tensor]:
    return [images[(classes == one).nonzero()[0, 0]] for one in classes.unique().tolist()]


def _answers(model: fs.Classifier, made: Inversion) -> tuple[Samples, float, float, str]:
    """Samples of every class; own accuracy, mean KL, and accuracy where the code leads."""
    samples = made.sample(n=EACH, seed=3)
    logits = fs.predict(model, samples.images, batch_size=250).logits.double()
    right = logits.argmax(1) == samples.classes
    top = samples.codes.topk(2, dim=1).values
    leads = top[:, 0] - top[:, 1] > LEAD
    kl = float(divergence(samples.codes, logits.log_softmax(1)).mean())
    leading = percent(float(right[leads].double().mean())) if bool(leads.any()) else "–"
    return samples, float(right.double().mean()), kl, leading


def _assessed(
    field: Field,
    made: Inversion,
    name: str,
    *,
    control: bool = False,
    again: Inversion | None = None,
    **settings: Any,
) -> Assessment:
    """All measures; with the ``control`` of a network with random weights, and another seed."""

    def measured() -> Assessment:
        samples = made.sample(n=ASSESSED, seed=4)
        random = None
        if control:
            forgot = with_random_weights(field.model, field.real[0][:64], seed=0)
            options = {key: made.record["settings"][key] for key in ("conditioning", "steps")}
            random = generator(forgot, **options).sample(n=ASSESSED, seed=4).images
        seeds = () if again is None else (again.sample(n=ASSESSED, seed=4).images,)
        return assess(
            field.model, samples.images, samples.classes, codes=samples.codes, second=field.judge,
            real=field.real, train=field.train, random=random, seeds=seeds, needs_data=False,
        )  # fmt: skip

    return assessment(field.model, name, measured, control=control, **settings)
