"""Which attacks a network can be attacked by, with which parameters, and how large these may be."""

from dataclasses import MISSING, fields
from functools import cache
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from torch import Tensor

from fluoroscope.attacks.attack import Method, as_plain
from fluoroscope.attacks.parts import other_pictures, search_length
from fluoroscope.attacks.registry import ATTACKS, describe_attacks
from fluoroscope.errors import FluoroscopeError, InvalidParameterError
from fluoroscope.models.invertible.backwards import invertible_in
from fluoroscope.studio.kinds.reading import check_gradient, usual_bounds

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.studio.studio import Studio

_LENGTHS = "steps", "queries", "generations", "epochs", "rounds"
"""Parameters that say how long a search goes on, and not how much it does at once."""
MOST_STEPS = 100_000
_MOST_AT_ONCE = 20
"""Times its default that another whole number may be."""
_OWN = {"one-pixel": {"l0": "1"}}
"""Bounds that are an attack's own."""


def check_size(name: str, given: dict[str, Any]) -> None:
    """Refuse numbers with which an attack would take all memory, or no end.

    Raises:
        InvalidParameterError: one is too large, or holds pictures.
    """
    for link in map(str.strip, name.split("|")):
        if link not in ATTACKS:
            continue  # its own refusal names the others
        known = {field.name for field in fields(ATTACKS[link])}  # type: ignore[arg-type]
        stated = _parameters(link)
        for parameter, value in given.items():
            if parameter in known - stated.keys():
                raise InvalidParameterError(
                    f"{parameter} holds pictures, which cannot be written down; expected others, "
                    "the name of a data set, or nothing"
                )
            default = stated.get(parameter, (None, ()))[0]
            most = MOST_STEPS
            if parameter not in _LENGTHS:
                most = _MOST_AT_ONCE * default if isinstance(default, int) and default else 1000
            if isinstance(value, int) and value > most:
                raise InvalidParameterError(
                    f"{parameter} is {value}, too many for the studio; expected at most {most}: "
                    "use the command line for more"
                )


def offer(studio: "Studio", model: "Classifier") -> dict[str, Any]:
    """Every attack with what it takes, or why it does not work on this network."""
    bounds = usual_bounds(studio, model)
    found = []
    for told in describe_attacks():
        name = told["name"]
        kind, stated = ATTACKS[name], _parameters(name)
        eps = {norm: {**bounds, **_OWN.get(name, {})}.get(norm) for norm in kind.norms}
        held = other_pictures(name)
        found.append(
            {
                **{key: told[key] for key in ("name", "family", "access", "norms", "paper")},
                **{key: told[key] for key in ("minimum_norm", "can_target", "cost")},
                "summary": " ".join(told["summary"].replace("``", "").split()),
                "eps": {} if kind.minimum_norm else eps,
                "parameters": {one: default for one, (default, _) in stated.items()},
                "choices": {one: list(words) for one, (_, words) in stated.items() if words},
                "others": _others(held),
                "why_not": _why_not(studio, model, kind),
            }
        )
    return {"attacks": found}


def expected_steps(method: Method) -> int:
    """How many steps a search has that finds nothing, as far as its parameters say."""
    return sum(search_length(link) for link in getattr(method, "attacks", (method,)))


def _others(held: tuple[str, ...]) -> str:
    """Whether an attack takes pictures of another data set."""
    if not held:
        return "no"
    return {"starts": "towards a class", "pool": "must", "guides": "must"}[held[0]]


def _why_not(studio: "Studio", model: "Classifier", kind: type[Method]) -> str | None:
    try:
        if kind.access == "gradient":
            check_gradient(studio, model)
        elif kind.access == "inverse":
            invertible_in(model, "this attack")
    except FluoroscopeError as problem:
        return str(problem)
    return None


@cache
def _parameters(name: str) -> dict[str, tuple[Any, tuple[str, ...]]]:
    """An attack's own that can be written down: not those that hold pictures. Of each its default
    and, where it is one of several words, these.
    """
    kind, found = ATTACKS[name], {}
    hints = get_type_hints(kind)
    for field in fields(kind):  # type: ignore[arg-type]
        hint = hints[field.name]
        if field.name == "threat" or Tensor in get_args(hint):
            continue
        words = tuple(
            word
            for part in (hint, *get_args(hint))
            for word in get_args(part)
            if isinstance(word, str)
        )
        found[field.name] = as_plain(None if field.default is MISSING else field.default), words
    return found
