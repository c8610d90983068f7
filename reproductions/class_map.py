"""The map between classes: all pairs of digits, some animals, a sample of ImageNet's classes."""

import fluoroscope as fs
from benchmarks.page import Section
from fluoroscope.evaluation.class_map import ClassMap, Station
from fluoroscope.pictures.class_maps import class_map_figure
from fluoroscope.pictures.maps import write_figure
from reproductions.sources import IMAGENET, PAGE, SHARED

SMALL = SHARED / "models" / "mobilenet_v1_0.25_128"
DIGITS = 4
"""Pictures of each digit."""
ANIMALS = (
    "giant panda", "lesser panda", "American black bear", "ice bear", "indri", "koala", "vulture",
    "bald eagle", "ostrich", "peacock", "flamingo", "king penguin", "albatross", "bustard",
    "zebra", "tabby",
)  # fmt: skip
SAMPLED = 120
"""Pictures of ImageNet, one of each class, for the sampled map."""
ENDS = ("giant panda", "vulture")


def section() -> Section:
    """All of it."""
    page = Section(PAGE, "class-map", "The map between classes")
    page.text(
        "From pictures of each class that are classified correctly a targeted search for the "
        "closest success leads to other classes (Linf). A cell is the median smallest "
        "perturbation, grey where none was measured: a whole row where the network misclassifies "
        "the only picture of a class. Classes that lie close together stand side by side."
    )
    model = fs.prepare(fs.load_model("digits-cnn"))
    digits = fs.class_map(model, fs.load_images("digits", channels=1), pictures=DIGITS)
    _show(page, "digits-cnn", "class-map-digits.png", digits)
    page.table(
        ["from", "nearest", "met on the way there"],
        [
            [
                digits.labels[label],
                ", ".join(f"{digits.labels[p.target]} ({p.distance:.3f})" for p in near),
                _stations(digits, near[0].stations),
            ]
            for label in range(10)
            for near in [digits.neighbours(label)]
        ],
    )
    small = fs.load_model(SMALL)
    network = fs.prepare(small)
    animals = [name for name in ANIMALS if _known(small, name)]
    sample = fs.load_images(IMAGENET)
    chosen = sample.select([small.find_class(name) for name in animals])
    _between(page, "animals", fs.class_map(network, chosen, classes=animals), small)
    firsts = {small.find_class(end) for end in ENDS}
    positions = sorted(firsts | set(range(0, len(sample), len(sample) // SAMPLED)))
    _between(page, "sampled", fs.class_map(network, sample.select(positions)), small)
    return page


def _between(page: Section, name: str, found: ClassMap, model: fs.Classifier) -> None:
    _show(page, f"MobileNet v1 0.25 at 128, {name}", f"class-map-{name}.png", found)
    page.text(f"{len(found.pairs)} of {found.describe()['pairs_possible']} pairs of its classes.")
    first, last = (model.find_class(end) for end in ENDS)
    for start, end in ((first, last), (last, first)):
        straight, way = found.pair(start, end), found.route(start, end)
        names = f"{_short(model.labels[start])} → {_short(model.labels[end])}"
        met = "not measured" if straight is None else (
            f"{255 * straight.distance:.3f}/255, met on the way: "
            f"{_stations(found, straight.stations)}"
        )  # fmt: skip
        page.text(f"*{names}*, straight: {met}.")
        if way is not None and len(way.classes) > 2:
            hops = [
                f"→ {_short(model.labels[label])} ({255 * hop:.3f}/255)"
                for hop, label in zip(way.hops, way.classes[1:], strict=True)
            ]
            page.text(f"The way of small hops: {_short(model.labels[start])} {' '.join(hops)}.")


def _show(page: Section, title: str, file: str, found: ClassMap) -> None:
    page.text(f"**{title}**: {found.chosen}; {found.forwards + found.backwards} passes.")
    figure = class_map_figure(found.distance, found.labels, norm=found.norm, title=title)
    write_figure(page.picture(file, f"Distances between classes, {title}."), figure)


def _stations(found: ClassMap, stations: tuple[Station, ...]) -> str:
    met = [f"{_short(found.labels[each.label])} ({each.count})" for each in stations[:4]]
    return ", ".join(met) or "none"


def _known(model: fs.Classifier, name: str) -> bool:
    try:
        model.find_class(name)
    except fs.FluoroscopeError:
        return False
    return True


def _short(label: str) -> str:
    return label.partition(",")[0]
