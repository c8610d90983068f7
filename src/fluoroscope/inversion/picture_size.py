"""How large the pictures are that are made for a network."""

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier

MOST = 2**24
"""Pixels that a picture has at the most: more is a slip of the hand, and fills any memory."""


def picture_size(model: Classifier, size: int | tuple[int, int] | None) -> tuple[int, int]:
    """``(height, width)``, as given or as the network sees them.

    Raises:
        InvalidParameterError: no size, one beyond `MOST`, or none where the network takes pictures
            of any.
    """
    if size is None:
        if model.input_size is None:
            raise InvalidParameterError(
                f"size was not given, and {model.name} takes pictures of any; expected size=224 or "
                "another, or both sides, or what the network takes as input_size="
            )
        return model.input_size
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise InvalidParameterError(
            f"size is {size!r}; expected (height, width) in pixels, or one side"
        )
    if sides[0] * sides[1] > MOST:
        raise InvalidParameterError(
            f"size is {sides[0]:,} × {sides[1]:,}; expected at most {MOST:,} pixels, such as "
            "4,096 × 4,096"
        )
    return sides[0], sides[1]
