"""What a job tells as JSON: numbers that JSON has not as well, and pictures unread."""

import json
import math
from typing import Any


class Base64(str):
    """Base64, which stands in JSON as it is: no character of it has to be looked at.

    That is what telling a frame of 224 x 224 pixels mostly costs otherwise.
    """

    __slots__ = ()


def encoded(data: dict[str, Any]) -> bytes:
    """An object, in which numbers that are not finite are ``null``.

    Their places, such as ``rows.1.effect``, and what they were are in it as ``not_finite``.
    """
    try:
        return _dumped(data)
    except ValueError:
        odd: dict[str, str] = {}
        return _dumped({**_finite(data, "", odd), "not_finite": odd})


def encoded_frames(frames: dict[str, Any]) -> bytes:
    """Frames by name, each as :func:`encoded` has it, or several in a list."""
    rows = (b"%b:%b" % (_dumped(name), _frame(one)) for name, one in frames.items())
    return b"{%b}" % b",".join(rows)


def _frame(frame: Any) -> bytes:
    if isinstance(frame, list | tuple):
        return b"[%b]" % b",".join(map(_frame, frame))
    if not isinstance(frame, dict):
        return _dumped(frame)
    pixels = frame.get("pixels")
    if not isinstance(pixels, Base64):
        return encoded(frame)
    rest = encoded({name: value for name, value in frame.items() if name != "pixels"})
    comma = b"," if len(rest) > 2 else b""
    return b'%b%b"pixels":"%b"}' % (rest[:-1], comma, pixels.encode("ascii"))


def _dumped(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def _finite(value: Any, where: str, odd: dict[str, str]) -> Any:
    """The same with ``None`` for what is no number or endless, noted in ``odd`` by its place."""
    if isinstance(value, dict):
        return {key: _finite(one, f"{where}.{key}" if where else str(key), odd)
                for key, one in value.items()}  # fmt: skip
    if isinstance(value, list | tuple):
        return [_finite(one, f"{where}.{index}", odd) for index, one in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        odd[where] = str(value)
        return None
    return value
