"""The smallest changes that flip the decision, as pictures, and the samples at both ends."""

from fluoroscope.pictures.uris import signed_uri, uri
from fluoroscope.report.blocks import Block, Card, Content, Gallery, Heading, Picture, Text
from fluoroscope.report.findings import Closest, Flipped
from fluoroscope.report.pictures import which_channels
from fluoroscope.report.registry import section
from fluoroscope.report.study import Study
from fluoroscope.words import percent

# Pictures of each kind.
_TYPICAL, _ENDS = 6, 4


@section("pictures", "What it takes to change its mind", order=40)
def pictures(study: Study) -> Content:
    closest = study.closest
    ranked = closest.ranked()
    if not ranked:
        return Content(
            [Text("No picture was led to another class, so there is nothing to show.", "lead")],
            {"shown": []},
        )
    ends = min(_ENDS, len(ranked) // 2)
    easiest, hardest = ranked[:ends], ranked[len(ranked) - ends :][::-1]
    typical = _typical(closest, [row for row in ranked if row not in (*easiest, *hardest)])
    shown = study.flipped([*typical, *easiest, *hardest])
    blocks: list[Block] = [
        Text(
            "The smallest changes found that make it name another class. The middle picture is the "
            "change itself, blue where it darkens and red where it lightens, its colours stretched "
            "so that it can be seen.",
            "plain",
        ),
        *which_channels(study.model.channels),
    ]
    held = len(closest.indices) - len(ranked)
    kinds = [
        ("Typical pictures", typical, ""),
        ("Most easily fooled", easiest, "The smallest changes of all that were looked for."),
        (
            "Hardest to fool",
            hardest,
            "The largest changes needed."
            + (f" For another {held} no change was found at all." if held else ""),
        ),
    ]
    for title, rows, why in kinds:
        if rows:
            blocks.append(Heading(title))
            if why:
                blocks.append(Text(why, "note"))
            blocks.append(Gallery([_card(study, shown[row]) for row in rows]))
    blocks += _misread(study)
    data = [
        {
            "index": one.index,
            "name": study.images.names([one.index])[0],
            "label": one.label,
            "became": one.became,
            "distance": one.distance,
        }
        for one in shown.values()
    ]
    return Content(blocks, {"shown": data})


def _typical(closest: Closest, ranked: list[int]) -> list[int]:
    """Rows nearest to the median, of as many classes as possible."""
    middle = closest.median()
    near = sorted(ranked, key=lambda row: abs(float(closest.distances[row]) - middle))
    firsts: list[int] = []
    others: list[int] = []
    seen: set[int] = set()
    for row in near:
        label = int(closest.labels[row])
        (others if label in seen else firsts).append(row)
        seen.add(label)
    return sorted([*firsts, *others][:_TYPICAL], key=ranked.index)


def _card(study: Study, one: Flipped) -> Card:
    names = study.labels
    label, became, called = names[one.label], names[one.became], study.picture(one.index)
    difference = one.after - one.before
    largest = study.far(one.distance, 2)
    return Card(
        f"{label} → {became}",
        [
            Picture(uri(one.before), f"Picture {called}, labelled {label}", label),
            Picture(
                signed_uri(difference),
                f"The change, distance {largest}",
                f"change of {largest}",
            ),
            Picture(
                uri(one.after),
                f"The changed picture, predicted as {became}",
                f"{became} ({percent(one.confidence, 0)})",
            ),
        ],
        f"picture {called}",
    )


def _misread(study: Study) -> list[Block]:
    """Clean pictures that it is surest of and wrong about."""
    reading = study.reading
    wrong = (~reading.right).nonzero().squeeze(1)
    if not len(wrong):
        return []
    rows = wrong[reading.confidence[wrong].argsort(descending=True)][:_ENDS].tolist()
    indices = [study.images.indices[row] for row in rows]
    called = [study.picture(index) for index in indices]
    images, _ = study.load(indices)
    names = study.labels
    cards = [
        Card(
            f"labelled {names[int(reading.labels[row])]}, "
            f"predicted as {names[int(reading.winners[row])]}",
            [
                Picture(
                    uri(image),
                    f"Picture {name}, labelled {names[int(reading.labels[row])]}",
                    f"{percent(float(reading.confidence[row]), 0)} sure · picture {name}",
                )
            ],
        )
        for row, name, image in zip(rows, called, images, strict=True)
    ]
    return [
        Heading("Misclassified as they are"),
        Text(
            "Clean pictures that it misclassifies and is surest of. Look whether the label is "
            "right before you blame the network.",
            "note",
        ),
        Gallery(cards),
    ]
