"""The shapes of what several doors take and answer."""

import base64
import binascii
from typing import Annotated, Any

import torch
from pydantic import BaseModel, BeforeValidator, Field
from torch import Tensor

from fluoroscope.errors import InvalidImagesError


def _in_base64(pixels: Any) -> Any:
    return base64.b64encode(pixels).decode("ascii") if isinstance(pixels, bytes) else pixels


Channels = Annotated[int, Field(ge=1, le=3, description="1 for grey, 3 for colour.")]


class Frame(BaseModel):
    """A picture: 8-bit values, rows from the top, channels last, in base64."""

    width: int
    height: int
    channels: Channels
    pixels: Annotated[str, BeforeValidator(_in_base64)]


class Drawing(BaseModel):
    """A picture that a client made, as exact 8-bit values."""

    width: int = Field(ge=1, le=512)
    height: int = Field(ge=1, le=512)
    channels: Channels
    pixels: str = Field(
        max_length=4 * 512 * 512,
        description="8-bit values, rows from the top, channels last, in base64.",
    )

    def picture(self) -> Tensor:
        """It as ``(C, H, W)`` in ``[0, 1]``.

        Raises:
            InvalidImagesError: other values than its sides and channels say.
        """
        try:
            values = base64.b64decode(self.pixels, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidImagesError(
                "the pixels of the drawing are no base64; expected 8-bit values in base64"
            ) from None
        shape = self.height, self.width, self.channels
        if self.channels == 2 or len(values) != self.height * self.width * self.channels:
            raise InvalidImagesError(
                f"the drawing has {len(values)} values for {self.width}×{self.height} pixels of "
                f"{self.channels} channels; expected one for each pixel and channel, of grey or "
                "colour"
            )
        levels = torch.frombuffer(bytearray(values), dtype=torch.uint8).reshape(shape)
        return levels.permute(2, 0, 1).float().contiguous() / 255


class Named(BaseModel):
    """A picture that jobs may speak of from now on."""

    name: str
    width: int
    height: int
    notes: list[str] = []
    """What is to be said of how it was read."""
