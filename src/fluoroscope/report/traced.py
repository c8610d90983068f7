"""Which units decided about a few pictures of a report, exactly, within a share of its time.

What a unit did is told by removing it, and where it looked by its relevance at the pixels; see
:func:`fluoroscope.neurons.trace`.
"""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from fluoroscope.errors import FluoroscopeError
from fluoroscope.models.classifier import Classifier
from fluoroscope.neurons.reading.units import Units, find_units
from fluoroscope.neurons.reading.usual import usual_layer
from fluoroscope.neurons.tracing.trace import trace
from fluoroscope.notices import collected
from fluoroscope.report.study import Study
from fluoroscope.report.subject import LeftOutError

# Pictures of each kind, and units that are shown of each.
EACH, SHOWN = 3, 3
# Of the time that is left, and without a budget of the time that all before took, and seconds.
_SHARE, _OF_SPENT, _SECONDS = 0.15, 0.1, 30.0


@dataclass(frozen=True)
class Decided:
    """What the units of a layer did in one picture's decision."""

    index: int
    """Of the picture, in the data set."""
    label: int
    became: int
    """The class that the network predicts, of which the effects are."""
    confidence: float
    image: Tensor
    """``(C, H, W)``."""
    margin: float
    """The logit of the class minus the largest other."""
    effects: Tensor
    """``(K,)``: how much of the margin is gone without each unit."""
    agreement: dict[str, float]
    """Spearman's correlation of each approximation with the effects."""
    smallest: list[int] | None
    """Units that together change the decision when removed, found greedily; if any do."""
    maps: Tensor | None
    """``(S, H, W)``, where the units with the largest effects looked; if that can be told."""

    @property
    def shown(self) -> list[int]:
        """The units that are shown."""
        return strongest(self.effects)


@dataclass(frozen=True)
class Traced:
    """Pictures of a study, traced."""

    units: Units
    typical: list[Decided]
    """Classified correctly, as surely as half of those are."""
    wrong: list[Decided]
    """Misclassified, those that the network is surest of."""
    unfinished: int
    """Pictures for which there was no time."""


def traced(study: Study) -> Traced:
    """A few of the study's pictures, traced.

    Raises:
        LeftOutError: no layer has units, or there was no time for a single picture.
    """
    model = study.model.plain
    units = layer_of(study)
    reading = study.reading
    wanted = [*_typical(study), *_surest(study)]
    limit = max(_SECONDS, _OF_SPENT * study.spent())
    ends = time.monotonic() + min(_SHARE * study.left(), limit)
    images, _ = study.load([study.images.indices[row] for row in wanted])
    found: dict[int, Decided] = {}
    for place, row in enumerate(wanted):
        study.tell("which units decided", place / len(wanted), "trace")
        if place and (study.cancelled() or time.monotonic() > ends):
            study.cut.add("trace")
            break
        index, became = study.images.indices[row], int(reading.winners[row])
        about = [index, became, units.describe(), SHOWN]
        image = images[place]

        def look(image: Tensor = image, became: int = became) -> dict[str, Tensor]:
            return _looked(model, image, became, units, study.seed)

        kept = study.kept("trace", about, look)
        smallest = kept["smallest"].tolist()
        found[row] = Decided(
            index, int(reading.labels[row]), became, float(reading.confidence[row]), image,
            float(kept["margin"]), kept["effects"],
            {name.partition(" ")[2]: float(value) for name, value in kept.items()
             if name.startswith("agreement ")},
            smallest or None, kept.get("maps"),
        )  # fmt: skip
    right = [one for row, one in found.items() if bool(reading.right[row])]
    wrong = [one for row, one in found.items() if not bool(reading.right[row])]
    return Traced(units, right, wrong, len(wanted) - len(found))


def layer_of(study: Study) -> Units:
    """The units of the layer that a report looks at.

    Raises:
        LeftOutError: the network has none.
    """

    def look() -> Units:
        model = study.model.plain
        try:
            with collected():
                return find_units(model, usual_layer(model, study.size), size=study.size)
        except FluoroscopeError as problem:
            raise LeftOutError(f"there is no layer whose units can be told: {problem}") from None

    return study.once("layer of units", look)


def _typical(study: Study) -> list[int]:
    """Rows that are classified correctly, nearest to the median confidence, each of another class
    as far as there are.
    """
    reading = study.reading
    rows = reading.right.nonzero()[:, 0]
    if not len(rows):
        return []
    sure = reading.confidence[rows]
    near = rows[(sure - sure.median()).abs().argsort(stable=True)].tolist()
    labels = reading.labels.tolist()
    firsts = list({labels[row]: row for row in reversed(near)}.values())
    firsts.sort(key=near.index)
    return [*firsts, *(row for row in near if row not in set(firsts))][:EACH]


def _surest(study: Study) -> list[int]:
    """Rows that are misclassified, the surest first."""
    rows = (~study.reading.right).nonzero()[:, 0]
    order = study.reading.confidence[rows].argsort(descending=True, stable=True)
    return [int(row) for row in rows[order][:EACH]]


def _looked(
    model: Classifier, image: Tensor, became: int, units: Units, seed: int
) -> dict[str, Tensor]:
    """What a run keeps of one picture's trace."""
    with collected():
        found = trace(
            model, image, became, layer=units.layer, call=units.call, shown=SHOWN, seed=seed
        )
    effects = found.effects[:, 0].clone()
    one = {
        "effects": effects,
        "margin": _number(found.record["values"]["margin"]),
        "smallest": torch.tensor(found.smallest_set or [], dtype=torch.long, device="cpu"),
        **{
            f"agreement {name}": _number(value)
            for name, value in found.agreement.items()
            if value is not None
        },
    }
    # First come the units that spoke for the class.
    maps = found.maps[: len(strongest(effects))]
    return one | {"maps": maps.sum(1)} if len(maps) else one


def strongest(effects: Tensor) -> list[int]:
    """The units with the largest effects, those alone that spoke for the class."""
    order = effects.argsort(descending=True, stable=True)[:SHOWN].tolist()
    return [unit for unit in order if effects[unit] > 0]


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.double, device="cpu")
