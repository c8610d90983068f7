"""What the options of ``fluoroscope attack`` stand for: parameters, other pictures and networks."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import fluoroscope as fs
from fluoroscope.words import count

if TYPE_CHECKING:
    from torch import Tensor

    from fluoroscope.attacks.attack import Method
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.models.classifier import Classifier

# What --through names: made from a network, the seed and other pictures.
THROUGH: "dict[str, Callable[[Classifier, int, Callable[[], Tensor]], Classifier]]" = {
    "di": lambda model, seed, _: fs.DiverseInput(model, seed=seed),
    "ti": lambda model, seed, _: fs.TranslationInvariant(model),
    "si": lambda model, seed, _: fs.ScaleInvariant(model),
    "admix": lambda model, seed, pool: fs.Admix(model, pool(), seed=seed),
    "ghost": lambda model, seed, _: fs.Ghost(model, seed=seed),
}


def parameters(given: list[str] | None, option: str = "param") -> dict[str, Any]:
    """The method's own, from ``NAME=VALUE``; a value that is no JSON is a string."""
    from fluoroscope.errors import InvalidParameterError

    found = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise InvalidParameterError(f"{option} is {text!r}; expected NAME=VALUE")
        try:
            found[name.replace("-", "_")] = json.loads(value)
        except json.JSONDecodeError:
            found[name.replace("-", "_")] = value
    return found


def other_pictures(
    method: str, others: str | None, through: list[str], data: "ImageSet", model: "Classifier"
) -> "tuple[dict[str, Tensor], Callable[[], Tensor]]":
    """The parameters of a method that hold other pictures, and how to get such pictures.

    Admix mixes in those that are attacked if no others are named.
    """
    from fluoroscope.attacks import parts
    from fluoroscope.data.imageset import load_images
    from fluoroscope.errors import InvalidParameterError

    def load() -> "Tensor":
        source = data
        if others is not None:
            source = load_images(others, channels=model.channels, invert=data.inverted)
        return parts.first_part(model, source)

    wanted = parts.other_pictures(method)
    if others is not None and not wanted and "admix" not in through:
        raise InvalidParameterError(
            f"others is {others!r}, but {method} takes no other pictures; expected a method that "
            "begins from them (boundary, hopskipjump, geoda), mixes them in (admix) or is to "
            "resemble them (feature-adversary)"
        )
    given = wanted if others is not None else [name for name in wanted if name == "pool"]
    return {name: load() for name in given}, load


def picture_mask(name: str, model: "Classifier") -> "Tensor":
    """Where a picture is white ``(1, H, W)``, resized and cropped as the network's pictures are."""
    from fluoroscope.data.reference import open_image

    picture = open_image(name, channels=1, size=model.input_size or (224, 224)).image
    return model.fit(picture[None])[0] > 0.5


def apart(
    method: str, chosen: "Method", data: "ImageSet", fit_on: int | None
) -> "tuple[ImageSet, ImageSet]":
    """The pictures to learn from, and those to attack."""
    from fluoroscope.attacks.universal.fitting import Fitted
    from fluoroscope.errors import InvalidParameterError

    if fit_on is None:
        return data, data
    if not isinstance(chosen, Fitted):
        raise InvalidParameterError(
            f"fit-on is {fit_on}; {method} makes nothing that is for all pictures: leave it out, "
            "or choose universal or patch"
        )
    if fit_on >= len(data):
        raise InvalidParameterError(
            f"fit-on is {fit_on} of {count(len(data), 'picture')}; expected fewer, so that some "
            "are left to be attacked"
        )
    seen = data.take(fit_on)
    kept = set(seen.indices)
    return seen, data.select([n for n, index in enumerate(data.indices) if index not in kept])


def transfer_target(model: "Classifier", name: str) -> "Classifier":
    """Another network with the same classes, which sees all of what the first one sees."""
    from fluoroscope.models.wrappers.ensemble import shown_the_same

    return shown_the_same(model, fs.load_model(name, device=str(model.device)))


def behind(
    model: "Classifier",
    method: "Method",
    names: list[str],
    seed: int,
    others: "Callable[[], Tensor]",
) -> "Classifier":
    """The network behind these changes of its input."""
    from fluoroscope.errors import InvalidParameterError

    for name in reversed(names):
        if name not in THROUGH:
            raise InvalidParameterError(
                f"through is {name!r}; expected one of {', '.join(THROUGH)}"
            )
        if method.access != "gradient":
            raise InvalidParameterError(
                f"through is {name}, but {type(method).__name__} reads no gradient; expected an "
                "attack that does, such as mi-fgsm"
            )
        model = THROUGH[name](model, seed, others)
    return model
