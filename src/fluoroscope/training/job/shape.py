"""The shape of an invertible network: that of the pictures it is to learn."""

from collections.abc import Mapping, Sequence
from typing import Any

from fluoroscope.data.imageset import ImageSet
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.invertible.network import InvertibleNetwork, Shape
from fluoroscope.training.names import RECIPES

# So many pictures, evenly over the set, say whether they have colours.
_LOOKED_AT = 20


def shape_of(
    pictures: ImageSet,
    classes: Sequence[str],
    stated: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Shape:
    """For these pictures and classes, where nothing else is stated.

    Args:
        pictures: what is learnt from, in colour; the first says how large they are, and the network
            is for grey ones where no picture that is looked at has a colour.
        classes: their names.
        stated: ``channels``, ``input_size`` and ``labels``, as `load_model` takes them.
        options: of the recipe: ``scales``, ``blocks``, ``hidden``, ``contraction``.

    Raises:
        InvalidParameterError: numbers that make no network.
    """
    size = stated.get("input_size") or tuple(pictures[0].image.shape[1:])
    height, width = (size, size) if isinstance(size, int) else size
    channels = stated.get("channels") or (1 if _grey(pictures) else pictures.channels)
    own = RECIPES["invertible"].options
    given = {name: options[name] for name in own if name in options}
    return Shape(channels, height, width, len(stated.get("labels") or classes), **given)


def check_invertible(recipe: str | None, module: object, name: str) -> None:
    """Refuse the recipe for another network than it makes.

    Raises:
        InvalidParameterError: it is another.
    """
    if recipe == "invertible" and not isinstance(module, InvertibleNetwork):
        raise InvalidParameterError(
            f"recipe is invertible, and {name} has no inverse; expected the network that the "
            "recipe makes: `fluoroscope train invertible`"
        )


def _grey(pictures: ImageSet) -> bool:
    looks = min(_LOOKED_AT, len(pictures))
    for look in range(looks):
        image = pictures[look * len(pictures) // looks].image
        if bool((image != image[:1]).any()):
            return False
    return True
