"""Measures of many pictures together: how near real ones they lie, and how alike each other."""

from collections.abc import Iterator

import torch
from torch import Tensor

from fluoroscope.inversion.measures.bench import MADE, Bench, Subject, measured, missing
from fluoroscope.inversion.measures.distributions import (
    Overlap,
    frechet,
    mean_cosine,
    overlap,
)
from fluoroscope.inversion.measures.measure import Measure, Value, mean, share
from fluoroscope.inversion.measures.of_answers import SECOND
from fluoroscope.inversion.measures.pictures import spectrum_distance
from fluoroscope.inversion.measures.variety import REAL, of_classes

# Pictures that are compared in double precision at once.
_TOGETHER = 64
# Neighbours: as in Naeem et al. 2020.
K = 5


def among_real(bench: Bench) -> Iterator[Measure]:
    """Precision, recall, density, coverage and Fréchet distance in features, and the spectrum."""
    names = ("precision", "recall", "density", "coverage")
    if bench.place is None or bench.against is None:
        needs = SECOND if bench.against is not None else REAL
        for name in names:
            yield missing(name, needs, kind="number" if name == "density" else "share")
        yield missing("Fréchet distance", needs)
    else:
        yield from _overlaps(bench, bench.against, names)
    if bench.against is None:
        yield missing("spectrum distance", REAL)
        return
    real = bench.against.images[bench.rows(bench.against)]
    yield measured(
        "spectrum distance",
        {
            key: Value(spectrum_distance(one.images, real), len(one))
            for key, one in bench.apart.items()
            if len(real)
        },
        needs=REAL + " of the pictures' classes",
        about="in factors of ten: 0.3 is twice or half the magnitude",
    )


def _overlaps(bench: Bench, against: Subject, names: tuple[str, ...]) -> Iterator[Measure]:
    real = bench.features(against, equal=True)
    sets = {key: bench.features(one, equal=True) for key, one in bench.apart.items()}
    smallest = min([len(real), *(len(one) for one in sets.values())])
    k = min(K, smallest - 1)
    if k < 1 or smallest < 3:
        needs = "3 pictures or more, and as many real ones of their classes"
        for name in names:
            yield missing(name, needs, kind="number" if name == "density" else "share")
        yield missing("Fréchet distance", needs)
        return
    found = {key: overlap(one, real, k) for key, one in sets.items()}
    about = f"k = {k}, {len(real)} real pictures"
    for name in names:
        values = {key: _value(one, name, bench.seed) for key, one in found.items()}
        kind = "number" if name == "density" else "share"
        yield measured(name, values, kind=kind, about=about)
    features = real.shape[1]
    fewer = ": fewer pictures than features, so it is too large" if smallest <= features else ""
    yield measured(
        "Fréchet distance",
        {key: Value(frechet(one, real), len(one)) for key, one in sets.items()},
        about=f"{features} features of the second network{fewer}; of no use across networks",
    )


def _value(one: Overlap, name: str, seed: int) -> Value:
    found: Tensor = getattr(one, name)
    return mean(found, seed) if name == "density" else share(found)


def made_alike(bench: Bench) -> Iterator[Measure]:
    """The same portraits from the network with random weights, and from other seeds."""
    needs = "random=, the same pictures of the network with random weights"
    other = bench.others.get("random")
    name = "likeness to random weights"
    if other is None:
        yield missing(name, needs)
    else:
        yield measured(
            name, _correlations(bench, other),
            about="mean correlation of pixels with a picture of the same class of that network; "
            "real: of real pictures of a class among themselves",
        )  # fmt: skip
    name = "agreement over seeds"
    if not bench.again:
        yield missing(name, "seeds=, the same pictures from other seeds")
        yield missing("same answer over seeds", f"seeds= and {SECOND}", kind="share")
        return
    found = [_correlations(bench, one) for one in bench.again]
    own = torch.tensor([each[MADE].value for each in found], dtype=torch.float64, device="cpu")
    values = {**found[0], MADE: Value(float(own.mean()), len(own) * len(bench.made))}
    yield measured(
        name, values, about="mean correlation of pixels with the picture of another seed"
    )
    judge = bench.made.second
    if judge is None:
        yield missing("same answer over seeds", SECOND, kind="share")
        return
    same = [judge.winners == one.second.winners for one in bench.again if one.second is not None]
    yield measured(
        "same answer over seeds",
        {MADE: share(torch.cat(same))},
        kind="share",
        about="by the second network",
    )


def _correlations(bench: Bench, other: Subject) -> dict[str, Value]:
    values = correlation(bench.made.images[: len(other)], other.images)
    found = {MADE: mean(values, bench.seed)}
    real = bench.others.get("real")
    if real is not None:
        pairs = of_classes(bench, real, real.images, lambda images: mean_cosine(_contrast(images)))
        if pairs:
            found["real"] = mean(
                torch.tensor(list(pairs.values()), dtype=torch.float64, device="cpu"), bench.seed
            )
    return found


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's, of the pixels of pictures ``(N, C, H, W)``; 0 where one is flat."""
    if len(first) > _TOGETHER:
        parts = zip(first.split(_TOGETHER), second.split(_TOGETHER), strict=True)
        return torch.cat([correlation(*part) for part in parts])
    one, two = _contrast(first), _contrast(second)
    lengths = one.norm(dim=1) * two.norm(dim=1)
    found: Tensor = (one * two).sum(1) / lengths.clamp(min=1e-300)
    return found


def _contrast(images: Tensor) -> Tensor:
    rows = images.double().flatten(1)
    return rows - rows.mean(1, keepdim=True)
