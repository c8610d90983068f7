"""Portraits of a plain and of a robust network side by side, and of networks with random weights.

What a network that was trained against attacks is asked for by gradient ascent looks like its class
to people and to other networks (Santurkar et al. 2019, 1906.09453; Engstrom et al. 2019,
1906.00945); what a plain one answers to does not. The same portraits of the same networks with
random weights say what of that is the method's doing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import fluoroscope as fs
from benchmarks.page import Scale, Section, percent
from fluoroscope.gradients.randomised import with_random_weights
from fluoroscope.inversion.measures.assess import assess
from fluoroscope.inversion.measures.measure import Value
from fluoroscope.inversion.measures.result import Assessment
from fluoroscope.inversion.portraits.presets import PRESETS
from fluoroscope.inversion.portraits.result import Portraits
from fluoroscope.words import number
from reproductions.inversion_choice import differing, sign_test
from reproductions.inversion_generators import ASSESSED, Field, digits, of_cifar
from reproductions.inversion_kept import (
    assessment,
    flags,
    measures,
    portraits,
    sheet,
    some_of_each,
)
from reproductions.sources import PAGE

METHODS = ("pixels", "fourier", "robust")
SAMPLES = 3
"""Portraits of each class."""
STEPS = 256
"""At the most; a preset that has fewer keeps its own."""
PAIRS = {
    "digits": ("digits-cnn", "digits-robust"),
    "CIFAR-10": ("inversion-plain", "inversion-robust"),
}
"""Of each set the plain network and the robust one."""
MEASURED = (
    "second confidence", "Vendi within a class", "pixel spread within a class", "Fréchet distance",
    "spectrum distance", "nearest training, pixels", "survives rounding", "survives JPEG",
    "survives a shift", "two-alternative test", "way through the layers",
    "likeness to random weights",
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """Portraits of a network by a preset, those of it with random weights, and their worth."""

    field: Field
    preset: str
    made: Portraits
    random: Portraits
    worth: Assessment
    agree: tuple[bool, ...]
    """Whether the second network predicts each as its class."""

    def rate(self, name: str, of: str = "") -> str:
        """A measure with its interval; ``of`` what stands beside it."""
        one = self.worth.of(name)
        value = one.references.get(of) if of else one.value
        return _rate(value)


def section(scale: Scale) -> Section:
    """Digits and CIFAR-10, plain against robust."""
    page = Section(PAGE, "inversion-portraits", "Portraits: plain against robust")
    steps, samples = scale.steps or STEPS, min(SAMPLES, scale.limit or SAMPLES)
    found: dict[tuple[str, str], tuple[Found, Found]] = {}
    for kind, names in PAIRS.items():
        plain, robust = (digits(one) if kind == "digits" else of_cifar(one) for one in names)
        for preset in METHODS:
            found[kind, preset] = (
                _found(plain, preset, steps, samples), _found(robust, preset, steps, samples)
            )  # fmt: skip
            print(f"{kind}, {preset}: done", flush=True)
    page.text(
        f"{samples} portraits of each of ten classes by presets "
        f"({', '.join(f'`{one}`, {min(steps, PRESETS[one].steps)} steps' for one in METHODS)}), "
        "from the same noise for both networks. The second network of the digits' two is the "
        "other of them; of `inversion-plain` and `inversion-robust` it is `inversion-judge`, which "
        "is of other layers and another seed. *Random*: portraits made in the same way of the "
        "network with random weights, as the second network predicts them. In brackets the 95 % "
        "interval of Wilson."
    )
    page.table(
        ["network", "preset", "own accuracy>", "second network agrees>", "real pictures>",
         "random>", "flags"],
        [
            [f"`{one.field.name}`", one.preset, one.rate("own accuracy"),
             one.rate("second accuracy"), one.rate("second accuracy", "real"),
             one.rate("second accuracy", "random"), flags(one.worth)]
            for pair in found.values() for one in pair
        ],
    )  # fmt: skip
    page.text(
        "What the papers lead one to expect. *p*: of an exact sign test on the portraits of which "
        "one is agreed on and the other is not; *held* asks for the order and for p < 0.05."
    )
    page.table(
        ["expectation", "data", "preset", "higher>", "lower>", "p>", "held"],
        [row for (kind, preset), pair in found.items() for row in _expected(kind, preset, *pair)],
    )
    page.text("All measures; in brackets the same of real pictures.")
    page.table(
        ["network", "preset", *(f"{name}>" for name in MEASURED)],
        [
            [f"`{one.field.name}`", one.preset, *measures(one.worth, MEASURED, beside=True)]
            for pair in found.values() for one in pair
        ],
    )  # fmt: skip
    for kind in PAIRS:
        _sheet(page, kind, {preset: found[kind, preset] for preset in METHODS})
    return page


def _expected(kind: str, preset: str, plain: Found, robust: Found) -> list[list[str]]:
    rows = [
        ("a second network agrees on more of the robust network's", robust.agree, plain.agree),
        ("… on more of the robust network's than of its random one's", robust.agree,
         _agreed(robust.field, robust.random)),
        ("… on more of the plain network's than of its random one's", plain.agree,
         _agreed(plain.field, plain.random)),
    ]  # fmt: skip
    return [[told, kind, preset, *_compared(more, less)] for told, more, less in rows]


def _compared(more: Sequence[bool], less: Sequence[bool]) -> list[str]:
    p = sign_test(*differing(more, less))
    many = len(more)
    return [
        percent(sum(more) / many, 0), percent(sum(less) / many, 0), number(p),
        "yes" if sum(more) > sum(less) and p < 0.05
        else "no, the other way round" if sum(less) > sum(more) and p < 0.05
        else "not told apart",
    ]  # fmt: skip


def _found(field: Field, preset: str, steps: int, samples: int) -> Found:
    forgot = with_random_weights(field.model, field.real[0][:64], seed=0)
    made, random = (
        _portraits(model, preset, steps, samples) for model in (field.model, forgot)
    )  # fmt: skip
    train = some_of_each(*field.train, ASSESSED)

    def measured() -> Assessment:
        return assess(
            field.model, made.images, made.targets, second=field.judge, real=field.real,
            train=train, random=random.images, needs_data=False,
        )  # fmt: skip

    worth = assessment(
        field.model, f"portraits by {preset}", measured, steps=steps, samples=samples,
        how=made.record["method"], judge=field.judge.plain.fingerprint()[:12],
    )  # fmt: skip
    return Found(field, preset, made, random, worth, _agreed(field, made))


def _portraits(model: fs.Classifier, preset: str, steps: int, samples: int) -> Portraits:
    classes = [each for each in range(10) for _ in range(samples)]
    numbers = torch.arange(samples).repeat(10)

    steps = min(steps, PRESETS[preset].steps)

    def make() -> Portraits:
        return fs.portrait(model, classes, method=preset, steps=steps, numbers=numbers)

    return portraits(model, preset, make, steps=steps, samples=samples)


def _agreed(field: Field, made: Portraits) -> tuple[bool, ...]:
    said = fs.predict(field.judge, made.images, batch_size=250).winners
    return tuple((torch.as_tensor(said) == made.targets).tolist())


def _rate(value: Value | None) -> str:
    if value is None:
        return "not measured"
    if value.interval is None:
        return percent(value.value)
    low, high = value.interval
    return f"{percent(value.value)} ({100 * low:.0f} to {100 * high:.0f})"


def _sheet(page: Section, kind: str, found: dict[str, tuple[Found, Found]]) -> None:
    """A class a row; of each preset the plain network's, the robust one's, and a random one's."""
    first = next(iter(found.values()))[0]
    labels = first.made.targets.unique().tolist()
    rows: list[tuple[str, list[Tensor | None]]] = []
    for label in labels:
        across: list[Tensor | None] = []
        for plain, robust in found.values():
            for one in (plain.made, robust.made, plain.random):
                across.append(one.images[(one.targets == label).nonzero()[0, 0]])
        rows.append((first.field.model.labels[label], across))
    sheet(
        page,
        f"inversion-portraits-{kind.lower()}.png",
        f"Portraits of {' and '.join(PAIRS[kind])}, and of the first with random weights, by "
        f"{', '.join(found)}.",
        rows,
        heads=[f"{preset}: {which}" for preset in found
               for which in ("plain", "robust", "random")],
        title=f"{kind}: plain, robust, random weights",
    )  # fmt: skip
