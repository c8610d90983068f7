"""Do its neurons mean what they seem to? One layer's units on real and adversarial pictures.

The measures are those of Dong et al. (2017, 1708.05493), whose definitions were not all published:
beside each stands how sure its reading is.
"""

from math import isnan

from fluoroscope.neurons.meaning.definitions import DEFINITIONS
from fluoroscope.pictures.uris import uri
from fluoroscope.report.blocks import (
    Block,
    Card,
    Content,
    Gallery,
    Heading,
    Number,
    Numbers,
    Picture,
    Table,
    Text,
)
from fluoroscope.report.meant import FEW, Favourites, Meant, Value, attacks, meant
from fluoroscope.report.pictures import which_channels
from fluoroscope.report.registry import section
from fluoroscope.report.study import Study
from fluoroscope.words import count, number, sentence

_MEANS = {
    "cs1": "How alike the classes are of a unit's real and of its adversarial favourites, by what "
    "these show: 1 is what one would wish.",
    "cs2": "The same by what they were led to: 0 is what one would wish.",
    "r1": "How near adversarial pictures lie to their own class, as a ratio to the class that they "
    "were led to: below 1 is their own.",
    "r2": "The same of single pictures: the one that it was made of, and the nearest of the class "
    "that it was led to.",
}
_UNITS = "Units that seem to mean most, and what else they answer to"
_NOT = (
    "Not that a unit detects the class of its favourite pictures: they are the few of these that "
    "activate it most, and how many pictures of the class leave it at rest is not seen there.",
    "Not that a network is robust whose units keep their meaning, nor that it is weak where they "
    "lose it: the verdict says that. These pictures were made by one attack in few steps, and "
    "another may use other units.",
    "Not that these are the numbers of the paper: what it does not define is inferred, as stands "
    "below, and its own were taken after a special training.",
)


@section("consistency", "Do its neurons mean what they seem to?", order=63, cost=49)
def consistency(study: Study) -> Content:
    found = meant(study)
    blocks: list[Block] = [
        Text(_in_words(found), "lead"),
        Text(_how_far(study, found)),
        Numbers([_number(found, name) for name in ("cs1", "cs2", "r1", "r2")]),
    ]
    if found.shown:
        blocks += [
            Heading(_UNITS if found.top >= FEW else "Some units, and what they answer to"),
            Text(
                "Of each unit the real pictures that activate it most, then the adversarial ones, "
                "with what these show and what the network was led to take them for. A unit that "
                "means what it seems to has the same thing in both. First come the units whose "
                "real pictures are most of one class; the last is, of that half, the one that "
                "misleads most." + _few_of_each(found)
            ),
            *which_channels(study.model.channels),
            Gallery([_card(study, each, found) for each in found.shown]),
        ]
    blocks += [
        Heading("What not to conclude"),
        *(Text(one) for one in _NOT),
        _table(found),
        Text(_how(study, found), "note"),
    ]
    return Content(blocks, _data(found))


def _in_words(found: Meant) -> str:
    return f"{_sides(found)} {_representations(found)}".strip()


def _how_far(study: Study, found: Meant) -> str:
    """Whether the pictures are such as the report's threat model has."""
    moved = f"half of them moved by no more than {study.far(found.distance)}, {study.ruler.measure}"
    if found.beyond:
        why = "within which too few could be led to the class that was drawn"
        if len(attacks(study)) == 1:
            why = "within which there is no such attack here"
        return (
            f"These adversarial pictures go beyond the bound of this report ({study.bound}), "
            f"{why}: {moved}. What is said "
            "of units under attack is said of such pictures."
        )
    return f"The adversarial pictures keep to the bound of this report ({study.bound}); {moved}."


def _sides(found: Meant) -> str:
    """Whether units follow what pictures show, or what they were led to."""
    own, aimed = found.of("cs1"), found.of("cs2")
    if own.value is None or aimed.value is None:
        return "No unit of this layer answers to these pictures."
    layer = f"the units of the layer {found.units.layer!r}"
    if found.few:
        return (
            f"What {layer} mean cannot be told from {count(found.real, 'picture')} of "
            f"{count(found.classes, 'class', 'classes')}: of each there are too few."
        )
    values = f"(CS1 {number(own.value, 2)}, CS2 {number(aimed.value, 2)})"
    if own.apart(aimed) > 0 and own.beyond(found.of("cs1_chance")):
        return f"Under attack {layer} mostly keep to what pictures show {values}."
    if own.apart(aimed) < 0 and aimed.beyond(found.of("cs2_chance")):
        return (
            f"Do not read {layer} by their favourite pictures: under attack they answer to what "
            f"shows something else and was led to the same class {values}."
        )
    return (
        f"Under attack {layer} keep neither surely to what pictures show nor to the class that "
        f"these were led to {values}."
    )


