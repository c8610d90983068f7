"""What the network looks at: input gradients, beside those of the same network with random weights.

Adebayo et al. 2018 (1810.03292): a map that does not change when the weights are drawn anew shows
the picture, not what was learnt. Beside them stand two of the attribution methods that can be
believed on this network, and what an audit says of all that there was time for.
"""

from dataclasses import asdict, dataclass
from functools import cached_property

import torch
from torch import Tensor

from fluoroscope.attribution.names import METHODS
from fluoroscope.attribution.reading import key_of
from fluoroscope.gradients.input_gradient import input_gradient
from fluoroscope.gradients.randomised import rank_correlation, with_random_weights
from fluoroscope.notices import collected
from fluoroscope.pictures.attribution_colours import Colours, colours_of
from fluoroscope.pictures.uris import blocks_of, coloured_uri, uri
from fluoroscope.report.audited import Believed, Told, believed, maps_of
from fluoroscope.report.blocks import (
    Block,
    Card,
    Content,
    Facts,
    Gallery,
    Heading,
    Number,
    Numbers,
    Picture,
    Table,
    Text,
)
from fluoroscope.report.pictures import which_channels
from fluoroscope.report.registry import section
from fluoroscope.report.study import Study
from fluoroscope.words import count, listed, number, sentence

# Pictures that are compared, and of these shown; the random network learns its statistics on them.
_COMPARED, _COMPARED_LARGE, _SHOWN = 64, 24, 6
# Methods whose verdicts are seen at once; of more the table is to be opened.
_UNFOLDED = 24
# The columns of the gradient.
_MINE, _RANDOM = "gradient", "gradient, random weights"
# What a metric measures, and maps that know nothing of a network, in words.
_METRICS = {
    "srg": "Relevance gain (SRG): pixels are hidden step by step, and this is how much more of the "
    "class's probability is left when the least relevant go first than when the most relevant do. "
    "Higher is better.",
    "insertion": "Insertion: how much of the class's probability comes back as pixels are shown, "
    "the most relevant first. Higher is better.",
    "deletion": "Deletion: how much of the class's probability is left as pixels are hidden, the "
    "most relevant first. Lower is better.",
    "road": "ROAD: how much more of the class's probability is left without the least relevant "
    "pixels than without the most relevant, made of their neighbours. Higher is better.",
}
_CONTROLS = {
    "random": "random numbers",
    "edges": "the picture's edges",
    "centre": "a blob in the centre",
    "picture": "how far each pixel is from the picture's mean",
}
# Below this rank correlation two maps have little in common, above the other most.
_LITTLE, _MUCH = 0.4, 0.7


@section("gradients", "What it looks at", order=60, cost=15)
def gradients(study: Study) -> Content:
    found = study.kept("gradients", "maps that tell", lambda: _compare(study))
    similar, flat = found["similar"], int(found["flat"])
    middle = float(similar.median()) if len(similar) else None
    labels, winners = found["labels"].tolist(), found["winners"].tolist()
    names = study.labels
    shown = found["images"], found["winners"]
    trusted = believed(study, *_pictures(study, found))
    best = trusted.best if trusted else []
    columns = [
        _Column(_MINE, "gradient", list(found["trained"])),
        _Column(_RANDOM, "gradient", list(found["random"])),
        *(
            _Column(name, name, list(maps))
            for name, maps in zip(best, maps_of(study, best, *shown), strict=True)
        ),
    ]
    cards = [
        Card(
            f"{names[winner]}" + ("" if winner == label else f" (labelled {names[label]})"),
            [
                Picture(
                    uri(image),
                    f"Picture {study.picture(index)}, labelled {names[label]}",
                    "picture",
                ),
                *(column.picture(row, names[winner]) for column in columns),
            ],
        )
        for row, (index, label, winner, image) in enumerate(
            zip(found["indices"].tolist(), labels, winners, found["images"], strict=False)
        )
    ]
    blocks: list[Block] = [
        Text(_in_words(middle), "lead"),
        *_left_out(flat, len(similar)),
        Text(
            "Each map is of the class that the network names, which stands above it; every column "
            "has colours and a scale of its own:"
        ),
        Facts([(column.title, column.words) for column in columns]),
        *which_channels(study.model.channels),
        Gallery(cards),
    ]
    if middle is not None:
        told = f"median rank correlation over {count(len(similar), 'picture')}"
        blocks.append(
            Numbers(
                [
                    Number(
                        number(middle, 2),
                        f"likeness of “{_MINE}” and “{_RANDOM}”",
                        f"{told}, of the pixels where either is not 0: 1 is the same map, 0 "
                        "nothing in common",
                    )
                ]
            )
        )
    blocks += _verdicts(trusted)
    return Content(
        blocks,
        {
            "audit": None if trusted is None else asdict(trusted),
            "likeness": middle,
            "pictures": len(similar),
            "likeness_each": similar.tolist(),
            "without_a_map": flat,
        },
    )


