"""Who decided: what each unit of a layer did in a few decisions, right ones and wrong ones.

Exact: each unit is removed, and the network from there on is run again (after Zeiler and Fergus
2014, 1311.2901, and the prediction difference of Dong et al. 2017, 1708.05493).
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from torch import Tensor

from fluoroscope.neurons.tracing.approximations import APPROXIMATIONS
from fluoroscope.pictures.attribution_colours import Colours, colours_of, evened
from fluoroscope.pictures.uris import uri
from fluoroscope.pictures.write import to_pil
from fluoroscope.report.blocks import Block, Card, Content, Gallery, Heading, Picture, Table, Text
from fluoroscope.report.pictures import which_channels
from fluoroscope.report.registry import section
from fluoroscope.report.study import Study
from fluoroscope.report.traced import Decided, Traced, traced
from fluoroscope.words import as_percent, count, listed, number, some

# From this rank correlation on an approximation tells the units' order here, below the other not.
_WILL_DO, _WILL_NOT = 0.9, 0.5
_NOT = (
    "Not that a unit stands for what it shows here. That this decision depends on it says nothing "
    "of what it answers to in other pictures.",
    "Not that a unit of little effect does nothing: of units that say the same each can be spared, "
    "and all of them not. That is why sets of them are removed as well.",
    "Not that the network reasons by these units alone: this is one layer of many, and a unit that "
    "gives 0 may be something that no picture makes of it.",
)


@section("trace", "Who decided", order=62, cost=42)
def trace(study: Study) -> Content:
    found = traced(study)
    everyone = [*found.typical, *found.wrong]
    blocks: list[Block] = [Text(_in_words(found, everyone), "lead"), Text(_key(found))]
    blocks += which_channels(study.model.channels)
    if found.typical:
        blocks += [Heading("Typical pictures"), Gallery(_cards(study, found.typical))]
    if found.wrong:
        blocks += [
            Heading("Who spoke for the wrong class"),
            Text(
                "Pictures that it misclassifies and is surest of, with the units that spoke for "
                "the class that it predicts. Look whether the label is right first.",
                "note",
            ),
            Gallery(_cards(study, found.wrong)),
        ]
    elif bool(study.reading.right.all()):
        blocks.append(Text("No picture is misclassified, so no unit spoke for a wrong class."))
    blocks += _agreement(everyone)
    blocks += [Heading("What not to conclude"), *(Text(one) for one in _NOT)]
    blocks.append(Text(_how(study, found), "note"))
    return Content(blocks, _data(found))


def _in_words(found: Traced, everyone: Sequence[Decided]) -> str:
    kinds = ((found.typical, "typical"), (found.wrong, "misclassified"))
    layer = f"of the {found.units.count:,} of the layer {found.units.layer!r} decides"
    of = [(sum(_alone(one) for one in pictures), count(len(pictures), f"{kind} picture"))
          for pictures, kind in kinds if pictures]  # fmt: skip
    if any(many for many, _ in of):
        alone = listed([f"{many or 'none'} of {pictures}" for many, pictures in of])
        words = f"A single unit {layer} about {alone}: without it the network names another class."
    else:
        pictures = listed([pictures for _, pictures in of])
        words = f"No single unit {layer} about any of {pictures}."
    more = [len(one.smallest) for one in everyone if one.smallest and not _alone(one)]
    if more:
        where = "In the others" if any(many for many, _ in of) else "To change the class"
        words += f" {where} {_range(more)} have to go together."
    never = sum(not one.smallest for one in everyone)
    if never:
        words += f" In {count(never, 'picture')} no set that was tried changes the class."
    return words


def _alone(one: Decided) -> bool:
    return bool((one.effects > one.margin).any())


def _range(sizes: Sequence[int]) -> str:
    low, high = min(sizes), max(sizes)
    return count(low, "unit") if low == high else f"{low:,} to {high:,} units"


def _key(found: Traced) -> str:
    words = (
        "The margin is how far the logit of the class that is predicted lies above the next. Below "
        "each unit stands how much of it is gone when this unit is removed (set to 0) and nothing "
        "else."
    )
    if any(one.maps is not None for one in (*found.typical, *found.wrong)):
        words += (
            " Colours show where in the picture the unit looked (its relevance): red for the "
            "class, blue against it, on one scale for the units of a picture. Relevance shares a "
            "decision out, and removal measures it: the two may differ in sign."
        )
    return words


def _cards(study: Study, pictures: Sequence[Decided]) -> list[Card]:
    return [_card(study, one) for one in pictures]


def _card(study: Study, one: Decided) -> Card:
    names = study.labels
    label, became, called = names[one.label], names[one.became], study.picture(one.index)
    title = became if one.label == one.became else f"labelled {label}, predicted as {became}"
    pictures = [
        Picture(
            uri(one.image),
            f"Picture {called}, labelled {label}",
            f"{became}: {as_percent(one.confidence)}",
        )
    ]
    if one.maps is not None:
        maps = evened(one.maps)
        colours = replace(colours_of(list(maps[:, None])), signed=True)  # as the key says
        for unit, values in zip(one.shown, maps, strict=True):
            effect = number(float(one.effects[unit]), 2)
            pictures.append(
                Picture(
                    _over(one.image, values, colours),
                    f"Where unit {unit} looked for {became}",
                    f"unit {unit}: {effect}",
                )
            )
    return Card(title, pictures, _said(one, called))


def _over(image: Tensor, values: Tensor, colours: Colours) -> str:
    """A map ``(H, W)`` over the picture, as a data URI."""
    return uri(to_pil(colours.laid_over(image, values[None])), exact=True)


def _said(one: Decided, called: str) -> str:
    """What becomes of the decision without its units."""
    if not one.shown:
        return f"Picture {called}: no unit speaks for it by itself."
    first = one.shown[0]
    left = one.margin - float(one.effects[first])
    words = (
        f"Picture {called}: without unit {first} the margin of {number(one.margin, 2)} is "
        f"{number(left, 2)}"
    )
    if left < 0:
        return f"{words}: another class."
    if one.smallest:
        return (
            f"{words}; without {len(one.smallest)} units ({some(list(map(str, one.smallest)), 6)}) "
            "another class is predicted."
        )
    return f"{words}."


def _agreement(everyone: Sequence[Decided]) -> list[Block]:
    """How well what is cheap tells what is exact, in the order of units."""
    names = [name for name in APPROXIMATIONS if any(name in one.agreement for one in everyone)]
    rows = []
    for name in names:
        values = [one.agreement[name] for one in everyone if name in one.agreement]
        rows.append(
            [name, f"{median(values):.2f}", f"{min(values):.2f}", f"{len(values)}", _will(values)]
        )
    return [
        Heading("Would a cheap approximation have said the same?"),
        Text(
            "Removing every unit takes a pass for each; these take one or a few for all. The rank "
            "correlation says whether they put the units into the same order: 1 is the same, 0 has "
            "nothing in common."
        ),
        Table(
            ["approximation", "median rank correlation", "lowest", "pictures", "here"],
            rows,
            "Approximations beside exact removal",
            right=[1, 2, 3],
            stacked=True,
        ),
    ]


def _will(values: Sequence[float]) -> str:
    if min(values) >= _WILL_DO:
        return "will do"
    return "will not do" if median(values) < _WILL_NOT else "with care"


def _how(study: Study, found: Traced) -> str:
    units = found.units
    words = [
        f"The layer {units.layer!r} was taken as "
        + (
            "the last with maps that the decision depends on."
            if units.grid is not None
            else "what the last layer reads: none before it has maps."
        ),
        "Typical pictures are classified correctly as surely as half of those are.",
    ]
    if found.unfinished:
        words.append(f"The time was up before {count(found.unfinished, 'more picture')}.")
    words.append(
        "Sets are found greedily, so that a smaller one may exist. fluoroscope trace does this for "
        "any picture, class and layer, and between two pictures says which units changed sides."
    )
    return " ".join(words)


def _data(found: Traced) -> dict[str, object]:
    return {
        "layer": found.units.describe(),
        "unfinished": found.unfinished,
        **{
            kind: [
                {
                    "index": one.index,
                    "label": one.label,
                    "became": one.became,
                    "margin": one.margin,
                    "units": one.shown,
                    "effects": one.effects.tolist(),
                    "smallest_set": one.smallest,
                    "agreement": one.agreement,
                }
                for one in pictures
            ]
            for kind, pictures in (("typical", found.typical), ("misclassified", found.wrong))
        },
    }
