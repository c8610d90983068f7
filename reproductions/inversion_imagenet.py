"""Twenty classes of ImageNet on three networks by every method, each judged by the other two.

All methods get as many gradient passes, so what is compared is what they make of them. Each row,
portraits of all classes by a method on a network, is kept as soon as it is finished, and so is what
it is worth: a run that was broken off goes on where it was. Stopped with Ctrl-C it writes the rows
that there are.
"""

import time
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from skimage.data import chelsea
from torch import Tensor

import fluoroscope as fs
from benchmarks.page import Scale, Section, percent
from fluoroscope.engine.labels import class_numbers
from fluoroscope.errors import InvalidParameterError
from fluoroscope.files import atomic_path
from fluoroscope.gradients.randomised import with_random_weights
from fluoroscope.inversion.data_prior import DataPrior
from fluoroscope.inversion.measures.assess import assess
from fluoroscope.inversion.measures.result import Assessment
from fluoroscope.inversion.portraits.result import Portraits
from fluoroscope.pictures.tile_sheet import Tile, tile_sheet
from fluoroscope.words import count, number
from reproductions.inversion_choice import Judged, choices
from reproductions.inversion_kept import (
    KEPT,
    assessment,
    flags,
    measures,
    portraits,
)
from reproductions.inversion_methods import METHODS, REFERENCES, Asked, Field, Method
from reproductions.sources import IMAGENET, PAGE, SHARED, imagenet

