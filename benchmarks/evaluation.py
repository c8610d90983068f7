"""Whole verdicts: the plans held against AutoAttack's, and the nearest that the peers offer.

Passes are counted at the module for all alike: the images that it is shown, and those whose
gradients come back through it. So looks that a verdict needs, and peers' own bookkeeping, count.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

import fluoroscope as fs
from benchmarks.adapters import Bare, Search, by_art, by_foolbox, by_torchattacks, versions
from benchmarks.page import PAGE, Scale, Section, Skipped, percent
from benchmarks.timing import on_threads
from benchmarks.verdict_beds import BEDS, Bed
from benchmarks.verdicts import BATCH, WAYS, Found, Passes, kept, now, since, verdict
from fluoroscope.engine.bounds import as_number

QUIET = 2.5
"""The load up to which seconds compare."""
_READING = (
    "*Forwards* and *backwards* are the images that went through the module and the gradients that "
    "came back through it, counted there for everybody, looks at the clean images included; one "
    "thread. *Load* is how many processes wanted one of the machine's two processors, at the "
    "beginning or the end, whichever were more; seconds are held against those of `standard` only "
    f"where it was at most {QUIET} for both. *Only it fools*: pictures that the plan `standard` "
    "leaves. *Only `standard`*: those that it fools alone."
)
_COLUMNS = [
    "within", "seed>", "by", "robust accuracy>", "forwards>", "backwards>", "passes ÷ standard>",
    "CPU s>", "÷ standard>", "wall s>", "load>", "only it fools>", "only `standard`>",
]  # fmt: skip
_ONCE = ("standard", "old fast")
"""Made with the first seed alone, save at a bed's cheap bounds."""


def wanted(bed: Bed) -> Iterator[tuple[str, int, str]]:
    """The bounds, seeds and plans at which a bed is looked at, as its table has them."""
    for bound in bed.bounds:
        for seed in bed.seeds:
            for way in WAYS:
                if seed == bed.seeds[0] or way not in _ONCE or bound in bed.cheap:
                    yield bound, seed, way


def evaluations(name: str, scale: Scale) -> Section:
    """All plans on the beds of that name."""
    beds = {bed: BEDS[bed] for bed in BEDS if _section_of(bed) == name}
    first = next(iter(beds.values()))
    section, table = Section(PAGE, f"evaluate-{name}", first.title), _Table(len(beds) > 1)
    for of, bed in beds.items():
        opened = bed.open(scale.limit)
        for bound, seed, way in wanted(bed):
            found = verdict(
                of, bed, bound, seed, way, opened=opened, anew=way in scale.anew,
                make=not scale.kept,
            )  # fmt: skip
            if found is not None:
                table.add(of, bound, seed, way, found)
    if not table.rows:
        raise Skipped("no verdicts of it are kept")
    many = min(scale.limit or first.count, first.count)
    section.text(f"The first {many:,} pictures{first.words}. {_READING}")
    table.into(section)
    return section


def _section_of(bed: str) -> str:
    return bed.partition(":")[0]


@dataclass
class _Table:
    """Rows of verdicts, each beside that of ``standard``."""

    several: bool = False
    """Whether the networks are named."""
    rows: list[list[str]] = field(default_factory=list)
    standards: dict[tuple[str, str, int], Found] = field(default_factory=dict)
    made: dict[str, list[Found]] = field(default_factory=dict)

    def add(self, bed: str, bound: str, seed: int, way: str, found: Found) -> None:
        """One more; those of ``standard`` come before those that are held against them."""
        if way == "standard":
            self.standards[bed, bound, seed] = found
        first = self.standards.get((bed, bound, 0))
        standard = self.standards.get((bed, bound, seed), first)
        by = f"`{way}`" if way in ("standard", "fast") else way
        self.made.setdefault(by, []).append(found)
        name = [bed.rpartition(":")[2]] if self.several else []
        self.rows.append([*name, bound, str(seed), by, *_cells(found, standard)])
        print(" | ".join(self.rows[-1]), flush=True)

    def into(self, section: Section) -> None:
        """The table, and when its rows were made."""
        section.table([*(["network"] if self.several else []), *_COLUMNS], self.rows)
        said = []
        for by, made in self.made.items():
            dates, commits = (
                ", ".join(sorted({getattr(one, of) for one in made} - {""}))
                for of in ("date", "commit")
            )
            said.append(f"{by} {dates}, at {commits}")
        section.text(f"Made on these days and at these commits: {'; '.join(said)}.")


