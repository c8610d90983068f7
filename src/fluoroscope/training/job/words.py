"""A training as commands show it."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def command(*words: str, options: Iterable[tuple[str, Any]]) -> str:
    """A command of the package as one types it."""
    return shlex.join(["fluoroscope", *words, *spoken(options)])


def spoken(options: Iterable[tuple[str, Any]]) -> list[str]:
    """Options of a command as words, by argument; those that nobody gave are left out."""
    words: list[str] = []
    for name, value in options:
        option = f"--{name.replace('_', '-')}"
        if value is None or value is False:
            continue
        if value is True:
            words.append(option)
        elif name == "outside":  # which is given again and again
            words += [word for one in value for word in (option, str(one))]
        else:
            words += [option, _said(name, value)]
    return words


def typed(stated: Mapping[str, Any]) -> dict[str, Any]:
    """What the library was told of a network, as one would type it."""
    return {name: value for name, value in stated.items() if value is not None}


def _said(name: str, value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ("x" if name in ("input_size", "resize") else ",").join(map(str, value))
    return str(value)
