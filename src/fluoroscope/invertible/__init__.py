"""What the latent of an invertible network says of two pictures (2012.13111)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluoroscope.invertible.parts import split
    from fluoroscope.invertible.reading import read_latent
    from fluoroscope.invertible.result import LatentReading
    from fluoroscope.models.invertible.backwards import bounds_of, latents_of, pictures_of
    from fluoroscope.models.invertible.network import Inverse, InvertibleNetwork, Shape

_HOMES = {
    "Inverse": "models.invertible.network",
    "InvertibleNetwork": "models.invertible.network",
    "LatentReading": "invertible.result",
    "Shape": "models.invertible.network",
    "bounds_of": "models.invertible.backwards",
    "latents_of": "models.invertible.backwards",
    "pictures_of": "models.invertible.backwards",
    "read_latent": "invertible.reading",
    "split": "invertible.parts",
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
    if name not in _HOMES:
        raise AttributeError(f"module 'fluoroscope.invertible' has no attribute {name!r}")
    value = getattr(import_module(f"fluoroscope.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