def _cells(found: Found, standard: Found | None) -> list[str]:
    if found.refused:
        return ["refuses: no gradient comes back", *[""] * 9]
    passes = seconds = only = others = ""
    if standard is not None and not standard.refused:
        passes = f"{found.total / standard.total:.3f}"
        only = str(len(set(found.fooled) - set(standard.fooled)))
        others = str(len(set(standard.fooled) - set(found.fooled)))
        if max(*found.load, *standard.load) <= QUIET:
            seconds = f"{found.seconds / standard.seconds:.3f}"
    return [
        f"{percent(found.surviving / found.count)} ({found.surviving} of {found.count})",
        f"{found.forwards:,}", f"{found.backwards:,}", passes, f"{found.seconds:.0f}", seconds,
        f"{found.wall:.0f}", f"{max(found.load):.1f}", only, others,
    ]  # fmt: skip


def agreement(scale: Scale) -> Section:
    """All kept verdicts held against those of ``standard``, picture by picture."""
    section = Section(PAGE, "evaluate-agreement", "Verdicts: where the plans part")
    rows, losses = [], []
    for way in [way for way in WAYS if way != "standard"]:
        pairs = []
        for name, bed in BEDS.items():
            for bound, seed, of in wanted(bed):
                if of != way:
                    continue
                found = kept(name, bound, bed.count, way, seed)
                standard = kept(name, bound, bed.count, "standard", seed) or kept(
                    name, bound, bed.count, "standard", bed.seeds[0]
                )
                if found is None or standard is None or found.refused or standard.refused:
                    continue
                pairs.append((found, standard))
                lost = len(set(standard.fooled) - set(found.fooled))
                if lost:
                    gained = len(set(found.fooled) - set(standard.fooled))
                    losses.append([way, name, bound, seed, found.count, lost, gained])
        if not pairs:
            continue
        only = sum(len(set(a.fooled) - set(b.fooled)) for a, b in pairs)
        left = sum(len(set(b.fooled) - set(a.fooled)) for a, b in pairs)
        ratios = sorted(a.total / b.total for a, b in pairs)
        rows.append(
            [way, len(pairs), sum(a.count for a, _ in pairs), only, left,
             f"{ratios[len(ratios) // 2]:.3f}", f"{ratios[-1]:.3f}",
             f"{sum(a.total for a, _ in pairs) / sum(b.total for _, b in pairs):.3f}"]
        )  # fmt: skip
    if not rows:
        raise Skipped("no verdicts are kept; make the sections before it first")
    section.text(
        "All verdicts of the sections above, picture by picture. *Only it fools* and *only "
        "`standard`* as there, summed over networks, bounds and seeds."
    )
    section.table(
        ["by", "verdicts>", "pictures>", "only it fools>", "only `standard`>",
         "passes ÷ standard, median>", "worst>", "of all passes>"], rows,
    )  # fmt: skip
    section.text("Where a plan leaves pictures that `standard` fools:")
    section.table(
        ["by", "network", "within", "seed>", "pictures>", "only `standard`>", "only it fools>"],
        losses,
    )
    return section


