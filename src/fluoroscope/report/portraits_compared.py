"""What two networks believe the same classes look like, side by side."""

from fluoroscope.pictures.uris import uri
from fluoroscope.report.blocks import Block, Card, Content, Gallery, Picture, Text
from fluoroscope.report.kept import KeptXray
from fluoroscope.report.pictures import which_channels
from fluoroscope.words import as_percent, shortened

# Classes that are shown.
_SHOWN = 10


def portraits_compared(a: KeptXray, b: KeptXray, names: list[str]) -> Content | None:
    """The portraits of classes that both know by the same name; nothing where there are none."""
    known = [
        {each.run.labels[label]: found for label, found in each.portraits.items()}
        for each in (a, b)
    ]
    common = [name for name in known[0] if name in known[1]][:_SHOWN]
    if not common:
        return None
    cards = []
    for label in common:
        shown = [
            Picture(
                uri(found[label][0]),
                f"Portrait of {shortened(label)}, of {name}",
                f"{name}: {as_percent(found[label][1])}",
            )
            for found, name in zip(known, names, strict=True)
        ]
        cards.append(Card(shortened(label), shown))
    blocks: list[Block] = [
        Text(
            "Pictures that each network is led to by its own gradient, in few steps, with the "
            "probability that it gives them itself. A network whose portraits are prettier is no "
            "better for that; what speaks against them stands in the two reports."
        ),
        *which_channels(int(known[0][common[0]][0].shape[0])),
        Gallery(cards),
    ]
    return Content(blocks, {"classes": common})