@dataclass
class _Column:
    """The maps of one method, in colours on one scale."""

    title: str
    method: str
    maps: list[Tensor]

    @cached_property
    def colours(self) -> Colours:
        return colours_of([blocks_of(one.nan_to_num()) for one in self.maps])

    def picture(self, row: int, name: str) -> Picture:
        """The map of one picture."""
        drawn = coloured_uri(self.maps[row], self.colours)
        return Picture(drawn, f"{self.title} of {name}", self.title)

    @property
    def words(self) -> str:
        """What it is, what its colours mean and where they end."""
        what = (
            "the gradient of the same architecture with weights drawn at random, which learnt "
            "nothing"
            if self.title == _RANDOM
            else METHODS[self.method].summary
        )
        # Of single classes, whatever they are called.
        meaning = key_of(
            self.method, self.colours.signed, torch.zeros(1, dtype=torch.float32, device="cpu"), ()
        )
        key = "; ".join(meaning.splitlines())
        ends = f"full colour at {self.colours.words(len(self.maps[0])).removeprefix('0 and ')}"
        return f"{sentence(what)} {sentence(key)} {sentence(ends)}"


def _verdicts(found: Believed | None) -> list[Block]:
    """What the audit said of every method, and whether its best beat what knows no network."""
    if found is None:
        return [Text("There was no time to look which other maps can be believed here.", "note")]
    told = found.told
    passed = sum(each.verdict == "valid" for each in told)
    scored = any(each.score is not None for each in told)
    most = max((each.pictures for each in told), default=0)
    head = _METRICS[found.metric]
    return [
        Heading("Which maps can be believed on this network"),
        Text(
            f"{passed} of {count(len(told), 'attribution method')} "
            f"{'is' if passed == 1 else 'are'} valid on this network: nothing speaks against "
            f"{'it' if passed == 1 else 'them'}, which is no proof that they name what the network "
            f"depends on. {_which(found)}"
        ),
        Table(
            ["method", "verdict", *([head.partition(":")[0]] if scored else []), "why"],
            [
                [
                    each.method,
                    _verdict(each),
                    *(_score(each.score, each.pictures, most) if scored else []),
                    _why(each),
                ]
                for each in told
            ]
            + [
                [name, "control", *_score(value), sentence(_CONTROLS.get(name, name))]
                for name, value in found.controls.items()
                if scored
            ],
            f"{head} Controls are maps that know nothing of the network."
            if scored
            else "What the audit says of each method",
            right=[2] if scored else [],
            folded=len(told) > _UNFOLDED,
            stacked=True,
        ),
        *_unfinished(found),
    ]


def _which(found: Believed) -> str:
    """Which maps stand beside the gradient, and why these."""
    if not found.best:
        return "None but the plain gradient is shown."
    one = len(found.best) == 1
    shown = f"Beside the gradient {'stands that' if one else 'stand those'} of {listed(found.best)}"
    scores = {each.method: each.score for each in found.told}
    if found.ranked and found.controls:
        sign = min if found.metric == "deletion" else max
        rival = sign(found.controls, key=found.controls.__getitem__)
        most = max(each.pictures for each in found.told)
        values = listed([f"{scores[name]:.2f}" for name in found.best])
        return (
            f"{shown}: of the valid ones that were scored on {count(most, 'picture')}, "
            f"{'it names' if one else 'they name'} best what the network depends on, "
            f"by the measure below: {values}; of maps that know nothing of the network "
            f"the best, {_CONTROLS.get(rival, rival)}, has {found.controls[rival]:.2f}."
        )
    if any(score is not None for score in scores.values()):
        return (
            f"{shown}, which {'is' if one else 'are'} valid and cheap: which is better these "
            "pictures leave open, as by no score a method is surely better than maps that know "
            "nothing of the network."
        )
    return (
        f"{shown}, shown since {'it is' if one else 'they are'} valid and cheap: which is better "
        "was not measured."
    )


