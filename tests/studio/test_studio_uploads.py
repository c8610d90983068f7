"""Pictures that clients bring: as the library reads them, or refused before they cost anything."""

import io
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fluoroscope.errors import PictureError
from fluoroscope.notices import collected
from fluoroscope.pictures.read import read_picture
from fluoroscope.studio.refusals.problems import BusyError
from fluoroscope.studio.uploads import decoding, uploads
from fluoroscope.studio.uploads.uploads import Decoder, decode

COLOURS = np.random.default_rng(0).integers(0, 256, (31, 42, 3), dtype=np.uint8)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int) -> bytes:
    """The header of a grey picture of so many pixels, and no pixels."""
    made = encoded(Image.new("L", (1, 1)), "PNG")
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + made[24:29]
    return made[:12] + header + zlib.crc32(header).to_bytes(4, "big") + made[33:]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_picture_is_as_the_library_reads_it(kind: str) -> None:
    data = encoded(Image.fromarray(COLOURS), kind)
    assert torch.equal(decode(data), read_picture(data))


def test_deep_grey_transparency_and_orientation_are_kept() -> None:
    deep = Image.fromarray(COLOURS[..., 0].astype(np.uint16) * 257 + 3)
    clear = Image.fromarray(np.dstack([COLOURS, COLOURS[..., :1]]))
    turned = Image.Exif()
    turned[0x0112] = 6
    for data in (
        encoded(deep, "PNG"),
        encoded(clear, "PNG"),
        encoded(Image.fromarray(COLOURS), "JPEG", exif=turned),
    ):
        with collected() as notes:
            found = decode(data)
        with collected() as own:
            expected = read_picture(data)
        assert torch.equal(found, expected)
        assert notes == own


def test_what_a_file_is_called_or_says_first_is_not_what_it_is() -> None:
    for kind in ("TIFF", "PPM", "ICO"):
        with pytest.raises(PictureError, match="expected a PNG, JPEG, WebP, GIF or BMP"):
            decode(encoded(Image.fromarray(COLOURS), kind))
    with pytest.raises(PictureError, match="empty"):
        decode(b"")
    # Another format behind the first bytes of one that is taken.
    with pytest.raises(PictureError):
        decode(b"\xff\xd8\xff" + encoded(Image.fromarray(COLOURS), "PNG"))


def test_too_many_pixels_are_refused_by_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [png(5_001, 6_000), png(60_000, 60_000)]
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("the pixels were decoded"))
    for data in files:
        header, values = decoding.decoded(data)
        assert "more than 30 million pixels" in header["problem"]
        assert values == b""


def test_too_many_bytes_are_not_even_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "kind_of", lambda *_: pytest.fail("the bytes were looked at"))
    with pytest.raises(PictureError, match=r"20\.0 MiB; expected at most 20"):
        decode(bytes(decoding.MOST_BYTES + 1))


def test_a_large_picture_is_averaged_down_and_that_is_told() -> None:
    wide = np.zeros((40, 4100, 3), np.uint8)
    wide[:, ::3] = 255
    with collected() as notes:
        found = decode(encoded(Image.fromarray(wide), "PNG"))
    squares = torch.from_numpy(wide[:39, :4098].astype(np.float32) / 255).permute(2, 0, 1)
    slow = squares.reshape(3, 13, 3, 1366, 3).mean((2, 4))
    assert torch.allclose(found, slow, atol=1e-6)
    assert notes == ["the picture was averaged down from 4100×40 pixels to 1366×13"]


def test_a_decoder_that_ends_or_hangs_is_replaced() -> None:
    data, decoder = encoded(Image.fromarray(COLOURS), "PNG"), Decoder(seconds=20)
    try:
        first = decoder.decode(data)
        assert decoder._child is not None
        decoder._child.kill()
        decoder._child.wait()
        assert torch.equal(decoder.decode(data), first)  # a new one was there in time
        child = decoder._child
        decoder._seconds = 0.0
        large = encoded(Image.effect_noise((2000, 2000), 90), "PNG")  # takes longer for certain
        with pytest.raises(PictureError, match="takes longer"):
            decoder.decode(large)
        assert child.poll() is not None
        decoder._seconds = 20
        assert torch.equal(decoder.decode(data), first)
    finally:
        decoder.close()


def test_only_so_many_pictures_wait() -> None:
    decoder = Decoder()
    refused: list[BusyError] = []

    def ask() -> None:
        try:
            decoder.decode(encoded(Image.fromarray(COLOURS), "PNG"))
        except BusyError as problem:
            refused.append(problem)

    with decoder._turn:  # one is being decoded
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        while len(refused) < 3:
            time.sleep(0.01)
    for thread in threads:
        thread.join()
    decoder.close()
    assert len(refused) == 3


def test_the_child_knows_bounds_and_no_pytorch() -> None:
    decoder = Decoder()
    decoder.decode(encoded(Image.fromarray(COLOURS), "PNG"))
    child = decoder._child
    assert child is not None
    try:
        limits = Path(f"/proc/{child.pid}/limits").read_text().splitlines()
        bounds = {line[:25].strip(): line[25:].split()[0] for line in limits}
        assert bounds["Max address space"] == str(decoding.MOST_MEMORY)
        assert bounds["Max file size"] == "0"
        assert "libtorch" not in Path(f"/proc/{child.pid}/maps").read_text()
    except FileNotFoundError:
        pytest.skip("no /proc here")
    finally:
        decoder.close()
