"""The numbers of a layer as a whole, with their intervals, and its units in bins."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fluoroscope.neurons.meaning.arrays import Array
from fluoroscope.neurons.meaning.of_units import FLIPS, OfUnits
from fluoroscope.neurons.meaning.representations import Ratios
from fluoroscope.neurons.meaning.resampling import Number, Times, mean_of, with_interval
from fluoroscope.neurons.meaning.result import Bin
from fluoroscope.neurons.meaning.sensitivity import Sensitivity
from fluoroscope.neurons.meaning.sharing import Sharing

_SHARE = (0.0, 1.0)
# Bins of the level of consistency, and units that one has at least.
_BINS, _IN_A_BIN = 10, 4


def of_layer(
    units: OfUnits, represented: Ratios, moved: Sensitivity, used: Sharing, drawn: list[Times],
    sources: int,
) -> dict[str, Number]:  # fmt: skip
    """The numbers of the layer, by name; ``sources`` real pictures have adversarial ones."""
    found = {
        name: with_interval(
            _mean(values), _means(units.drawn[name]), int((~np.isnan(values)).sum()), bounds=_SHARE
        )
        for name, values in units.numbers.items()
    }
    made = [times for _, times in drawn]
    for name in ("r1", "r2", "r1_real"):
        found |= _ratios(name, getattr(represented, name), made, sources)
    found["relative_sensitivity"] = _over_pictures(moved.pictures, made)
    for kind, flipped in units.flipped.items():
        counts, known = units.changed[kind], flipped[flipped >= 0]
        rates = counts[:, 1] / np.where(counts[:, 0] > 0, counts[:, 0], np.nan)
        found[FLIPS[kind]] = with_interval(_mean(known), rates, len(known), bounds=_SHARE)
    found["shared"] = _over_classes(used.share)
    return found


def _ratios(
    name: str, values: Array, made: list[NDArray[np.int64]], sources: int
) -> dict[str, Number]:
    """Mean, median and share below 1 of a ratio of distances."""
    known = values[~np.isnan(values)]
    below = np.where(np.isnan(values), np.nan, values < 1)
    middle = float(np.median(known)) if len(known) else float("nan")
    return {
        name: _over_pictures(values, made),
        f"{name}_median": Number(middle, None, len(known), "pictures"),
        f"{name}_below_1": _unanimous(_over_pictures(below, made, 1.0), sources),
    }


def _over_pictures(values: Array, made: list[NDArray[np.int64]], most: float = np.inf) -> Number:
    """The mean over adversarial pictures ``(M,)``, each draw with so many of each."""
    once = np.ones(len(values), dtype=np.int64)
    again = np.array([mean_of(values, times) for times in made])
    many = int((~np.isnan(values)).sum())
    return with_interval(mean_of(values, once), again, many, "pictures", (0.0, most))


def _unanimous(found: Number, sources: int) -> Number:
    """A share with the exact interval of none or all of so many, where all draws are alike.

    However often they are drawn again, pictures that all lie on one side do not say how many others
    would lie on it (Clopper and Pearson 1934).
    """
    if found.interval is None or found.value not in (0, 1):
        return found
    reach = 1 - 0.025 ** (1 / max(1, min(sources, found.count)))
    return replace(found, interval=(0.0, reach) if found.value == 0 else (1 - reach, 1.0))


def _over_classes(values: Array) -> Number:
    """The mean over classes: which pictures a class has says little of which units it uses."""
    many = len(values)
    if many < 2:
        return Number(_mean(values), None, many, "classes")
    rng = np.random.default_rng(0)
    again = values[rng.integers(0, many, (1000, many))].mean(1)
    return with_interval(float(values.mean()), again, many, "classes", _SHARE)


def _mean(values: NDArray[np.generic]) -> float:
    known = values.astype(np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else float("nan")


def _means(drawn: NDArray[np.float32]) -> Array:
    """The mean over units in each draw ``(B, K)``; a unit may have no favourites in one."""
    there = ~np.isnan(drawn)
    totals = np.where(there, drawn, 0).sum(1, dtype=np.float64)
    found: Array = totals / np.where(there.any(1), there.sum(1), np.nan)
    return found


def in_bins(units: OfUnits) -> tuple[Bin, ...]:
    """Units with a CS1 by their level of consistency, as many in each."""
    level = units.numbers["level"]
    order = np.argsort(level, kind="stable")
    # A unit without adversarial favourites has a level and no CS1.
    order = order[~np.isnan(units.numbers["cs1"][order])]
    if not len(order):
        return ()
    most = min(_BINS, len(order) // _IN_A_BIN, len(np.unique(level[order].round(9))))
    parts = np.array_split(order, max(1, most))
    return tuple(
        Bin(
            float(level[part].mean()),
            (float(level[part].min()), float(level[part].max())),
            *(
                with_interval(
                    float(units.numbers[name][part].mean()), _means(units.drawn[name][:, part]),
                    len(part), bounds=_SHARE,
                )
                for name in ("cs1", "cs2")
            ),
        )
        for part in parts
    )  # fmt: skip
