"""Which units decide, what they answer to, and whether that survives an attack."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluoroscope.neurons.reading.activations import Activations
    from fluoroscope.neurons.reading.read import read, read_layers
    from fluoroscope.neurons.reading.reduction import Reduction
    from fluoroscope.neurons.reading.units import Units, find_units, list_units
    from fluoroscope.neurons.reading.usual import usual_layer

_HOMES = {
    "Activations": "reading.activations",
    "Reduction": "reading.reduction",
    "Units": "reading.units",
    "find_units": "reading.units",
    "list_units": "reading.units",
    "read": "reading.read",
    "read_layers": "reading.read",
    "usual_layer": "reading.usual",
}
__all__ = [
    "Activations",
    "Reduction",
    "Units",
    "find_units",
    "list_units",
    "read",
    "read_layers",
    "usual_layer",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name in _HOMES:  # these load PyTorch, which names alone do without
        return getattr(import_module(f"fluoroscope.neurons.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'fluoroscope.neurons' has no attribute {name!r}")
