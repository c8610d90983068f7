"""The names of a network's classes, and finding one by what a person types."""

import operator
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import SupportsIndex

from fluoroscope.errors import UnknownLabelError
from fluoroscope.models.matching import fold
from fluoroscope.models.wording import suggestion
from fluoroscope.notices import tell

NONE_OF_THESE = "none of these"
"""The last class of a network that learnt to exclude what is none of its others."""


def find_class(wanted: str | SupportsIndex, labels: Sequence[str]) -> int:
    """The index of the class a person means: an index, a whole name or the beginning of just one.

    Names are compared without case and underscores. A label that lists synonyms ("tabby, tabby
    cat") answers to each of them, but a class whose whole label is the name comes first, and before
    that the one spelled the same. A beginning is told of, and one that ends within a word stands
    back behind names that have it as a word: "cat" is no catamaran where there are cats. A number
    is first looked for among the names, then taken as an index.

    Raises:
        UnknownLabelError: no class or several classes fit; the message lists the nearest.
    """
    if not isinstance(wanted, str):
        return _checked_index(operator.index(wanted), len(labels))
    found = _matches(wanted.strip(), labels)
    if len(found) == 1:
        if labels[found[0]] != wanted and fold(wanted) not in _names(labels[found[0]]):
            tell(f"{wanted!r} is taken as {labels[found[0]]!r}", stacklevel=2)
        return found[0]
    if found:
        some = ", ".join(f"{index} ({labels[index]})" for index in found[:6])
        more = f" and {len(found) - 6} more" if len(found) > 6 else ""
        raise UnknownLabelError(
            f"label {wanted!r} fits several classes: {some}{more}; give the whole name or the index"
        )
    if wanted.strip().isdecimal():
        return _checked_index(int(wanted), len(labels))
    raise UnknownLabelError(
        f"no class is called {wanted!r}; {_nearest(wanted, labels)}expected {_expected(labels)}"
    )


def _checked_index(index: int, count: int) -> int:
    if not 0 <= index < count:
        raise UnknownLabelError(
            f"class {index} does not exist; expected an index from 0 to {count - 1}"
        )
    return index


def _matches(wanted: str, labels: Sequence[str]) -> list[int]:
    spelled = [index for index, label in enumerate(labels) if label == wanted]
    if len(spelled) == 1 or not wanted:
        return spelled
    query = fold(wanted)
    names = [_names(label) for label in labels]
    whole = [index for index, known in enumerate(names) if query == known[0]]
    synonym = [index for index, known in enumerate(names) if query in known]
    if whole or synonym or query.isdecimal():
        return whole or synonym
    begun = [i for i, known in enumerate(names) if any(name.startswith(query) for name in known)]
    word = re.compile(rf"(?<!\w){re.escape(query)}(?!\w)")
    words = [i for i, known in enumerate(names) if begun and any(map(word.search, known))]
    return words or begun


def _names(label: str) -> list[str]:
    return [fold(name) for name in (label, *label.split(","))]


def _nearest(wanted: str, labels: Sequence[str]) -> str:
    query = fold(wanted)
    classes = {name: index for index, label in enumerate(labels) for name in _names(label)}
    inside = [name for name in classes if len(query) > 2 and query in name]
    names = [*inside[:3], *get_close_matches(query, classes, n=3)][:3]
    return suggestion(labels[index] for index in dict.fromkeys(classes[name] for name in names))


def _expected(labels: Sequence[str]) -> str:
    if len(labels) <= 12:
        return f"one of: {'; '.join(labels)}"
    return f"a label, a prefix of only one, or an index from 0 to {len(labels) - 1}"


def printable(label: object) -> str:
    """A label as one line of text: labels come from strangers and end up on terminals."""
    return "".join(sign if sign.isprintable() else " " for sign in str(label)).strip()
