"""The child process that decodes pictures of strangers, and what it and its parent agree on.

``python -m fluoroscope.studio.uploads.decoding`` reads pictures from standard input and answers
each on standard output: a JSON header, then the values. It has neither PyTorch nor any file to
write to, and ends with its parent, whose end of the pipe closes.
"""

import json
import sys
from contextlib import suppress
from typing import IO, Any

from fluoroscope.errors import PictureError

MOST_BYTES = 20 * 2**20
"""Of a picture as it is sent."""
MOST_PIXELS = 30_000_000
"""Of a picture that is decoded; those of phones have 12."""
MOST_SIDE = 2048
"""The longer side of what is handed on; larger pictures are averaged down."""
MOST_MEMORY = 2 * 2**30
"""Bytes of address space of the child."""

_SIGNS: dict[str, tuple[tuple[int, bytes], ...]] = {
    "PNG": ((0, b"\x89PNG\r\n\x1a\n"),),
    "JPEG": ((0, b"\xff\xd8\xff"),),
    "WEBP": ((0, b"RIFF"), (8, b"WEBP")),
    "GIF": ((0, b"GIF8"),),
    "BMP": ((0, b"BM"),),
}
"""The formats that are taken, and the bytes by which each is known."""


def kind_of(data: bytes) -> str:
    """The format of a picture by its first bytes, whatever its file was called.

    Raises:
        PictureError: none of those that are taken.
    """
    for kind, signs in _SIGNS.items():
        if all(data[place : place + len(sign)] == sign for place, sign in signs):
            return kind
    raise PictureError(
        "the file is no picture that can be read here; expected a PNG, JPEG, WebP, GIF or BMP: "
        "save it as one of them"
    )


def pack(pipe: IO[bytes], data: "bytes | bytearray | memoryview") -> None:
    """Send bytes with their length before them."""
    pipe.write(len(data).to_bytes(8, "little"))
    pipe.write(data)
    pipe.flush()


def unpack(pipe: IO[bytes]) -> bytearray:
    """Receive bytes with their length before them.

    Raises:
        EOFError: the other side has ended.
    """
    length = pipe.read(8)
    if len(length) < 8:
        raise EOFError
    data = bytearray(int.from_bytes(length, "little"))
    rest = memoryview(data)
    while rest:
        count = pipe.readinto(rest)  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        rest = rest[count:]
    return data


def decoded(data: bytes) -> tuple[dict[str, Any], Any]:
    """The answer to one picture: a header, and its values as an array or nothing."""
    from fluoroscope.notices import collected

    with collected() as notes:
        try:
            values = _values(data, notes)
        except PictureError as problem:
            return {"problem": str(problem)}, b""
        except MemoryError:
            return {"problem": "the picture takes more memory than it may; make it smaller"}, b""
    return {"shape": values.shape, "notes": notes}, memoryview(values).cast("B")


def _values(data: bytes, notes: list[str]) -> Any:
    """The picture ``(3, H, W)`` in ``[0, 1]``, averaged down to what is handed on."""
    from fluoroscope.pictures.decode import check_size, damaged, open_picture, upright, values

    name = "the picture"
    with open_picture(data, name, (kind_of(data),), MOST_PIXELS) as image:
        check_size(image, name, MOST_PIXELS)
        size = image.size
        try:
            if max(size) > MOST_SIDE:
                # A JPEG is decoded at half its size or less where that leaves enough.
                image.draft(None, (MOST_SIDE // 2, MOST_SIDE // 2))
            found = values(upright(image), 3, name)
        except (PictureError, MemoryError):
            raise
        except Exception as error:
            raise damaged(name, error) from error
    small = _averaged(found)
    if max(size) > MOST_SIDE:
        height, width = small.shape[1:]
        notes.append(
            f"the picture was averaged down from {size[0]}×{size[1]} pixels to {width}×{height}"
        )
    return small


def _averaged(values: Any) -> Any:
    """Means of squares of pixels, so large that no side is longer than may be."""
    import numpy as np

    factor = -(-max(values.shape[1:]) // MOST_SIDE)
    if factor == 1:
        return values
    height, width = (max(1, side // factor) for side in values.shape[1:])
    rows, columns = (min(factor, side) for side in values.shape[1:])
    total = np.zeros((3, height, width), np.float32)
    for row in range(rows):
        for column in range(columns):
            total += values[:, row : height * rows : rows, column : width * columns : columns]
    return total / np.float32(rows * columns)


def _bounded() -> None:
    """No more memory than may be, no file, no core."""
    with suppress(ImportError):  # not on Windows, where the parent's watch on the time is left
        import resource

        for what, most in (("AS", MOST_MEMORY), ("FSIZE", 0), ("CORE", 0)):
            with suppress(ValueError, OSError):
                resource.setrlimit(getattr(resource, f"RLIMIT_{what}"), (most, most))


def main() -> None:
    """Answer one picture after another until the parent closes the pipe."""
    import fluoroscope.pictures.decode  # noqa: F401 - before the first picture comes

    _bounded()
    with suppress(EOFError, BrokenPipeError):
        while True:
            data = bytes(unpack(sys.stdin.buffer))
            header, values = decoded(data)
            pack(sys.stdout.buffer, json.dumps(header).encode())
            pack(sys.stdout.buffer, values)


if __name__ == "__main__":
    main()
