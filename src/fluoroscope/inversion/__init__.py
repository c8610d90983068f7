"""What a network believes a class looks like: portraits, generators, and what they are worth."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluoroscope.inversion.measures.assess import assess
    from fluoroscope.inversion.measures.result import Assessment

_HOMES = {"Assessment": "measures.result", "assess": "measures.assess"}
__all__ = ["Assessment", "assess"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:  # these load PyTorch, which names alone do without
        return getattr(import_module(f"fluoroscope.inversion.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'fluoroscope.inversion' has no attribute {name!r}")
