"""What the options of ``fluoroscope attribute`` stand for; imports no PyTorch."""

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from fluoroscope.attribution.names import METHODS, check_method
from fluoroscope.errors import InvalidParameterError

# Options whose values are names, whatever they look like: a layer may be called 5.
_TEXTS = ("layer", "objective")
# Those that are drawn if none are named: cheap ones, for each kind of question.
_USUAL = ("gradient", "deeplift", "layer-cam")
INSTEAD = {"deeplift": "integrated-gradients"}
"""What is drawn in place of one of those that has nothing to say of a network; it costs more."""


def usual_methods() -> list[str]:
    """The methods that are drawn if none are named."""
    return list(_USUAL)


def options_by_method(
    methods: Sequence[str], given: Sequence[str] | None, **others: str | None
) -> dict[str, dict[str, Any]]:
    """The options of each method, from ``METHOD.NAME=VALUE`` or ``NAME=VALUE``.

    One without a method is for all that have it; so are ``others``. A value that is no JSON is a
    string.

    Raises:
        InvalidParameterError: no such method or option, or a method that is not among those asked.
    """
    for method in methods:
        check_method(method)
    found: dict[str, dict[str, Any]] = {method: {} for method in methods}
    for text in given or ():
        name, equals, value = text.partition("=")
        method, _, option = name.rpartition(".")
        if not (option and equals):
            raise InvalidParameterError(f"param is {text!r}; expected [METHOD.]NAME=VALUE")
        if method and method not in found:
            check_method(method)
            raise InvalidParameterError(
                f"param is {text!r}, and {method} is not among the methods; expected --method "
                f"{method} with it, or one of {', '.join(methods)}"
            )
        option = option.replace("-", "_")
        _give(found, method, option, value if option in _TEXTS else _read(value))
    for name, other in others.items():
        if other is not None:
            _give(found, "", name, other if name in _TEXTS else _read(other))
    return found


def _give(found: dict[str, dict[str, Any]], method: str, option: str, value: Any) -> None:
    """Give an option to the method, or to all that have it."""
    known = {name: _options(name) for name in ([method] if method else found)}
    takers = [name for name, options in known.items() if options is None or option in options]
    if not takers:
        names = sorted({one for options in known.values() for one in options or ()})
        near = get_close_matches(option, names, n=1)
        raise InvalidParameterError(
            f"{' and '.join(known)} {'has' if len(known) == 1 else 'have'} no option {option!r}; "
            + (f"did you mean {near[0]}? " if near else "")
            + f"expected one of {', '.join(names)}"
        )
    for name in takers:
        found[name][option] = value


def _options(method: str) -> Mapping[str, str] | None:
    """The options of a method with their meanings; ``None`` if only another library knows them."""
    about = METHODS.get(method)
    return None if about is None else about.options


def _read(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value
