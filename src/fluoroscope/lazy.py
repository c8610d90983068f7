"""Public names of a package that load what they stand for when they are first asked for.

Most of it loads PyTorch, which names alone do without.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any


def public(package: str, homes: Mapping[str, str], name: str) -> Any:
    """The public name of a package, from the module where it lies.

    Args:
        package: ``__name__`` of the package.
        homes: of each name its module below the package, or with a dot before it beside it.
        name: what is asked for.

    Raises:
        AttributeError: the package has no such name.
    """
    if name not in homes:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return getattr(import_module(f".{homes[name]}", package), name)