def _verdict(told: Told) -> str:
    rival = told.no_better_than
    return told.verdict if rival is None else f"{told.verdict}, no better than {rival}"


def _score(value: float | None, pictures: int = 0, most: int = 0) -> list[str]:
    if value is None:
        return ["–"]
    return [f"{value:.2f}" + (f" ({count(pictures, 'picture')})" if pictures < most else "")]


def _why(told: Told) -> str:
    said = [*told.reasons[:1], *told.remarks]
    other = "" if told.no_better_than is None else "else "
    return " ".join(said) or f"Nothing {other}was found against it."


def _unfinished(found: Believed) -> list[Block]:
    """What there was no time for."""
    if found.complete:
        return []
    told = found.told
    missing = [
        f"{len(told) - done} of {count(len(told), 'method')} {what}"
        for done, what in (
            (sum(each.score is not None for each in told), "were not scored"),
            (
                sum(each.forgot for each in told),
                "were not held against a network that forgets what it learnt",
            ),
        )
        if done < len(told)
    ]
    why = f": {listed(missing)}" if missing else ""
    return [Text(f"The time was up before all looks were made{why}.", "note")]


def _left_out(flat: int, compared: int) -> list[Block]:
    if not flat or not compared:
        return []
    return [
        Text(
            f"For {count(flat, 'picture')} more a map is zero everywhere: they are not compared.",
            "note",
        )
    ]


def _in_words(middle: float | None) -> str:
    if middle is None:
        return (
            "Nothing can be told from the maps: for each picture, the gradient of this network or "
            "that of the one with random weights is zero everywhere."
        )
    if middle < _LITTLE:
        return (
            "The gradient maps of this network are its own: with random weights they look "
            "different, so they show what it has learnt."
        )
    if middle < _MUCH:
        return (
            "The gradient maps share some of their pattern with those of a network that learnt "
            "nothing: that part is the picture and the architecture. Read them with care."
        )
    return (
        "A network that learnt nothing gives nearly the same gradient maps. They show where the "
        "picture has edges, not what this network has learnt: do not explain decisions by them."
    )


def _pictures(study: Study, found: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The pictures that are compared, and what the network names them."""
    rows = found["rows"].tolist()
    images, _ = study.load([study.images.indices[row] for row in rows])
    return images, study.reading.winners[rows]


def _compare(study: Study) -> dict[str, Tensor]:
    model = study.model.plain
    reading = study.reading
    most = _COMPARED_LARGE if study.large else _COMPARED
    # Of as many classes as there are, in the study's own order.
    rows, seen = [], set()
    for row, label in enumerate(reading.labels.tolist()):
        if label not in seen:
            rows.append(row)
            seen.add(label)
    rows += [row for row in range(len(reading.labels)) if row not in set(rows)]
    rows = rows[:most]
    images, labels = study.load([study.images.indices[row] for row in rows])
    winners = reading.winners[rows]
    study.tell("input gradients", 0.1, "gradients")
    mine = input_gradient(model, images, winners, batch_size=16)
    study.tell("input gradients of a network with random weights", 0.5, "gradients")
    twin = with_random_weights(model, images, seed=study.seed)
    with collected():  # what its gradients are like is nobody's trouble
        other = input_gradient(twin, images, winners, batch_size=16)
    # A map that is zero everywhere is unlike any other, and shows nothing.
    tells = mine.flatten(1).any(1) & other.flatten(1).any(1)
    return {
        "indices": torch.tensor([study.images.indices[row] for row in rows], device="cpu")[:_SHOWN],
        "rows": torch.tensor(rows, device="cpu"),
        "labels": labels[:_SHOWN],
        "winners": winners[:_SHOWN],
        "images": images[:_SHOWN],
        "trained": mine[:_SHOWN],
        "random": other[:_SHOWN],
        "similar": rank_correlation(mine[tells], other[tells])
        if tells.any()
        else mine.new_zeros(0),
        "flat": (~tells).sum(),
    }