def against_peers(scale: Scale) -> Section:
    """Both plans and the peers' nearest on one network."""
    bed = replace(BEDS["digits-robust"], bounds=("linf:0.3",), count=200)
    section, table = (
        Section(PAGE, "evaluate-peers", "Verdicts: the nearest that peers offer"),
        _Table(),
    )
    model, data = opened = bed.open(scale.limit)
    bound = bed.bounds[0]
    for way in ("standard", "fast"):
        found = verdict("peers", bed, bound, 0, way, opened=opened, anew=True)
        assert found is not None
        table.add("peers", bound, 0, way, found)
    for by, search in _peers(model, data, bound.partition(":")[2]).items():
        table.add("peers", bound, 0, by, search())
    section.text(f"The first {len(data)} pictures{bed.words}, `digits-robust`. {_READING}")
    table.into(section)
    section.text(
        "The peers get the bare network, frozen, and the pictures that it classifies "
        "correctly; what they return counts as fooled if the plain network misclassifies it "
        "within the bound and the box. torchattacks: its APGD, APGDT, FAB and Square with the "
        "published budgets (100 steps, 9 targets, 5,000 queries) one after the other on what "
        "is left, for its own `AutoAttack` makes 10 steps. ART: its `AutoAttack` with its "
        "defaults, which has no targeted DLR and no FAB. Foolbox has no AutoAttack: PGD of 100 "
        "steps from 10 starts, then FMN of 1,000 steps and DeepFool. "
        f"{versions(['torchattacks', 'foolbox', 'ART'])}."
    )
    return section


def _peers(model: fs.Classifier, data: fs.ImageSet, bound: str) -> dict[str, Callable[[], Found]]:
    """By each peer, attack after attack on what is left."""
    import foolbox

    batch = next(iter(data.batches(len(data), fit=model.preprocessing)))
    images, labels, eps = batch.images, batch.labels, as_number(bound)
    assert labels is not None
    network, classes = Bare(model), model.num_classes
    linf = {"norm": "Linf", "eps": eps}
    pgd = foolbox.attacks.LinfPGD(steps=100).repeat(10)
    searches: dict[str, list[Search]] = {
        "torchattacks": [
            by_torchattacks(network, "APGD", BATCH, steps=100, **linf),
            by_torchattacks(network, "APGDT", BATCH, steps=100, n_classes=classes, **linf),
            by_torchattacks(
                network, "FAB", BATCH, steps=100, multi_targeted=True, n_classes=classes, **linf
            ),
            by_torchattacks(network, "Square", BATCH, n_queries=5000, **linf),
        ],
        "ART": [by_art(network, "AutoAttack", images, BATCH, eps=eps, eps_step=2 * eps)],
        "foolbox": [
            by_foolbox(network, pgd, BATCH, epsilon=eps),
            by_foolbox(network, foolbox.attacks.LInfFMNAttack(steps=1000), BATCH),
            by_foolbox(network, foolbox.attacks.LinfDeepFoolAttack(steps=100), BATCH),
        ],
    }
    return {
        name: partial(_by_peer, model, network, images, labels, fs.Linf(eps), each)
        for name, each in searches.items()
    }


def _by_peer(
    model: fs.Classifier, network: nn.Module, images: Tensor, labels: Tensor, threat: fs.Linf,
    searches: list[Search],
) -> Found:  # fmt: skip
    passes, began = Passes(), now()
    with on_threads(1), passes.counted(model.module):
        fooled = _misread(network, images, labels)
        for search in searches:
            left = (~fooled).nonzero().squeeze(1)
            if not len(left):
                break
            found = search(images[left], labels[left])
            inside = ((found >= 0) & (found <= 1)).flatten(1).all(1)
            inside &= threat.allows(found, images[left])
            fooled[left] = inside & _misread(network, found, labels[left])
    missed = tuple(fooled.nonzero().flatten().tolist())
    return Found(len(fooled), missed, *since(began), passes.forwards, passes.backwards)


@torch.no_grad()
def _misread(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return torch.cat([network(part).argmax(1) for part in images.split(BATCH)]) != labels


SECTIONS = {
    **{
        f"evaluate-{name}": partial(evaluations, name)
        for name in dict.fromkeys(map(_section_of, BEDS))
    },
    "evaluate-peers": against_peers,
    "evaluate-agreement": agreement,
}
