"""Measures that hold pictures against real ones of their class: leaks, choices, the way through."""

from collections.abc import Iterator

import torch
from torch import Tensor

from fluoroscope.attribution.metrics.intervals import interval_of
from fluoroscope.engine.intervals import wilson
from fluoroscope.inversion.measures.bench import MADE, Bench, Subject, measured, missing
from fluoroscope.inversion.measures.choice import (
    PAIRS,
    REFERENCES,
    Choices,
    Shown,
    two_alternatives,
)
from fluoroscope.inversion.measures.layer_path import AtLayer, at_layer, mean_place
from fluoroscope.inversion.measures.measure import Measure, Value, median, share
from fluoroscope.inversion.measures.nearest import (
    CANDIDATES,
    among,
    in_space,
    in_structure,
    mirrored,
    ratios,
)
from fluoroscope.inversion.measures.of_answers import SECOND
from fluoroscope.inversion.measures.variety import REAL

# A copy is nearer than this share of what test pictures of the class mostly are, and nearer than
# all but one in a hundred of them: an average of training pictures is at about 0.7 in pixels.
COPY = 0.5
_RAREST = 0.01
TRAIN = "train=, the pictures that the network learnt from, and real=, others"


def leaks(bench: Bench) -> Iterator[Measure]:
    """How near the nearest training picture is, as a ratio to the test set's own."""
    real, train = bench.others.get("real"), bench.against
    for name in ("pixels", "structure", "features"):
        title = f"nearest training, {name}"
        if real is None or train is None or not bench.trained:
            yield missing(title, TRAIN)
            yield missing(f"copies, {name}", TRAIN, kind="share")
            continue
        if name == "features" and bench.place is None:
            yield missing(title, SECOND)
            yield missing(f"copies, {name}", SECOND, kind="share")
            continue
        away = {key: _away(bench, name, one, train) for key, one in bench.subjects.items()}
        near = {
            key: ratios(away[key][0], one.classes, away["real"][0], real.classes)
            for key, one in bench.subjects.items()
        }
        line = min(COPY, float(near["real"].quantile(_RAREST)))
        values = {key: median(one, bench.seed) for key, one in near.items()}
        copies = {key: share(one < line) for key, one in near.items()}
        among = f" of {CANDIDATES} nearest in pixels" if name == "structure" else ""
        turned = away[MADE][1] & (near[MADE] < line)
        if bool(turned.any()):
            copies["mirrored"] = share(turned)
        yield measured(
            title, values,
            about=f"median distance{among}, 1 is that of test pictures of the class, 0 a copy",
        )  # fmt: skip
        yield measured(
            f"copies, {name}", copies, kind="share",
            about="nearer than half of what test pictures mostly are, and than 99 % of them",
        )  # fmt: skip


def _away(bench: Bench, name: str, subject: Subject, train: Subject) -> tuple[Tensor, Tensor]:
    """How far the nearest is, and whether of the mirror image."""
    if name == "features":
        found = in_space(bench.features(subject), bench.features(train))
        return found, torch.zeros_like(found, dtype=torch.bool)
    if name == "pixels":
        points = train.images.flatten(1)
        return mirrored(lambda images: in_space(images.flatten(1), points), subject.images)
    return mirrored(lambda images: in_structure(images, train.images), subject.images)


def repeats(bench: Bench) -> Iterator[Measure]:
    """How many pictures lie as near to another of their class as real ones do not.

    Two pictures in turn, or one with noise on it, pass for variety elsewhere.
    """
    real = bench.others.get("real")
    for name in ("pixels", "features"):
        title = f"repeats, {name}"
        if real is None or (name == "features" and bench.place is None):
            yield missing(title, REAL if real is None else SECOND, kind="share")
            continue
        away = {}
        for key, one in bench.subjects.items():
            rows = bench.rows(one)
            points = one.images.flatten(1) if name == "pixels" else bench.features(one)
            away[key] = among(points[rows], one.classes[rows])
        own, labels = away["real"]
        if not len(own):
            yield missing(title, "several real pictures of a class, and of these", kind="share")
            continue
        near = {key: ratios(*one, own, labels) for key, one in away.items() if len(one[0])}
        line = min(COPY, float(near["real"].quantile(_RAREST)))
        yield measured(
            title, {key: share(one < line) for key, one in near.items()}, kind="share",
            about="nearer to another picture of the class than half of what real ones mostly are, "
            "and than 99 % of them",
        )  # fmt: skip


def choices(bench: Bench) -> Iterator[Measure]:
    """The two-alternative test, beside the same with real pictures as references."""
    name, real = "two-alternative test", bench.others.get("real")
    if bench.place is None or real is None:
        yield missing(name, SECOND if real is not None else REAL, kind="share")
        return
    noise = bench.others["noise"]
    found = two_alternatives(
        Shown(bench.features(bench.made), bench.made.classes),
        Shown(bench.features(noise), noise.classes),
        bench.features(real), real.own.logits, seed=bench.seed,
    )  # fmt: skip
    if found is None:
        yield missing(name, "more real pictures", kind="share")
        return
    yield measured(
        name,
        {
            MADE: _sure(found, found.made, bench.seed),
            "real": _sure(found, found.natural, bench.seed),
            "noise": _sure(found, found.noise, bench.seed),
        },
        kind="share",
        about=f"up to {REFERENCES} references and {PAIRS} pairs of a class; by chance 50 %",
    )


def _sure(found: Choices, right: Tensor, seed: int) -> Value:
    """Their mean, with an interval over classes, for pairs of a class share their references."""
    value, many = float(right.mean()), len(right)
    classes = found.classes.unique()
    if len(classes) < 2 or bool((right == right[0]).all()):
        return Value(value, many, wilson(round(float(right.sum())), many))
    sums = torch.stack([right[found.classes == each].sum() for each in classes])
    sizes = torch.stack([(found.classes == each).sum() for each in classes])
    ends = interval_of(
        lambda drawn: sums[drawn].sum(1) / sizes[drawn].sum(1), len(classes), seed=seed
    )
    return Value(value, many, ends)


def way(bench: Bench) -> tuple[list[Measure], dict[str, tuple[AtLayer, ...]]]:
    """Whether pictures go through the layers as real ones do, and what each layer says."""
    name = "way through the layers"
    if bench.against is None:
        return [missing(name, REAL)], {}
    if not bench.path:
        return [missing(name, "a network whose layers Python sees")], {}
    ways = {key: _along(bench, one, bench.against) for key, one in bench.apart.items()}
    values: dict[str, Value | None] = {}
    for key, one in ways.items():
        place = mean_place(one)
        values[key] = None if place is None else Value(place, len(bench.subjects[key]))
    telling = sum(one.tells for one in ways[MADE])
    needs = "two real pictures of a class, of classes that some layer tells apart"
    about = (
        f"mean place over {telling} of {len(bench.path)} layers: 1 as real pictures of the class, "
        "0 as of others"
    )
    return [measured(name, values, needs=needs, about=about)], ways


def _along(bench: Bench, subject: Subject, real: Subject) -> tuple[AtLayer, ...]:
    found = [
        at_layer(
            str(place), subject.own.layers[place], subject.classes,
            real.own.layers[place], real.classes,
        )
        for place in bench.path
    ]  # fmt: skip
    return tuple(one for one in found if one is not None)
