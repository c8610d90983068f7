"""The library's sentences as a page says them: no Python, minus signs, nothing in capitals."""

import re

_PYTHON = {
    "train=, the pictures that the network learnt from, and real=, others":
        "the pictures that the network learnt from, and others",
    "seeds= and second=, ": "the same pictures from other seeds, and ",
}  # fmt: skip


def without_python(words: str) -> str:
    """A sentence about what is needed, without the names of parameters."""
    for python, plain in _PYTHON.items():
        words = words.replace(python, plain)
    return re.sub(r"\b[a-z_]+=,? ", "", words)


def with_minus(words: str) -> str:
    """The same with a minus sign before numbers, where there is a hyphen."""
    return re.sub(r"(?<![\w.-])-(?=\d)", "−", words)


def spoken(words: str) -> str:
    """What is in capitals up to a colon, such as a warning, as a sentence begins."""
    warning, colon, rest = words.partition(": ")
    return f"{warning.capitalize()}{colon}{rest}" if colon and warning.isupper() else words
