"""What a page says of pictures that have more channels than a screen has colours."""

from fluoroscope.pictures.display import said_at_length
from fluoroscope.report.blocks import Block, Text


def which_channels(channels: int) -> list[Block]:
    """What to say above pictures that show but some of their channels."""
    words = said_at_length(channels)
    return (
        [Text(f"{words} Maps of changes and gradients add up all of them.", "note")]
        if words
        else []
    )
