"""How many queries a success takes, for every attack that reads scores or decisions alone."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

import fluoroscope as fs
from benchmarks.page import Section, percent
from fluoroscope.attacks.registry import ATTACKS
from fluoroscope.data.digits import digits
from fluoroscope.engine.stream import Budget
from fluoroscope.pictures.curves import query_curves
from fluoroscope.pictures.maps import write_figure
from reproductions.sources import IMAGENET, PAGE, SHARED

SEED = 0
SMALL = SHARED / "models" / "mobilenet_v1_0.25_128"
DIGITS, DIGITS_QUERIES = 50, 5000
PICTURES, QUERIES = 20, 2000
"""How many pictures, and what each may cost."""
BATCH = 50
MARKS = (100, 300, 1000, 3000)
"""Queries at which the table reads the curves."""


@dataclass(frozen=True)
class Target:
    """A network, pictures that it classifies correctly, and how far they may go in each norm."""

    title: str
    file: str
    model: fs.Classifier
    images: Tensor
    classes: Tensor
    queries: int
    bounds: dict[str, float | str | None]


def section() -> Section:
    """All of it."""
    page = Section(PAGE, "queries", "Success against queries")
    page.text(
        "Every attack of the registry that reads scores or decisions and no gradient, each in the "
        "norm that it is defined for first, on pictures that the network classifies correctly. A "
        "query is one image through the network; the look at the clean picture is not counted. "
        "Each attack has the same budget and stops at its first success within the bound; those "
        "that look for the closest success do not know the bound. Two norms cannot be compared, "
        "and neither can scores with decisions: who sees more needs fewer queries."
    )
    for target in targets():
        _measure(page, target)
    return page


def targets() -> Iterator[Target]:
    """One after the other, so that one is in memory."""
    model = fs.load_model("digits-cnn")
    images, classes = digits()
    right = (fs.predict(model, images).winners == classes).nonzero().squeeze(1)
    chosen = right[torch.randperm(len(right), generator=_generator())[:DIGITS]]
    yield Target(
        "digits-cnn", "digits", model, images[chosen], classes[chosen], DIGITS_QUERIES,
        {"linf": 0.1, "l2": 1.5, "l1": 15, "l0": 15, "none": None},
    )  # fmt: skip
    model = fs.load_model(SMALL)
    yield Target(
        "MobileNet v1 0.25 at 128", "mobilenet", model, *_read_right(model, PICTURES), QUERIES,
        {"linf": "2/255", "l2": 2, "l1": 100, "l0": 50, "none": None},
    )  # fmt: skip


def _read_right(model: fs.Classifier, count: int) -> tuple[Tensor, Tensor]:
    sample = fs.load_images(IMAGENET)
    mixed = sample.select(torch.randperm(len(sample), generator=_generator()))
    images, labels = [], []
    for batch in mixed.batches(BATCH, fit=model.preprocessing, workers=0):
        assert batch.labels is not None
        right = fs.predict(model, batch.images).winners == batch.labels
        images.append(batch.images[right])
        labels.append(batch.labels[right])
        if sum(map(len, labels)) >= count:
            break
    return torch.cat(images)[:count], torch.cat(labels)[:count]


def _measure(page: Section, target: Target) -> None:
    model = fs.prepare(target.model)
    curves: dict[str, dict[str, list[int]]] = {}
    rows = []
    for name, kind in ATTACKS.items():
        norm = kind.norms[0]
        if kind.access in ("gradient", "inverse") or norm not in target.bounds:
            continue
        known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
        own = {"queries": target.queries} if "queries" in known else {}
        result = fs.attack(name, eps=target.bounds[norm], norm=norm, **own)(
            model,
            target.images,
            target.classes,
            keep="first",
            batch_size=BATCH,
            budget=Budget(forwards=target.queries),
            seed=SEED,
        )
        taken = sorted((result.forwards[result.success] - model.plain.passes).tolist())
        bound = "–" if target.bounds[norm] is None else target.bounds[norm]
        curves.setdefault("no norm" if bound == "–" else f"{norm} {bound}", {})[name] = taken
        marks = [_by(mark, taken, target) for mark in MARKS]
        half = (len(result.success) + 1) // 2
        rows.append(
            [name, kind.access, norm, bound, *marks,
             percent(len(taken) / len(result.success)),
             taken[half - 1] if len(taken) >= half else "–",
             f"{float((result.forwards - model.plain.passes).float().mean()):.0f}"]
        )  # fmt: skip
    page.text(
        f"**{target.title}**, {len(target.images)} pictures (seed {SEED}), {target.queries} "
        "queries each: share fooled after so many, at the end, and after how many half of them "
        "are; *spent* counts those that were not."
    )
    heads = [f"{mark}>" for mark in MARKS]
    page.table(
        ["attack", "reads", "norm", "bound>", *heads, "end>", "half at>", "spent, mean>"], rows
    )
    figure = query_curves(curves, len(target.images), target.queries, title=target.title)
    words = f"Share of pictures fooled against queries on {target.title}."
    write_figure(page.picture(f"queries-{target.file}.png", words), figure)


def _by(mark: int, taken: list[int], target: Target) -> str:
    if mark > target.queries:
        return "–"
    return percent(sum(each <= mark for each in taken) / len(target.images))


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)
