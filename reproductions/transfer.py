"""What fools one network and then another: the transfer attacks among four MobileNets.

Every picture is attacked on every network, and every network reads what came out of it. The results
of a network and an attack are kept in ``KEPT`` as they come, so that a run that was stopped goes on
where it was; delete that folder to measure anew.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import fluoroscope as fs
from benchmarks.page import Section
from fluoroscope.attacks.attack import Method
from fluoroscope.engine import randomness
from fluoroscope.engine.intervals import wilson
from fluoroscope.files import atomic_path
from fluoroscope.pictures.maps import write_figure
from reproductions.sources import IMAGENET, PAGE, SHARED

SEED, STEPS, SIDE, BATCH = 0, 10, 224, 20
PICTURES, FEW = 40, 10
"""How many the attacks of one pass a step are given, and those of five to twenty."""
POOL = 50
"""Other pictures, which Admix mixes in."""
LEVELS = (8, 16)
DRAWS = 2000
"""Of the bootstrap."""
KEPT = Path("out/transfer")
MODELS = ("mobilenet_v1_0.75_224", "mobilenet_v2_1.0_224", "mobilenet_v1_0.50_160",
          "mobilenet_v1_0.25_128")  # fmt: skip
SHORT = {"mobilenet_v1_0.75_224": "v1 .75", "mobilenet_v2_1.0_224": "v2 1.0",
         "mobilenet_v1_0.50_160": "v1 .50", "mobilenet_v1_0.25_128": "v1 .25"}  # fmt: skip

Cell = tuple[str, int, bool]
"""An attack, a radius in 8-bit levels, and whether it is targeted."""
CONDITIONS = tuple(product(LEVELS, (False, True)))


@dataclass(frozen=True)
class Recipe:
    """An attack, and how many pictures it can be afforded on."""

    name: str
    options: dict[str, Any]
    few: bool = False
    ensemble: bool = False
    """On the other networks together, instead of on one of them."""

    def attack(self, level: int) -> Method:
        """All take steps of the same size, as in the papers: only their directions differ."""
        size = {"step_size": level / 255 / STEPS} if "steps" in self.options else {}
        return fs.attack(self.name, eps=f"{level}/255", **self.options, **size)


@dataclass(frozen=True)
class Data:
    """The pictures ``(N, 3, SIDE, SIDE)``, what they show, and the classes they are led to."""

    images: Tensor
    labels: Tensor
    targets: Tensor
    pool: Tensor


@dataclass(frozen=True)
class Measured:
    """By attack and source: booleans ``(pictures, targets)``, whether it succeeded there."""

    success: dict[tuple[Cell, str], Tensor]
    right: Tensor
    """``(pictures, targets)``: classified correctly before."""


def section() -> Section:
    """All of it."""
    page = Section(PAGE, "transfer", "What fools one network and then another")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    models = {name: fs.load_model(SHARED / "models" / name, device=device) for name in MODELS}
    views = {name: fs.Ensemble([model], input_size=SIDE) for name, model in models.items()}
    data = _data(views[MODELS[0]], models[MODELS[0]])
    recipes = _recipes(data)
    found = _measure(models, views, data, recipes)
    _words(page, data, found)
    _summary(page, recipes, found)
    _claims(page, found)
    for level, targeted in CONDITIONS:
        _table(page, recipes, found, level, targeted)
    return page


def _recipes(data: Data) -> dict[str, Recipe]:
    steps: dict[str, Any] = {"steps": STEPS}
    recipes = {
        "FGSM": Recipe("fgsm", {}),
        "I-FGSM": Recipe("bim", steps),
        "MI-FGSM": Recipe("mi-fgsm", steps),
        "NI-FGSM": Recipe("ni-fgsm", steps),
        "VMI-FGSM": Recipe("vmi-fgsm", steps, few=True),
        "DI-FGSM": Recipe("di-fgsm", steps),
        "TI-FGSM": Recipe("ti-fgsm", steps),
        "SI-FGSM": Recipe("si-fgsm", steps, few=True),
        "Admix": Recipe("admix", steps | {"pool": data.pool}, few=True),
    }
    recipes |= {
        "ghost I-FGSM": Recipe("ghost-fgsm", steps | {"decay": 0.0}),
        "ghost MI-FGSM": Recipe("ghost-fgsm", steps),
    }
    return recipes | {"ensemble": Recipe("mi-fgsm", steps, ensemble=True)}


def _data(view: fs.Classifier, model: fs.Classifier) -> Data:
    """Pictures drawn at random, fitted as the first network wants them."""
    images = fs.load_images(IMAGENET)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(SEED))
    chosen = images.select(torch.cat([order[:PICTURES], order[-POOL:]]))
    batches = list(chosen.batches(50, fit=model.preprocessing, workers=0))
    pictures = torch.cat([batch.images for batch in batches]).to(view.device)
    labels = torch.cat([b.labels for b in batches if b.labels is not None]).to(view.device)
    drawn = randomness.integers(randomness.keys(SEED, order[:PICTURES]), 0, view.num_classes - 1)[
        :, 0
    ]
    targets = drawn.to(labels) + (drawn.to(labels) >= labels[:PICTURES])
    return Data(pictures[:PICTURES], labels[:PICTURES], targets, pictures[PICTURES:])


# Measuring


def _measure(
    models: dict[str, fs.Classifier],
    views: dict[str, fs.Ensemble],
    data: Data,
    recipes: dict[str, Recipe],
) -> Measured:
    KEPT.mkdir(parents=True, exist_ok=True)
    readers = list(views.values())
    right = torch.stack([_read(view, data.images) == data.labels for view in readers], 1).cpu()
    fast = {name: fs.prepare(model) for name, model in models.items()}
    success: dict[tuple[Cell, str], Tensor] = {}
    for (name, recipe), (level, targeted), source in product(recipes.items(), CONDITIONS, MODELS):
        names = [one for one in MODELS if (one != source) == recipe.ensemble]
        model = fs.Ensemble([fast[one] for one in names], input_size=SIDE)
        cell = (name, level, targeted)
        success[cell, source] = _attacked(
            cell, source, model, recipe.attack(level), readers, data, FEW if recipe.few else None
        )
    return Measured(success, right)


def _attacked(
    cell: Cell,
    source: str,
    model: fs.Classifier,
    attack: Method,
    readers: list[fs.Ensemble],
    data: Data,
    limit: int | None,
) -> Tensor:
    """Who is fooled by what was made on a network; from the kept file as far as it goes."""
    name, level, targeted = cell
    file = KEPT / f"{name}-{level}-{'targeted' if targeted else 'untargeted'}-{source}.json"
    stated = f"{attack} {model.fingerprint()} {SEED}"
    kept = json.loads(file.read_text()) if file.is_file() else {}
    rows: list[list[bool]] = kept["rows"] if kept.get("stated") == stated else []
    seconds: float = kept["seconds"] if rows else 0.0
    count = len(data.images) if limit is None else min(limit, len(data.images))
    for start in range(len(rows), count, BATCH):
        part = slice(start, min(start + BATCH, count))
        began = time.perf_counter()
        classes = (data.targets if targeted else data.labels)[part]
        result = attack(
            model,
            data.images[part],
            classes,
            targeted=targeted,
            keep="last",
            batch_size=BATCH,
            seed=SEED,
            numbers=torch.arange(part.start, part.stop),
        )
        seconds += time.perf_counter() - began
        moved = result.images.to(model.device)
        fooled = [(_read(reader, moved) == classes) == targeted for reader in readers]
        rows += torch.stack(fooled, 1).tolist()
        with atomic_path(file) as draft:
            draft.write_text(json.dumps({"stated": stated, "seconds": seconds, "rows": rows}))
        print(f"{file.stem}: {len(rows)} of {count}, {seconds / len(rows):.2f} s a picture")
    return torch.tensor(rows[:count])


def _read(model: fs.Classifier, images: Tensor) -> Tensor:
    return fs.predict(model, images, batch_size=BATCH).winners.to(images.device)


# Numbers: a trial is a picture, a network it was attacked on and one that classifies it correctly
# before


def _trials(found: Measured, cell: Cell, *, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Successes and trials ``(pictures, sources, targets)`` on networks not attacked."""
    success = torch.stack([found.success[cell, source] for source in MODELS], 1)[:count]
    other = ~torch.eye(len(MODELS), dtype=torch.bool)
    if cell[0] == "ensemble":  # made on all but one, which is named in the place of the source
        other = ~other
    valid = found.right[: len(success), None] & other
    return (success & valid).double(), valid.double()


