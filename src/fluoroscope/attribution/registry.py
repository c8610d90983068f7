"""Methods by name, made with their options."""

from dataclasses import fields
from difflib import get_close_matches
from importlib import import_module
from typing import Any, cast

from fluoroscope.attribution.method import Method
from fluoroscope.attribution.names import METHODS, check_method
from fluoroscope.attribution.peer_names import PREFIX
from fluoroscope.errors import InvalidParameterError


def method_class(name: str) -> type[Method]:
    """The class of a method.

    Raises:
        InvalidParameterError: no such method.
    """
    check_method(name)
    if name.startswith(PREFIX):
        from fluoroscope.attribution.peers import captum_method

        return captum_method(name)
    home, _, kind = METHODS[name].home.partition(":")
    return cast(type[Method], getattr(import_module(f"fluoroscope.attribution.{home}"), kind))


def make_method(name: str | Method, **options: Any) -> Method:
    """The method of that name with its options; a method itself is taken as it is.

    Raises:
        InvalidParameterError: no such method or option, or an impossible value.
    """
    if isinstance(name, Method):
        if options:
            raise InvalidParameterError(
                f"the method is {name.name} with its own options, and {', '.join(options)} given "
                "beside it; expected one or the other"
            )
        return name
    kind = method_class(name)
    if name.startswith(PREFIX):  # whose class looks at Captum's own options
        options = {
            "objective": options.get("objective", "logit"),
            "options": {each: options[each] for each in options if each != "objective"},
        }
        return kind(**options)
    known = [field.name for field in fields(kind) if field.init]
    for option in options:
        if option not in known:
            near = get_close_matches(option, known, n=1)
            raise InvalidParameterError(
                f"{name} has no option {option!r}; "
                + (f"did you mean {near[0]}? " if near else "")
                + f"expected one of {', '.join(known)}"
            )
    return kind(**options)