NETWORKS = ("mobilenet_v1_0.75_224", "mobilenet_v2_1.0_224", "tf_efficientnet_lite0_224")
CLASSES = (
    "giant panda", "vulture", "goldfish", "flamingo", "monarch", "school bus", "daisy", "volcano",
    "zebra", "peacock", "tiger", "African elephant", "golden retriever", "jellyfish", "airliner",
    "sports car", "analog clock", "grand piano", "castle", "banana",
)  # fmt: skip
SHOWN = 7
"""Of them on the sheets."""
TILE = 160
"""Side of a picture there."""
PASSES = 40
"""Gradient passes for each portrait."""
AT_ONCE = 10
"""Views that are evaluated at once, where portraits do not depend on each other."""
CONTROLLED = ("fourier", "fourier, layer statistics")
"""Methods that are also used on the network with random weights."""
MEASURED = (
    "Vendi over all", "precision", "recall", "spectrum distance", "survives rounding",
    "survives JPEG", "survives a shift", "way through the layers",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """Portraits of all classes by a method on a network, and what they are worth."""

    method: Method
    network: str
    asked: Asked
    made: Portraits
    judged: tuple[Judged, ...]
    found: Assessment


def section(scale: Scale) -> Section:
    """Every method on every network."""
    page = Section(PAGE, "inversion-imagenet", "Portraits of ImageNet: which method to take")
    passes, names = scale.steps or PASSES, CLASSES[: scale.limit]
    fields = [_field(name, names) for name in NETWORKS]
    rows, refusals, stopped = _rows(fields, passes)
    _told(page, fields, names, passes, stopped)
    choices(
        page,
        {(row.network, row.method.name): row.judged for row in rows},
        {(row.network, row.method.name): _seconds(row.made) for row in rows},
        {method.name: method.needs for method in METHODS},
    )
    _agreement(page, rows, refusals)
    _others(page, rows)
    for field in fields:
        shown = [
            (row.method.name, row.made.images[:SHOWN])
            for row in rows if row.network == field.name
        ]  # fmt: skip
        if shown:
            _sheet(page, field.name, names[:SHOWN], shown)
    return page


def _field(name: str, names: tuple[str, ...]) -> Field:
    model = fs.load_model(SHARED / "models" / name)
    classes = tuple(model.find_class(each) for each in names)
    real = torch.stack([imagenet(model, each) for each in names])
    sample = fs.load_images(IMAGENET, "validation")
    step = len(sample) // REFERENCES
    others = [row for row in range(0, len(sample), step) if row not in classes]
    cat = torch.from_numpy(chelsea()).permute(2, 0, 1)[None] / 255
    place = KEPT / "priors" / f"imagenet-{model.fingerprint()[:12]}.json"
    if not place.is_file():
        fs.inversion.fit_prior(sample, model, name="imagenet-sample").save(place)
    return Field(
        name,
        model,
        classes,
        real,
        torch.stack([model.fit(sample[row].image) for row in others]),
        DataPrior.load(place),
        model.fit(cat)[0],
    )


def _rows(fields: list[Field], passes: int) -> tuple[list[Row], dict[tuple[str, str], str], bool]:
    """All rows that there are, why others are not, and whether it was stopped."""
    rows: list[Row] = []
    refusals: dict[tuple[str, str], str] = {}
    began, wanted = time.perf_counter(), len(METHODS) * len(fields)
    made = 0
    try:
        for at, method in enumerate(METHODS):
            for place, field in enumerate(fields):
                behind = at * len(fields) + place
                start = time.perf_counter()
                try:
                    rows.append(_row(method, field, fields, passes))
                except InvalidParameterError as problem:
                    refusals[field.name, method.name] = str(problem)
                took = time.perf_counter() - start
                if took > 5:
                    made += 1
                left = (wanted - behind - 1) * (time.perf_counter() - began) / max(1, made)
                print(
                    f"{behind + 1} of {wanted}, {method.name} on {field.name}: {took:.0f} s; "
                    f"about {left / 60:.0f} minutes left",
                    flush=True,
                )
    except KeyboardInterrupt:
        return rows, refusals, True
    return rows, refusals, False


def _row(method: Method, field: Field, fields: list[Field], passes: int) -> Row:
    asked = method.asked(field, passes)
    made = _made(field, method, asked)
    judges = [other for other in fields if other is not field]
    made_by_random = None
    if method.name in CONTROLLED:
        forgot = replace(field, plain=with_random_weights(field.plain, field.real, seed=0))
        again = method.asked(forgot, passes)
        made_by_random = _made(forgot, method, again).images

    def measured() -> Assessment:
        return assess(
            field.model, made.images, made.targets, second=judges[0].model,
            real=(field.real, torch.tensor(field.classes)), random=made_by_random,
            needs_data=bool(method.needs), batch_size=20,
        )  # fmt: skip

    found = assessment(
        field.plain, method.name, measured, asked=asked.describe(), classes=field.classes,
        judge=judges[0].plain.fingerprint()[:12], control=made_by_random is not None,
    )  # fmt: skip
    judged = tuple(_judged(judge, field, made) for judge in judges)
    return Row(method, field.name, asked, made, judged, found)


def _made(field: Field, method: Method, asked: Asked) -> Portraits:
    """Portraits of all classes, kept with the processor's time that they took.

    Those of a larger canvas are brought to the network's own size, in which all are judged.
    """
    views = asked.recipe.transformations.copies

    def make() -> Portraits:
        began = time.process_time()
        found = fs.portrait(
            asked.model, list(field.classes), method=asked.method,
            batch_size=len(field.classes) * views if method.together else AT_ONCE,
            **asked.options,
        )  # fmt: skip
        seconds = time.process_time() - began
        return replace(found, record=found.record | {"seconds": seconds})

    made = portraits(field.plain, method.name, make, asked=asked.describe(), classes=field.classes)
    size = field.real.shape[-2:]
    if made.images.shape[-2:] == size:
        return made
    small = F.interpolate(made.images, size, mode="bilinear", antialias=True).clamp(0, 1)
    return replace(made, images=small)


def _judged(judge: Field, field: Field, made: Portraits) -> Judged:
    numbers = class_numbers(judge.plain, field.plain.labels)
    logits = fs.predict(judge.model, made.images, batch_size=20).logits.double()
    logits = logits if numbers is None else logits[:, numbers]
    return Judged.of(judge.name, logits, made.targets)


def _told(
    page: Section, fields: list[Field], names: tuple[str, ...], passes: int, stopped: bool
) -> None:
    page.text(
        f"{count(len(names), 'class', 'classes')} ({', '.join(names)}), a portrait of each by "
        f"every method, with {passes} gradient passes for each portrait, however they are spent: "
        "steps, and views at a step. Recipes that are meant for hundreds of steps are so far from "
        "their end; what is compared is what they reach with the same work. The others of these "
        f"networks judge, in this order: {', '.join(f'`{field.name}`' for field in fields)}. "
        "*Needs*: the real pictures that a method is given; such methods are not to be held "
        "against the others. Seconds are of one thread of a crowded processor, for a portrait."
    )
    if stopped:
        page.text("**The run was stopped: rows that are missing were not made.**")


def _agreement(page: Section, rows: list[Row], refusals: dict[tuple[str, str], str]) -> None:
    table = []
    found = {(row.network, row.method.name): row for row in rows}
    for network in NETWORKS:
        for method in METHODS:
            name, needs = method.name, method.needs or "–"
            row = found.get((network, name))
            if row is None:
                why = refusals.get((network, name))
                if why is not None:
                    table.append([network, name, needs, f"refused: {why}", *["–"] * 9])
                continue
            own = row.found.of("own accuracy"), row.found.of("own confidence")
            table.append(
                [network, name, needs, _spent(row), own[0].words(),
                 own[1].words(), *(cell for one in row.judged for cell in one.cells()),
                 number(_seconds(row.made))]
            )  # fmt: skip
    page.table(
        ["network", "method", "needs", "steps × views", "own top-1>", "own confidence>",
         *(f"{which} judge: {what}>" for which in ("first", "second")
           for what in ("top-1", "top-5", "confidence")), "seconds>"],
        table,
    )  # fmt: skip


def _others(page: Section, rows: list[Row]) -> None:
    page.text(
        "Other measures; in brackets the same of the real pictures, of which there is one of each "
        "class, so that what compares several pictures of a class is not measured. *Random* is the "
        "first judge's agreement on portraits of the network with random weights."
    )
    order = {name: place for place, name in enumerate(NETWORKS)}
    page.table(
        ["network", "method", *(f"{name}>" for name in MEASURED), "random>", "flags"],
        [
            [row.network, row.method.name, *_cells(row.found), _random(row.found),
             flags(row.found)]
            for row in sorted(rows, key=lambda row: order[row.network])
        ],
    )  # fmt: skip


def _sheet(
    page: Section, name: str, heads: tuple[str, ...], rows: list[tuple[str, Tensor]]
) -> None:
    """Portraits by all methods; a little smaller than they are, for there are many."""
    tiles = []
    for _, images in rows:
        small = F.interpolate(images, (TILE, TILE), mode="bilinear", antialias=True).clamp(0, 1)
        tiles.append([Tile(one) for one in small])
    drawn = tile_sheet(tiles, [method for method, _ in rows], heads=heads, title=name)
    words = f"Portraits of {name}, methods down and classes across."
    with atomic_path(page.picture(f"inversion-imagenet-{name}.webp", words)) as draft:
        drawn.save(draft, "WEBP", quality=85, method=6)


def _spent(row: Row) -> str:
    """Steps, views at a step, and what a view costs if that is more than one pass."""
    recipe, each = row.asked.recipe, row.method.each
    words = f"{recipe.steps} × {recipe.transformations.copies}"
    return words if each == 1 else f"{words} × {each}"


def _cells(found: Assessment) -> list[str]:
    return [
        cell if found.of(name).value is not None else "not measured"
        for name, cell in zip(MEASURED, measures(found, MEASURED, beside=True), strict=True)
    ]


def _random(found: Assessment) -> str:
    value = found.of("second accuracy").references.get("random")
    return "not measured" if value is None else percent(value.value)


def _seconds(made: Portraits) -> float:
    return float(made.record["seconds"]) / len(made.images)
