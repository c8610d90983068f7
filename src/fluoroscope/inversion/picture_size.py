"""How large the pictures are that are made for a network."""

from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier


def picture_size(model: Classifier, size: int | tuple[int, int] | None) -> tuple[int, int]:
    """``(height, width)``, as given or as the network sees them.

    Raises:
        InvalidParameterError: no size, or none where the network takes pictures of any.
    """
    if size is None:
        if model.input_size is None:
            raise InvalidParameterError(
                f"size was not given, and {model.name} takes pictures of any; expected "
                "size=(height, width)"
            )
        return model.input_size
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise InvalidParameterError(
            f"size is {size!r}; expected (height, width) in pixels, or one side"
        )
    return sides[0], sides[1]
