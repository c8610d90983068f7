"""What is wrong with the fields of a request: which, what was given, and what would do."""

import json
from collections.abc import Mapping, Sequence, Sized
from typing import Any

_SAID = 3
"""Faults that are told at once."""
_LONGEST = 60
"""Signs of a value that is shown."""

_WANTED: dict[str, str] = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "bytes_type": "bytes",
    "dict_type": "a JSON object",
    "finite_number": "a number that is finite",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number that is not so large",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_attributes_type": "a JSON object",
    "model_type": "a JSON object",
    "none_required": "null",
    "string_type": "text",
    "string_unicode": "text in UTF-8",
    "tuple_type": "a list",
}
"""Of kinds of faults, what would have been right."""

_BOUNDS: dict[str, tuple[str, str]] = {
    "greater_than": ("gt", "more than {}"),
    "greater_than_equal": ("ge", "at least {}"),
    "less_than": ("lt", "less than {}"),
    "less_than_equal": ("le", "at most {}"),
    "multiple_of": ("multiple_of", "a multiple of {}"),
    "literal_error": ("expected", "{}"),
    "enum": ("expected", "{}"),
    "string_pattern_mismatch": ("pattern", "text like {}"),
}
_LENGTHS: dict[str, tuple[str, str, str]] = {
    "string_too_long": ("max_length", "characters", "at most"),
    "string_too_short": ("min_length", "characters", "at least"),
    "too_long": ("max_length", "entries", "at most"),
    "too_short": ("min_length", "entries", "at least"),
}


def sentence(faults: Sequence[Mapping[str, Any]], body: Any) -> str:
    """One sentence about the first few of what validation found."""
    told = list(dict.fromkeys(_told(one, body) for one in faults))
    more = len(told) - _SAID
    words = "; ".join(told[:_SAID])
    return f"{words}; and {more} more" if more > 0 else words


def _told(one: Mapping[str, Any], body: Any) -> str:
    kind, given, context = one["type"], one.get("input"), one.get("ctx") or {}
    name = _name(one["loc"], body)
    if kind == "json_invalid":
        return "the request is no JSON; expected a JSON object in UTF-8"
    if kind == "missing" and one["loc"] == ("body",):
        return "the request has no body; expected a JSON object"
    if kind == "missing":
        return f"{name} is missing; expected it in the request"
    if kind == "extra_forbidden":
        return f"{name} is not known here; leave it out"
    if kind == "union_tag_not_found":
        return "kind is missing; expected the kind of a job, such as morph"
    if kind == "union_tag_invalid":
        return f"kind is {_shown(context.get('tag'))}; expected {context.get('expected_tags')}"
    if kind in _WANTED:
        return f"{name} is {_shown(given)}; expected {_WANTED[kind]}"
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{name} is {_shown(given)}; expected {words.format(context.get(key))}"
    if kind in _LENGTHS:
        key, what, bound = _LENGTHS[kind]
        have = len(given) if isinstance(given, Sized) else "other"
        return f"{name} has {have} {what}; expected {bound} {context.get(key)}"
    return f"{name} is {_shown(given)}: {str(one['msg']).removeprefix('Value error, ')}"


def _name(place: Sequence[Any], body: Any) -> str:
    """The field as the client calls it: ``eps``, or ``methods.2``."""
    where, *rest = place
    # Where requests are of several kinds, the kind stands before the field.
    if where == "body" and len(rest) > 1 and isinstance(body, dict) and body.get("kind") == rest[0]:
        rest = rest[1:]
    return ".".join(str(part) for part in rest)[:_LONGEST] or "the request"


def _shown(value: Any) -> str:
    """A value as it was sent, and no more of it than can be read."""
    try:
        words = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        words = repr(value)
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"