def _share(successes: Tensor, trials: Tensor) -> float:
    return float(successes.sum() / trials.sum().clamp(min=1))


def _interval(values: Callable[[Tensor], float], pictures: int) -> tuple[float, float]:
    """95 % by the bootstrap over pictures, whose trials hang together."""
    generator = torch.Generator().manual_seed(SEED)
    drawn = [
        values(torch.randint(pictures, (pictures,), generator=generator)) for _ in range(DRAWS)
    ]
    ends = torch.tensor([0.025, 0.975], dtype=torch.double)
    low, high = torch.tensor(drawn, dtype=torch.double).quantile(ends).tolist()
    return low, high


def _difference(found: Measured, one: Cell, two: Cell) -> tuple[float, float, float]:
    """How much higher the first one's success is, on the same pictures and networks read.

    Of an ensemble against single networks, each reader's trial is against the mean of those that
    were attacked alone.
    """
    count = min(len(found.success[cell, MODELS[0]]) for cell in (one, two))
    sums = []
    for cell in (one, two):
        successes, trials = _trials(found, cell, count=count)
        if "ensemble" in (one[0], two[0]):
            sums.append((successes.sum(1) / trials.sum(1).clamp(min=1), trials.amax(1)))
        else:
            sums.append((successes.sum(1), trials.sum(1)))
    gained = (sums[0][0] - sums[1][0]).sum(1)
    trials = sums[0][1].sum(1)

    def mean(rows: Tensor) -> float:
        return float(gained[rows].sum() / trials[rows].sum().clamp(min=1))

    return mean(torch.arange(count)), *_interval(mean, count)