def _representations(found: Meant) -> str:
    side = found.of("r1")
    if side.value is None:
        return ""
    words = "All of them together, adversarial pictures lie "
    told = f"(r1 {number(side.value, 2)})"
    low, high = side.ends
    if low > 1:
        return f"{words}nearer to the class that they were led to than to their own {told}."
    if high < 1:
        return f"{words}nearer to their own class than to the one that they were led to {told}."
    return f"{words}about as near to their own class as to the one that they were led to {told}."


def _number(found: Meant, name: str) -> Number:
    one, about = found.of(name), DEFINITIONS[name]
    chance = found.of(f"{name}_chance").value
    beside = f"; {number(chance, 2)} if units answered by chance" if chance is not None else ""
    return Number(
        _short(one), about.name, f"95 % {_ends(one)}, {one.over}{beside}. {_MEANS[name]}"
    )  # fmt: skip


def _short(one: Value) -> str:
    return "–" if one.value is None else number(one.value, 2)


def _ends(one: Value) -> str:
    return " to ".join(number(end, 2) for end in one.ends)


def _few_of_each(found: Meant) -> str:
    """What single units' numbers are of, where that is too little to show them."""
    if found.top >= FEW:
        return f" The numbers are of the {found.top} of each kind that activate it most."
    return (
        f" What was measured of a unit is of its top {count(found.top, 'picture')} of each kind, "
        f"a tenth of {count(found.adversarial, 'adversarial picture')}: too few for numbers of "
        "single units, and the order is a matter of luck. They are examples."
    )


def _card(study: Study, found: Favourites, of: Meant) -> Card:
    names = study.labels
    pictures = [
        Picture(
            uri(image),
            f"A real {names[label]} that activates unit {found.unit}",
            f"real {names[label]}",
        )
        for image, label in zip(found.real, found.labels, strict=True)
    ]
    pictures += [
        Picture(
            uri(image),
            f"A {names[source]} led to {names[target]} that activates unit {found.unit}",
            f"{names[source]} led to {names[target]}",
        )
        for image, source, target in zip(
            found.adversarial, found.sources, found.targets, strict=True
        )
    ]
    told = {name: "–" if isnan(value) else number(value, 2)
            for name, value in found.numbers.items()}  # fmt: skip
    words = (
        f"Level of consistency {told['level']} on real pictures, {told['level_adversarial']} on "
        f"adversarial ones; CS1 {told['cs1']}, CS2 {told['cs2']}."
    )
    return Card(f"Unit {found.unit}", pictures, words if of.top >= FEW else "")


def _table(found: Meant) -> Table:
    rows = []
    for name, about in DEFINITIONS.items():
        one = found.of(name)
        if one.value is not None:
            rows.append([about.name, _short(one), _ends(one), about.formula, about.certainty])
    return Table(
        ["measure", "value", "95 % interval", "what it is", "how sure that is"],
        rows,
        "What was measured of the layer, and how sure each definition is",
        right=[1],
        folded=True,
        stacked=True,
    )


def _how(study: Study, found: Meant) -> str:
    attack = found.attack.stated
    words = [
        f"{found.units.count:,} {found.units.kind} of the layer {found.units.layer!r}, each with "
        f"its mean over its places, and measured by the {count(found.top, 'picture')} of each kind "
        f"that activate it most; {count(found.real, 'real picture')} of "
        f"{count(found.classes, 'class', 'classes')}.",
        f"{count(found.tried, 'picture')} classified correctly, each led to another class drawn at "
        f"random by {attack['attack']} in {attack['parameters']['steps']} steps, on 8 bits; "
        f"{found.adversarial:,} are predicted as that class, and only these count.",
        f"Likeness of classes: {found.similarity}.",
    ]
    if found.tried < found.wanted:
        left = count(found.wanted - found.tried, "more picture")
        words.append(f"The time was up before {left}.")
    if found.few:
        words.append(
            f"There are fewer than {FEW} pictures of a class on average: class histograms say "
            "little."
        )
    words += [sentence(note) for note in found.notes]
    words.append(
        "fluoroscope neurons consistency does this in full: on all units of any layer, with an "
        "attack on several networks."
    )
    return " ".join(words)


def _data(found: Meant) -> dict[str, object]:
    return {
        "layer": found.units.describe(),
        "real": found.real,
        "adversarial": found.adversarial,
        "tried": found.tried,
        "top": found.top,
        "attack": found.attack.stated,
        "distance": found.distance,
        "similarity": found.similarity,
        "numbers": {
            name: {"value": one.value, "interval": list(one.ends), "over": one.over}
            for name, one in found.numbers.items()
            if one.value is not None
        },
        "notes": found.notes,
        "units": [{"unit": one.unit, **one.numbers} for one in found.shown],
    }
