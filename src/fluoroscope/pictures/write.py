"""Tensors to picture files: PNG, and GIF with a caption under every frame."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from fluoroscope.errors import InvalidImagesError
from fluoroscope.files import atomic_path, user_path
from fluoroscope.pictures.display import said, said_at_length, shown
from fluoroscope.pictures.lettering import lettering

# The side that a frame of a GIF is brought near to: twice 128, nine times 28.
_FRAME = 256
_CAPTION_BACKGROUND = (24, 24, 27)
_CAPTION_INK = (250, 250, 250)
# Pixels that the colours of a GIF are chosen from.
_SAMPLED = 2**16
_EXACT = "The exact values of all channels are in the .safetensors file beside it."


def to_pil(image: Tensor) -> Image.Image:
    """An image ``(C, H, W)`` in ``[0, 1]``, grey or RGB, rounded to 8 bits.

    Raises:
        InvalidImagesError: neither 1 channel nor 3; see :mod:`.display`.
    """
    if len(image) not in (1, 3):
        raise InvalidImagesError(
            f"the picture has {len(image)} channels; expected 1 for grey or 3 for RGB"
        )
    levels = torch.round(image.detach().cpu().float() * 255).to(torch.uint8)
    array = levels.permute(1, 2, 0).numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def enlarged(image: Image.Image, side: int = 224) -> Image.Image:
    """A small picture blown up by a whole factor to about ``side``, its pixels left square."""
    factor = max(1, side // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def write_png(path: str | Path, image: Tensor | Image.Image) -> Path:
    """Save an image ``(C, H, W)`` in ``[0, 1]`` or a picture at its own size; atomic.

    Where not all channels can be shown the file says which are.
    """
    about = PngInfo()
    if isinstance(image, Tensor):
        if words := said_at_length(len(image)):
            about.add_text("Description", f"{words} {_EXACT}")
        image = to_pil(shown(image))
    with atomic_path(path) as draft:
        image.save(draft, format="PNG", pnginfo=about)
    return user_path(path)


def write_gif(
    path: str | Path,
    frames: Sequence[Tensor | Image.Image],
    captions: Sequence[str],
    *,
    seconds: float = 4.0,
    pause: float = 1.5,
) -> Path:
    """Save frames ``(C, H, W)``, or pictures, as an endless GIF with a caption under each; atomic.

    Args:
        path: where to.
        frames: at least one, all of one size.
        captions: one for each frame.
        seconds: length of the whole, without the pauses.
        pause: how long the first and the last frame stay.
    """
    which = said(len(frames[0])) if isinstance(frames[0], Tensor) else ""
    drawn = [
        enlarged(to_pil(shown(frame)), _FRAME) if isinstance(frame, Tensor) else frame
        for frame in frames
    ]
    pictures = [
        captioned(picture, f"{caption}\n{which}".strip())
        for picture, caption in zip(drawn, captions, strict=True)
    ]
    grey = all(picture.mode == "L" for picture in drawn)
    pictures = [one.convert("L") for one in pictures] if grey else _on_one_palette(pictures)
    # The format counts in hundredths of a second, and viewers slow down what is below two.
    each = max(20, round(1000 * seconds / len(pictures) / 10) * 10)
    durations = [each] * len(pictures)
    durations[0] = durations[-1] = round(1000 * pause)
    with atomic_path(path) as draft:
        pictures[0].save(
            draft,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=durations,
            loop=0,
        )
    return user_path(path)


def _on_one_palette(pictures: list[Image.Image]) -> list[Image.Image]:
    """The frames in the same 256 colours, so that what does not change does not flicker.

    They are chosen once, from some of the pixels of every frame.
    """
    width, height = pictures[0].size
    step = ceil((len(pictures) * width * height / _SAMPLED) ** 0.5)
    few = max(1, width // step), max(1, height // step)
    sampled = Image.new("RGB", (few[0], few[1] * len(pictures)))
    for number, picture in enumerate(pictures):
        sampled.paste(picture.resize(few, Image.Resampling.NEAREST), (0, few[1] * number))
    palette = sampled.quantize(256, method=Image.Quantize.MEDIANCUT)
    return [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]


def captioned(picture: Image.Image, caption: str) -> Image.Image:
    """The picture with a strip of text below it, its lines shortened to fit."""
    size = max(12, picture.width // 14)
    font = lettering(size)
    lines = caption.split("\n")
    strip = ceil(size * (0.4 + 1.4 * len(lines)))
    canvas = Image.new("RGB", (picture.width, picture.height + strip), _CAPTION_BACKGROUND)
    canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for number, text in enumerate(lines):
        while text and draw.textlength(text, font=font) > picture.width - size:
            text = text[:-2].rstrip("…") + "…" if len(text) > 2 else ""
        middle = picture.height + strip * (2 * number + 1) // (2 * len(lines))
        draw.text((picture.width // 2, middle), text, fill=_CAPTION_INK, font=font, anchor="mm")
    return canvas
