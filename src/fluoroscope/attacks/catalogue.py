"""What the attacks say of themselves, as it was written down: read without importing one of them.

``make catalogue`` writes ``catalogue.json`` from their classes.
"""

import json
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from fluoroscope.errors import InvalidParameterError

FILE = "catalogue.json"


@cache
def catalogue() -> dict[str, dict[str, Any]]:
    """By name what :func:`.registry.describe_attacks` says of each; treat it as read-only."""
    found = json.loads((files("fluoroscope.attacks") / FILE).read_text("utf-8"))
    return {one["name"]: one for one in found}


def check_attack(name: str) -> None:
    """Refuse a name, or names joined by ``|``, of which one is no attack's.

    Raises:
        InvalidParameterError: no such attack.
    """
    for one in name.split("|"):
        if one.strip() not in catalogue():
            raise no_attack(one.strip(), catalogue())


def no_attack(name: str, known: Iterable[str]) -> InvalidParameterError:
    """The error for a name that no attack has."""
    near = get_close_matches(name, known, n=1)
    return InvalidParameterError(
        f"there is no attack {name!r}; "
        + (f"did you mean {near[0]}? " if near else "")
        + f"expected one of {', '.join(known)}"
    )
