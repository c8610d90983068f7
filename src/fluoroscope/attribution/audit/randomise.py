"""What becomes of maps when the network forgets: layers drawn anew, from below and from above.

Adebayo et al. 2018 (1810.03292), in both orders. A map that stays the same does not show what was
learnt. Pixels where both maps are exactly 0 are left out: what equals a baseline gets nothing from
any network. The original is not counted among the stages. It tells no good method from a better one
(Binder et al. 2023, 2211.12486), so nothing is ranked by it.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from fluoroscope.attribution.audit.bench import Bench
from fluoroscope.attribution.audit.subjects import Subject
from fluoroscope.attribution.metrics.similarity import similarity
from fluoroscope.attribution.names import NO_CLASS
from fluoroscope.errors import FluoroscopeError
from fluoroscope.gradients.randomised import Order, with_random_weights
from fluoroscope.models.classifier import Classifier
from fluoroscope.notices import collected
from fluoroscope.words import listed, number, percent

# From this similarity on, in ranks of absolute values, a map is taken for unchanged.
UNCHANGED = 0.9


@dataclass(frozen=True)
class Stage:
    """A share of the layers, drawn anew."""

    order: Order
    share: float

    @property
    def name(self) -> str:
        """For files."""
        return f"{self.order}-{round(100 * self.share)}"

    @property
    def words(self) -> str:
        """Which layers are random."""
        if self.share == 1:
            return "all layers"
        where = "lowest" if self.order == "bottom-up" else "highest"
        return f"the {where} {percent(self.share, 0)} of the layers"


STAGES = (
    Stage("top-down", 0.3),
    Stage("top-down", 0.6),
    Stage("bottom-up", 0.3),
    Stage("bottom-up", 0.6),
    Stage("bottom-up", 1.0),
)
"""All layers are the end of both orders."""


@dataclass(frozen=True)
class Likeness:
    """How alike maps are to those of the network whose layers were drawn anew: means over pictures.

    ``None`` where there are none: the random network answers NaN, or gives no map.
    """

    order: str
    share: float
    pictures: int
    spearman: float | None = None
    """Rank correlation of the signed maps, over the pixels where either is not exactly 0."""
    spearman_abs: float | None = None
    """Of their absolute values."""
    ssim: float | None = None
    """Structural similarity of the absolute values."""
    reason: str = ""
    """Why there are none."""

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def twin(bench: Bench, stage: Stage) -> Classifier:
    """The network with the layers of a stage drawn anew; batch norms see the pictures."""
    return with_random_weights(
        bench.model, bench.images, seed=bench.seed, share=stage.share, order=stage.order
    )


def likeness(
    subject: Subject, bench: Bench, stage: Stage, random: Classifier, maps: Tensor
) -> Likeness:
    """How alike the maps of the pictures are to those of a random network, for the same classes."""
    nothing = Likeness(stage.order, stage.share, len(bench))
    try:
        with collected():  # what that network is like is nobody's trouble
            made = subject.maps(random, bench.images, bench.classes, bench.numbers, bench.seed).maps
    except FluoroscopeError as problem:
        return Likeness(stage.order, stage.share, len(bench), reason=str(problem))
    fine = made.flatten(1).isfinite().all(1) & maps.flatten(1).isfinite().all(1)
    if not bool(fine.any()):
        return nothing
    ranks, sizes, structure = (
        float(similarity(maps[fine], made[fine], kind).mean())
        for kind in ("spearman", "spearman-abs", "ssim")
    )
    return Likeness(stage.order, stage.share, int(fine.sum()), ranks, sizes, structure)


def insensitive(found: tuple[Likeness, ...]) -> Iterator[str]:
    """What is said of maps that stay as they are, a sentence each."""
    for one in found:
        if one.share == 1 and _unchanged(one):
            yield (
                f"With all layers drawn anew the sizes of its maps' values {_alike(one)}: where "
                "they are large is the picture, and not what was learnt."
            )
            return
    for order, where in (("top-down", "higher"), ("bottom-up", "lower")):
        same = [one for one in found if one.order == order and one.share < 1 and _unchanged(one)]
        if same:
            most = max(same, key=lambda one: one.share)
            yield (
                f"It hardly depends on the {where} layers: with {percent(most.share, 0)} of them "
                f"drawn anew the sizes of its maps' values {_alike(most)}."
            )


def of_no_class(method: str) -> Iterator[str]:
    """What is said of a method whose maps are the same for all classes."""
    if method in NO_CLASS:
        yield "It knows no class: its map is the same whichever class is asked for."


def _alike(one: Likeness) -> str:
    return (
        f"stay nearly in the same order (rank correlation {number(one.spearman_abs or 0.0, 2)}; "
        f"with signs {number(one.spearman or 0.0, 2)})"
    )


def _unchanged(one: Likeness) -> bool:
    return one.spearman_abs is not None and one.spearman_abs >= UNCHANGED


def failed(found: tuple[Likeness, ...]) -> str:
    """Stages without a number, in words; nothing where each has one."""
    without = [Stage(one.order, one.share).words for one in found if one.spearman is None]  # type: ignore[arg-type]
    if not without:
        return ""
    return f"With random weights in {listed(without)} there are no maps to compare."
