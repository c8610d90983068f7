"""How different the pictures of each class are: means over classes hide that one has collapsed."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fluoroscope.inversion.measures.bench import MADE, Bench, Subject, measured, missing
from fluoroscope.inversion.measures.distributions import mean_cosine, vendi
from fluoroscope.inversion.measures.flags import ClassVariety, has_collapsed
from fluoroscope.inversion.measures.measure import Measure, Value, mean, share
from fluoroscope.inversion.measures.of_answers import SECOND
from fluoroscope.inversion.measures.pictures import spread

REAL = "real=, labelled pictures that nobody made"
SEVERAL = "several pictures of a class"
# Two real pictures of a class may be as good as one to a network; three hardly are.
_FEWEST = 3
ByClass = Mapping[int, float]


def variety(bench: Bench) -> tuple[list[Measure], list[ClassVariety]]:
    """How different the pictures are, of a class and all of them, and what each class says."""
    sets = bench.subjects
    spreads = {key: of_classes(bench, one, one.images, spread) for key, one in sets.items()}
    vendis: dict[str, ByClass] = {}
    if bench.place is None:
        found = [missing(name, SECOND) for name in
                 ("Vendi within a class", "Vendi over all", "cosine within a class")]  # fmt: skip
    else:
        vendis = {key: of_classes(bench, one, bench.features(one), vendi)
                  for key, one in sets.items()}  # fmt: skip
        cosines = {key: of_classes(bench, one, bench.features(one), mean_cosine)
                   for key, one in sets.items()}  # fmt: skip
        found = [
            _of_each("Vendi within a class", bench, vendis),
            measured(
                "Vendi over all",
                {
                    key: Value(vendi(bench.features(one, equal=True)), len(bench.rows(one)))
                    for key, one in sets.items()
                    if len(bench.rows(one))
                },
                needs=REAL + " of the pictures' classes",
                about="pictures in effect, of so many as stand beside",
            ),
            _of_each("cosine within a class", bench, cosines),
        ]
    found.append(_of_each("pixel spread within a class", bench, spreads))
    each = {key: _each(bench, key, spreads, vendis) for key in sets if key != "real"}
    shares = {
        key: share(torch.tensor([has_collapsed(one) for one in several], device="cpu"))
        for key, several in each.items()
        if several
    }
    about = "share of classes that hardly have more than one picture, by the flag's rule"
    found.append(measured("classes collapsed", shares, needs=SEVERAL, kind="share", about=about))
    return found, each[MADE]


def _of_each(name: str, bench: Bench, values: Mapping[str, ByClass]) -> Measure:
    means: dict[str, Value | None] = {}
    for key, one in values.items():
        found = torch.tensor(list(one.values()), dtype=torch.float64, device="cpu")
        means[key] = mean(found, bench.seed) if len(found) else None
    return measured(name, means, needs=SEVERAL, about="mean over classes, counted beside it")


def _each(
    bench: Bench, key: str, spreads: Mapping[str, ByClass], vendis: Mapping[str, ByClass]
) -> list[ClassVariety]:
    """Of each class its pixels' spread, and what part of real ones' variety it has."""
    found = []
    for name, own in spreads[key].items():
        parts = []
        beside = spreads.get("real", {}).get(name, 0.0)
        if beside > 0:
            parts.append(own / beside)
        beside = vendis.get("real", {}).get(name, 1.0)
        if beside > 1 and bench.counts.get(name, 0) >= _FEWEST:
            parts.append((vendis[key][name] - 1) / (beside - 1))
        label = bench.model.labels[name]
        found.append(ClassVariety(label, own, min(parts) if parts else None))
    return found


def of_classes(
    bench: Bench, subject: Subject, values: Tensor, of: Callable[[Tensor], float]
) -> dict[int, float]:
    """A number of each class that has two pictures or more."""
    rows = bench.rows(subject)
    classes = subject.classes[rows]
    mine = {each: rows[classes == each] for each in classes.unique().tolist()}
    return {each: of(values[one]) for each, one in mine.items() if len(one) > 1}
