"""Maps of a decision: which pixels it depends on, and whether such a map can be believed."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "metrics":  # loads PyTorch, which names alone do without
        return import_module("fluoroscope.attribution.metrics")
    raise AttributeError(f"module 'fluoroscope.attribution' has no attribute {name!r}")
