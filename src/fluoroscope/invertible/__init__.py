"""What the latent of an invertible network says of two pictures (2012.13111)."""

from typing import TYPE_CHECKING, Any

from fluoroscope.lazy import public

if TYPE_CHECKING:
    from fluoroscope.invertible.parts import split
    from fluoroscope.invertible.reading import read_latent
    from fluoroscope.invertible.result import LatentReading
    from fluoroscope.models.invertible.backwards import bounds_of, latents_of, pictures_of
    from fluoroscope.models.invertible.network import Inverse, InvertibleNetwork, Shape

_HOMES = {
    "Inverse": ".models.invertible.network",
    "InvertibleNetwork": ".models.invertible.network",
    "LatentReading": "result",
    "Shape": ".models.invertible.network",
    "bounds_of": ".models.invertible.backwards",
    "latents_of": ".models.invertible.backwards",
    "pictures_of": ".models.invertible.backwards",
    "read_latent": "reading",
    "split": "parts",
}
__all__ = [
    "Inverse",
    "InvertibleNetwork",
    "LatentReading",
    "Shape",
    "bounds_of",
    "latents_of",
    "pictures_of",
    "read_latent",
    "split",
]


def __getattr__(name: str) -> Any:
    return public(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted(__all__)
