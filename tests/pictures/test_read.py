"""Every kind of picture file comes out right, and what is none is refused in one line."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from fluoroscope.errors import InvalidParameterError, PictureError, UnknownDataError
from fluoroscope.files import missing_file
from fluoroscope.pictures import read
from fluoroscope.pictures.read import picture_suffixes, read_picture


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG by hand: any depth and colour type, any size in the header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def colours(height: int = 2, width: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    """Slow and plain: value by value."""
    height, width, channels = pixels.shape
    image = torch.empty(channels, height, width)
    for row in range(height):
        for column in range(width):
            for channel in range(channels):
                image[channel, row, column] = float(pixels[row, column, channel]) / 255
    return image


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])),
    )
)
def test_any_8_bit_picture_saved_as_png_reads_back_exactly(pixels: np.ndarray) -> None:
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    back = read_picture(encoded(image), channels=pixels.shape[2])
    assert back.dtype == torch.float32
    assert back.is_contiguous()
    assert torch.equal(back, as_tensor(pixels))


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """What the EXIF standard says row 0 and column 0 of the stored picture are, pixel by pixel."""
    height, width = image.shape[:2]
    top_or_left = {  # orientation: where the stored row 0 and the stored column 0 belong
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("left", "top"),
        6: ("right", "top"),
        7: ("right", "bottom"),
        8: ("left", "bottom"),
    }
    row_side, column_side = top_or_left[orientation]
    swapped = row_side in ("left", "right")
    seen = np.zeros((width, height, 3) if swapped else (height, width, 3), np.uint8)
    for row in range(height):
        for column in range(width):
            down, across = (column, row) if swapped else (row, column)
            if "bottom" in (row_side, column_side):
                down = seen.shape[0] - 1 - down
            if "right" in (row_side, column_side):
                across = seen.shape[1] - 1 - across
            seen[down, across] = image[row, column]
    return seen


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    stored = colours()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    file = encoded(Image.fromarray(stored), kind, exif=exif, **options)
    assert torch.equal(read_picture(file), as_tensor(turned(stored, orientation)))


def test_a_turned_jpeg_is_the_plain_one_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(colours(16, 24))
    plain = read_picture(encoded(image, "JPEG"))
    assert torch.equal(
        read_picture(encoded(image, "JPEG", exif=exif)), plain.rot90(-1, dims=(1, 2))
    )


def test_a_damaged_exif_block_costs_only_the_orientation() -> None:
    image = Image.fromarray(colours(16, 24))
    file = encoded(image, "JPEG", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff\x00\x01\x02")
    assert torch.equal(read_picture(file), read_picture(encoded(image, "JPEG")))


DEEP = np.array([[0, 1, 255], [256, 40000, 65535]], np.uint16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_grey_is_divided_by_65535(kind: str, channels: int) -> None:
    expected = torch.from_numpy(DEEP.astype(np.float32)) / 65535
    image = read_picture(encoded(Image.fromarray(DEEP), kind), channels)
    assert torch.equal(image, expected.expand(channels, -1, -1))


def test_big_endian_16_bit_tiff_is_divided_by_65535() -> None:
    image = Image.fromarray(DEEP.astype(">u2"))
    assert image.mode == "I;16B"
    expected = torch.from_numpy(DEEP.astype(np.float32)) / 65535
    assert torch.equal(read_picture(encoded(image, "TIFF"), 1)[0], expected)


@pytest.mark.parametrize(("colour", "samples"), [(2, 3), (4, 2), (6, 4)])
def test_16_bit_colour_and_alpha_keep_their_scale(colour: int, samples: int) -> None:
    deep = np.full((2, 2, samples), 65535, ">u2")
    deep[:, :, : 3 if samples > 2 else 1] = 32768
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    image = read_picture(png(2, 2, 16, colour, rows))
    assert torch.allclose(image, torch.full((3, 2, 2), 32768 / 65535), atol=1 / 255)


def test_a_float_tiff_in_range_is_taken_as_it_is() -> None:
    values = np.array([[0.0, 0.25, 1.0]], np.float32)
    assert torch.equal(
        read_picture(encoded(Image.fromarray(values), "TIFF"), 1)[0], torch.from_numpy(values)
    )
    with pytest.raises(PictureError, match=r"floats from 0 to 2; expected \[0, 1\]"):
        read_picture(encoded(Image.fromarray(values * 2), "TIFF"))


def test_32_bit_integers_beyond_16_bits_are_refused() -> None:
    values = np.array([[0, 70000]], np.int32)
    with pytest.raises(PictureError, match="integers from 0 to 70000; expected 16 bits"):
        read_picture(encoded(Image.fromarray(values), "TIFF"))


def test_one_bit_becomes_black_and_white() -> None:
    bits = np.array([[True, False, True]])
    image = read_picture(encoded(Image.fromarray(bits)))
    assert torch.equal(image, torch.tensor([[[1.0, 0.0, 1.0]]] * 3))


def test_few_bit_grey_reaches_white() -> None:
    image = read_picture(png(4, 1, 2, 0, b"\0" + bytes([0b00011011])), 1)
    assert torch.allclose(image.flatten(), torch.tensor([0, 1, 2, 3]) / 3)


def on_white(colour: tuple[int, int, int], alpha: int) -> torch.Tensor:
    opacity = alpha / 255
    return torch.tensor([(value * opacity + 255 * (1 - opacity)) / 255 for value in colour])


@pytest.mark.parametrize("alpha", [0, 1, 100, 254, 255])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_alpha_is_laid_on_white(alpha: int, kind: str) -> None:
    colour = (200, 10, 0)
    image = read_picture(encoded(Image.new("RGBA", (2, 1), (*colour, alpha)), kind))
    assert torch.allclose(image[:, 0, 0], on_white(colour, alpha), atol=1 / 255)
    grey = read_picture(encoded(Image.new("LA", (2, 1), (40, alpha)), kind), 1)
    assert torch.allclose(grey[0, 0, 0], on_white((40, 40, 40), alpha)[0], atol=1 / 255)


def test_a_palette_gives_its_colours() -> None:
    pixels = colours(1, 3)
    image = Image.fromarray(pixels).quantize(8)
    assert image.mode == "P"
    assert torch.equal(read_picture(encoded(image)), as_tensor(np.asarray(image.convert("RGB"))))


def test_a_transparent_palette_entry_is_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    expected = as_tensor(np.array([[[255, 255, 255], [200, 100, 50]]], np.uint8))
    assert torch.equal(read_picture(encoded(image, transparency=0)), expected)
    assert torch.equal(read_picture(encoded(image, transparency=b"\x00\xff")), expected)
    assert torch.equal(read_picture(encoded(image, "GIF", transparency=0)), expected)


def test_a_transparent_colour_of_an_rgb_png_is_white() -> None:
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    file = encoded(image, transparency=(1, 2, 3))
    expected = as_tensor(np.array([[[255, 255, 255], [4, 5, 6]]], np.uint8))
    assert torch.equal(read_picture(file), expected)


def test_cmyk_becomes_rgb() -> None:
    for ink, colour in [((0, 255, 255, 0), (1, 0, 0)), ((0, 0, 0, 255), (0, 0, 0))]:
        for kind in ("JPEG", "TIFF"):
            file = encoded(Image.new("CMYK", (8, 8), ink), kind)
            expected = torch.tensor(colour, dtype=torch.float32)
            assert torch.allclose(read_picture(file)[:, 4, 4], expected, atol=4 / 255)


def test_colour_becomes_grey_by_luma_and_grey_becomes_colour() -> None:
    red = read_picture(encoded(Image.new("RGB", (1, 1), (255, 0, 0))), 1)
    assert red.shape == (1, 1, 1)
    assert red.item() == pytest.approx(0.299, abs=1 / 255)
    grey = read_picture(encoded(Image.new("L", (1, 1), 51)))
    assert torch.equal(grey, torch.full((3, 1, 1), 51) / 255)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if kind == "WEBP" else {}
    file = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert torch.equal(read_picture(file)[:, 0, 0], torch.tensor([1.0, 0.0, 0.0]))


def test_a_phones_double_picture_gives_the_first() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("white", "black")]
    file = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert torch.equal(read_picture(file), torch.ones(3, 16, 16))


def test_a_pillow_image_is_read_and_left_open(tmp_path: Path) -> None:
    pixels = colours()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert torch.equal(read_picture(image), as_tensor(pixels))
        assert image.getpixel((0, 0)) == tuple(pixels[0, 0])


def test_reading_warns_of_nothing_and_leaves_no_file_open(tmp_path: Path) -> None:
    Image.fromarray(colours()).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:-40])
    (tmp_path / "c.png").write_bytes(b"text")
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_picture(tmp_path / "a.png")
        for name in ("b.png", "c.png"):
            with pytest.raises(PictureError):
                read_picture(tmp_path / name)
    assert [str(one.message) for one in caught] == []
    assert warnings.filters == before


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(kind: str, share: float, tmp_path: Path) -> None:
    whole = encoded(Image.fromarray(colours(64, 64)), kind)
    path = tmp_path / "cut.png"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(PictureError, match=r"cut\.png") as caught:
        read_picture(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no picture at all")
    empty = tmp_path / "empty.png"
    empty.touch()
    with pytest.raises(PictureError, match=r"text\.jpg is no picture.* expected a PNG"):
        read_picture(text)
    with pytest.raises(PictureError, match=r"empty\.png is empty \(0 bytes\)"):
        read_picture(empty)
    with pytest.raises(PictureError, match="the picture is empty"):
        read_picture(b"")
    with pytest.raises(PictureError, match="photo 3 is no picture"):
        read_picture(b"text", name="photo 3")
    with pytest.raises(PictureError, match=f"{tmp_path.name} cannot be read"):
        read_picture(tmp_path)


def test_0_pixels_are_refused() -> None:
    with pytest.raises(PictureError, match=r"0 pixels \(0×5\)"):
        read_picture(Image.new("RGB", (0, 5)))
    with pytest.raises(PictureError):
        read_picture(png(0, 5, 8, 0, b""))


@pytest.mark.parametrize("size", [(10_000, 10_001), (7_100, 7_100), (50_000, 50_000)])
def test_a_bomb_is_refused_from_its_header(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("the pixels were decoded"))
    monkeypatch.setattr(read, "values", lambda *_: pytest.fail("the pixels were decoded"))
    with (
        warnings.catch_warnings(action="error"),
        pytest.raises(PictureError, match="more than 50 million pixels"),
    ):
        read_picture(png(*size, 8, 0, b""))


def test_49_million_pixels_pass_the_header() -> None:
    with pytest.raises(PictureError, match="cannot be read"):
        read_picture(png(7_000, 7_000, 8, 0, b""))  # the pixels themselves are missing


def test_a_missing_file_is_named_with_its_nearest_neighbours(tmp_path: Path) -> None:
    (tmp_path / "panda.jpg").touch()
    with pytest.raises(UnknownDataError, match=r"pnada\.jpg does not exist \(did you mean .*panda"):
        read_picture(tmp_path / "pnada.jpg")
    with pytest.raises(UnknownDataError, match="nor does the folder"):
        read_picture(tmp_path / "nowhere" / "panda.jpg")
    with pytest.raises(UnknownDataError, match="nor does the folder"):
        read_picture(tmp_path / "panda.jpg" / "panda.jpg")
    assert "did you mean" not in str(missing_file(tmp_path / "zzz"))


def test_other_numbers_of_channels_are_never_made_up(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match="channels is 0"):
        read_picture(encoded(Image.new("RGB", (1, 1))), channels=0)
    with pytest.raises(PictureError, match=r"has 3 channels \(RGB\); expected 4"):
        read_picture(encoded(Image.new("RGB", (1, 1))), channels=4)
    four = np.random.default_rng(0).integers(0, 256, (2, 3, 4), dtype=np.uint8)
    read = read_picture(encoded(Image.fromarray(four, "RGBA")), channels=4)
    assert torch.equal((read * 255).round().byte(), torch.from_numpy(four).movedim(-1, 0))
    frames = [Image.fromarray(four[..., n].copy()) for n in range(4)] + [Image.new("L", (3, 2), 9)]
    frames[0].save(tmp_path / "bands.tif", save_all=True, append_images=frames[1:])
    bands = read_picture(tmp_path / "bands.tif", channels=5)
    assert torch.equal((bands[1] * 255).round().byte(), torch.from_numpy(four[..., 1]))
    assert (bands[4] * 255).round().unique().tolist() == [9]


def test_an_array_in_a_file_tells_its_channels(tmp_path: Path) -> None:
    for shape in ((13, 16, 15), (16, 15, 13)):
        np.save(tmp_path / "1.npy", np.ones(shape, np.float32))
        with pytest.raises(
            PictureError, match=r"or height×width×3 \(channels=13 reads it as it is"
        ):
            read_picture(tmp_path / "1.npy")


def test_arrays_in_files(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((13, 4, 5), dtype=np.float32)
    np.save(tmp_path / "first.npy", values)
    np.save(tmp_path / "last.npy", np.moveaxis((values * 255).round().astype(np.uint8), 0, -1))
    expected = torch.from_numpy(values)
    assert torch.equal(read_picture(tmp_path / "first.npy", 13), expected)
    assert torch.allclose(read_picture(tmp_path / "last.npy", 13), expected, atol=2e-3)
    np.save(tmp_path / "wide.npy", values * 3)
    np.save(tmp_path / "words.npy", np.array([["a"]], object), allow_pickle=True)
    np.save(tmp_path / "signed.npy", np.ones((13, 2, 2), np.int16))
    np.save(tmp_path / "deep.npy", np.full((13, 2, 2), 9000, np.uint16))
    (tmp_path / "short.npy").write_bytes((tmp_path / "first.npy").read_bytes()[:-9])
    for name, message in {
        "first": "holds an array of 13×4×5; expected 3×height",
        "wide": "holds values from",
        "words": "cannot be read",
        "signed": "holds int16; expected 8-bit values or floats",
        "deep": r"holds uint16; expected 8-bit values or floats in .*: divide them by the top",
        "short": "cannot be read",
        "none": "does not exist",
    }.items():
        channels = 3 if name == "first" else 13
        with pytest.raises((PictureError, UnknownDataError), match=message) as caught:
            read_picture(tmp_path / f"{name}.npy", channels)
        assert "\n" not in str(caught.value)


def test_what_would_hang_is_not_opened(tmp_path: Path) -> None:
    for name in ("pipe.png", "pipe.npy"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(PictureError, match="is a pipe, socket or device"):
            read_picture(tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(PictureError, match="cannot be read"):
        read_picture(tmp_path / "folder.png")


def test_usual_endings_are_known_and_postscript_is_not() -> None:
    assert {".png", ".jpg", ".jpeg", ".webp", ".tif", ".gif", ".bmp"} <= picture_suffixes()
    assert not {".eps", ".ps", ".wmf", ".pdf"} & picture_suffixes()