# The page


def _words(page: Section, data: Data, found: Measured) -> None:
    right = ", ".join(
        f"{SHORT[name]} {int(count)}"
        for name, count in zip(MODELS, found.right.sum(0).tolist(), strict=True)
    )
    page.text(
        "The four MobileNets of `../shared/models`, each attacked and each reading what was made "
        f"on the others, on {len(data.images)} pictures of the ImageNet sample at {SIDE}×{SIDE} "
        f"(drawn with seed {SEED}; the first {min(FEW, len(data.images))} for the attacks of more "
        "than one pass a step); the two of 160 and 128 pixels see them stretched. Linf, "
        f"{STEPS} steps of eps / {STEPS}, the last image whatever it is, judged by the plain "
        "network; towards a class drawn for each picture where targeted. A network counts where it "
        f"reads the clean picture right: {right}. All but FGSM and both I-FGSM go with a "
        "momentum of 1; the ensemble is MI-FGSM on the mean logits of the three that do not read.",
    )


def _summary(page: Section, recipes: dict[str, Recipe], found: Measured) -> None:
    rows, bars = [], {}
    for name in recipes:
        row = [name]
        for level, targeted in CONDITIONS:
            successes, trials = _trials(found, (name, level, targeted))
            sums = successes.sum((1, 2)), trials.sum((1, 2))

            def mean(rows: Tensor, sums: tuple[Tensor, Tensor] = sums) -> float:
                return _share(sums[0][rows], sums[1][rows])

            share, ends = _share(*sums), _interval(mean, len(successes))
            bars[name, level, targeted] = (share, *ends)
            row.append(f"{100 * share:.1f} ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})")
        rows.append(row)
    page.text(
        "**Success on networks that were not attacked**, in %, with the 95 % interval of a "
        "bootstrap over pictures:"
    )
    page.table(
        ["attack", *(f"{level}/255{', targeted' if t else ''}>" for level, t in CONDITIONS)], rows
    )
    path = page.picture("transfer.png", "Mean success on networks that were not attacked.")
    write_figure(path, _bars(list(recipes), bars))


