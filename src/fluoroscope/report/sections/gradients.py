"""What the network looks at: input gradients, beside those of the same network with random weights.

Adebayo et al. 2018 (1810.03292): a map that does not change when the weights are drawn anew shows
the picture, not what was learnt. Beside them stand the two best of the attribution methods that can
be believed on this network, and what an audit says of all that there was time for.
"""

from dataclasses import asdict

import torch
from torch import Tensor

from fluoroscope.gradients.input_gradient import input_gradient
from fluoroscope.gradients.randomised import rank_correlation, with_random_weights
from fluoroscope.notices import collected
from fluoroscope.pictures.uris import signed_uri, uri
from fluoroscope.report.audited import Believed, believed, maps_of
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
from fluoroscope.report.pictures import which_channels
from fluoroscope.report.registry import section
from fluoroscope.report.study import Study
from fluoroscope.words import count, listed, number

# Pictures that are compared, and of these shown; the random network learns its statistics on them.
_COMPARED, _COMPARED_LARGE, _SHOWN = 64, 24, 6
# Methods whose verdicts are seen at once; of more the table is to be opened.
_UNFOLDED = 24
# Below this rank correlation two maps have little in common, above the other most.
_LITTLE, _MUCH = 0.4, 0.7


@section("gradients", "What it looks at", order=60, cost=35)
def gradients(study: Study) -> Content:
    found = study.kept("gradients", "maps that tell", lambda: _compare(study))
    similar, flat = found["similar"], int(found["flat"])
    middle = float(similar.median()) if len(similar) else None
    labels, winners = found["labels"].tolist(), found["winners"].tolist()
    names = study.labels
    shown = found["images"], found["winners"]
    trusted = believed(study, *_pictures(study, found))
    best = trusted.best if trusted else []
    maps = maps_of(study, best, *shown)
    cards = [
        Card(
            f"{names[winner]}" + ("" if winner == label else f" (labelled {names[label]})"),
            [
                Picture(
                    uri(image),
                    f"Picture {study.picture(index)}, labelled {names[label]}",
                    "picture",
                ),
                Picture(
                    signed_uri(mine),
                    f"Gradient of {names[winner]} at each pixel",
                    "this network",
                ),
                Picture(
                    signed_uri(randomised),
                    "Gradient of the network with random weights",
                    "random weights",
                ),
                *(
                    Picture(signed_uri(of[row]), f"{name} of {names[winner]}", name)
                    for name, of in zip(best, maps, strict=True)
                ),
            ],
        )
        for row, (index, label, winner, image, mine, randomised) in enumerate(
            zip(
                found["indices"].tolist(),
                labels,
                winners,
                found["images"],
                found["trained"],
                found["random"],
                strict=False,
            )
        )
    ]
    blocks: list[Block] = [
        Text(_in_words(middle), "lead"),
        *_left_out(flat, len(similar)),
        Text(
            "Each map shows which way every pixel moves the score of the class that the network "
            "names: red where a lighter pixel speaks for it, blue where a darker one does. Beside "
            "it stands the map of the same architecture with weights drawn at random, which has "
            "learnt nothing."
            + (f" Then come the maps of {listed(best)}, in their own units." if best else ""),
        ),
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
                        "likeness of the two maps",
                        f"{told}: 1 is the same map, 0 nothing in common",
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


def _verdicts(found: Believed | None) -> list[Block]:
    """What the audit said of every method, and whether its best beat what knows no network."""
    if found is None:
        return [Text("There was no time to look which other maps can be believed here.", "note")]
    told = found.told
    passed = sum(each.verdict == "valid" for each in told)
    best = (
        f"Beside the gradient stand the maps of {listed(found.best)}: "
        + (
            "of the valid ones, they name best what the network depends on."
            if found.ranked
            else "of the valid ones, which no metric ranks here, they cost least."
        )
        if found.best
        else "None but the plain gradient is shown."
    )
    blocks: list[Block] = [
        Heading("Which maps can be believed on this network"),
        Text(
            f"{passed} of {count(len(told), 'attribution method')} "
            f"{'is' if passed == 1 else 'are'} valid on this network. {best}"
        ),
        Table(
            ["method", "verdict", "relevance gain", "why"],
            [
                [
                    each.method,
                    each.verdict,
                    "–" if each.srg is None else f"{each.srg:.2f}",
                    each.reasons[0] if each.reasons else "Nothing was found against it.",
                ]
                for each in told
            ],
            "Relevance gain (SRG): how much longer the class lives when the least relevant pixels "
            "go first than when the most relevant do.",
            right=[2],
            folded=len(told) > _UNFOLDED,
        ),
    ]
    if found.srg:
        others = ", ".join(f"{name} {value:.2f}" for name, value in found.controls.items())
        blocks.append(
            Text(f"Maps that know nothing of the network have a gain of: {others}. {found.srg}.")
        )
    if not found.complete:
        blocks.append(Text("The time was up before all of them were looked at.", "note"))
    return blocks


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
            "The maps of this network are its own: with random weights they look different, so "
            "they show what it has learnt."
        )
    if middle < _MUCH:
        return (
            "The maps share some of their pattern with those of a network that learnt nothing: "
            "that part is the picture and the architecture. Read them with care."
        )
    return (
        "A network that learnt nothing gives nearly the same maps. They show where the picture "
        "has edges, not what this network has learnt: do not explain decisions by them."
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
