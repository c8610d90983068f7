"""What a job tells as JSON: numbers that JSON has not as well, and pictures as bytes beside it."""

import json
import math
from binascii import b2a_base64
from typing import Any


def encoded(data: dict[str, Any]) -> bytes:
    """An object, in which numbers that are not finite are ``null``.

    Their places, such as ``rows.1.effect``, and what they were are in it as ``not_finite``.
    """
    try:
        return _dumped(data)
    except ValueError:
        odd: dict[str, str] = {}
        return _dumped({**_finite(data, "", odd), "not_finite": odd})


def encoded_frames(frames: dict[str, Any]) -> list[bytes]:
    """Frames by name, each as :func:`encoded` has it, or several in a list.

    The ``pixels`` of a frame may be bytes, which JSON has not: the text is cut where they belong,
    so that every second part is such bytes, and the others are the JSON around them.
    """
    parts: list[bytes] = []
    text = bytearray()

    def put(value: Any) -> None:
        if isinstance(value, list | tuple):
            for index, one in enumerate(value):
                text.extend(b"," if index else b"[")
                put(one)
            text.extend(b"]" if value else b"[]")
            return
        pixels = value.get("pixels") if isinstance(value, dict) else None
        if not isinstance(pixels, bytes):
            text.extend(encoded(value) if isinstance(value, dict) else _dumped(value))
            return
        rest = encoded({name: one for name, one in value.items() if name != "pixels"})
        text.extend(rest[:-1] + (b"," if len(rest) > 2 else b"") + b'"pixels":')
        parts.extend((bytes(text), pixels))
        text[:] = b"}"

    for index, (name, one) in enumerate(frames.items()):
        text.extend((b"," if index else b"{") + _dumped(name) + b":")
        put(one)
    return [*parts, bytes(text) + (b"}" if frames else b"{}")]


def as_text(parts: list[bytes]) -> bytes:
    """Frames as one JSON text, with the pixels in base64."""
    return b"".join(
        b'"%b"' % b2a_base64(part, newline=False) if place % 2 else part
        for place, part in enumerate(parts)
    )


def as_places(parts: list[bytes]) -> tuple[bytes, bytes]:
    """Frames as JSON whose pixels are ``[place, count]``, and the bytes in which they lie there."""
    text, count = [], 0
    for place, part in enumerate(parts):
        if place % 2:
            text.append(b"[%d,%d]" % (count, len(part)))
            count += len(part)
        else:
            text.append(part)
    return b"".join(text), b"".join(parts[1::2])


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