def _bars(names: list[str], bars: dict[Cell, tuple[float, float, float]]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained", dpi=150)
    for axes, targeted in zip(figure.subplots(1, 2, sharey=True), (False, True), strict=True):
        for number, (level, color) in enumerate(zip(LEVELS, ("#56B4E9", "#0072B2"), strict=False)):
            found = [bars[name, level, targeted] for name in names]
            # Of few pictures the whole interval may lie beside the share.
            below = [max(0.0, 100 * (share - low)) for share, low, _ in found]
            above = [max(0.0, 100 * (high - share)) for share, _, high in found]
            places = [place + 0.4 * (number - 0.5) for place in range(len(names))]
            axes.barh(
                places, [100 * share for share, _, _ in found], 0.38, color=color,
                xerr=[below, above], label=f"{level}/255", error_kw={"elinewidth": 1},
            )  # fmt: skip
        axes.set(title="towards a random class" if targeted else "away", xlabel="success, %")
        axes.set_yticks(range(len(names)), names)
        axes.set_xlim(left=0)
        axes.grid(axis="x", alpha=0.25)
    axes.invert_yaxis()
    axes.legend(frameon=False)
    return figure


def _claims(page: Section, found: Measured) -> None:
    rows = []
    for words, one, two in _pairs():
        row = [words, f"{one} − {two}"]
        for level, targeted in CONDITIONS:
            more, low, high = _difference(found, (one, level, targeted), (two, level, targeted))
            holds = "**yes**" if low > 0 else "**no**" if high < 0 else "undecided"
            row.append(f"{100 * more:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}) {holds}")
        rows.append(row)
    page.text(
        "**Do the papers' claims hold here?** Each attack against the one it improves on, as a "
        "difference in points on the same pictures, networks attacked and networks reading, with "
        "the 95 % interval of a bootstrap over pictures: *yes* where all of it is above 0, *no* "
        "where all of it is below. An ensemble is compared with the mean of its members alone."
    )
    page.table(
        ["claim", "difference",
         *(f"{level}/255{', targeted' if t else ''}" for level, t in CONDITIONS)],
        rows,
    )  # fmt: skip


def _pairs() -> Iterator[tuple[str, str, str]]:
    yield "many steps fit the network attacked, and one transfers better", "FGSM", "I-FGSM"
    yield "momentum helps", "MI-FGSM", "I-FGSM"
    yield "looking ahead helps", "NI-FGSM", "MI-FGSM"
    yield "tuning the variance helps", "VMI-FGSM", "MI-FGSM"
    yield "diverse inputs help", "DI-FGSM", "MI-FGSM"
    yield "smoothed gradients help", "TI-FGSM", "MI-FGSM"
    yield "several scales help", "SI-FGSM", "MI-FGSM"
    yield "mixtures help beyond scales", "Admix", "SI-FGSM"
    yield "ghosts help without momentum", "ghost I-FGSM", "I-FGSM"
    yield "ghosts help with momentum", "ghost MI-FGSM", "MI-FGSM"
    yield "several networks help", "ensemble", "MI-FGSM"


def _table(
    page: Section, recipes: dict[str, Recipe], found: Measured, level: int, targeted: bool
) -> None:
    rows = []
    for name, recipe in recipes.items():
        for number, source in enumerate(MODELS):
            success = found.success[(name, level, targeted), source]
            right = found.right[: len(success)]
            row = [name, f"all but {SHORT[source]}" if recipe.ensemble else SHORT[source]]
            for reader in range(len(MODELS)):
                trials = int(right[:, reader].sum())
                successes = int((success & right)[:, reader].sum())
                low, high = wilson(successes, trials)
                share = f"{100 * successes / max(trials, 1):.0f} ({100 * low:.0f}–{100 * high:.0f})"
                attacked = (reader != number) == recipe.ensemble
                row.append(f"*{share}*" if attacked else share)
            rows.append(row)
    how = "towards a random class" if targeted else "away from the right class"
    page.text(
        f"<details><summary>All pairs: {level}/255, {how}</summary>",
        "Success in %, with Wilson's 95 % interval; in italics where the reader is among the "
        "networks attacked.",
    )
    page.table(["attack", "attacked", *(f"read by {SHORT[name]}>" for name in MODELS)], rows)
    page.text("</details>")
