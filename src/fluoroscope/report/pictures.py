"""Pictures as data URIs: small ones exact, large ones as WebP."""

import base64
import io
from typing import Any

from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from fluoroscope.pictures.display import said_at_length, shown
from fluoroscope.pictures.maps import signed_map
from fluoroscope.pictures.write import to_pil
from fluoroscope.report.blocks import Block, Text

# The longer side of a picture on the page; larger ones are scaled down to it.
LARGEST = 224
# Up to this side a picture is shown pixel by pixel and kept exactly.
_SMALL = 96
# The longer side of a map.
_MAP = 112


def uri(image: Tensor | Image.Image, largest: int = LARGEST) -> str:
    """An image ``(C, H, W)`` in ``[0, 1]`` or a picture, to stand in a page."""
    picture = image if isinstance(image, Image.Image) else to_pil(shown(image))
    small = max(picture.size) <= _SMALL
    if max(picture.size) > largest:
        picture.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    if small:
        return _data(picture, "png", optimize=True)
    return _data(picture, "webp", quality=82, method=4)


def which_channels(channels: int) -> list[Block]:
    """What to say above pictures that show but some of their channels."""
    words = said_at_length(channels)
    return (
        [Text(f"{words} Maps of changes and gradients add up all of them.", "note")]
        if words
        else []
    )


def signed_uri(values: Tensor) -> str:
    """A signed ``(C, H, W)`` in colours, white where it is zero; see :func:`.maps.signed_map`.

    Large ones are the means of small blocks: single pixels would be too small to be seen.
    """
    block = -(-max(values.shape[1:]) // _MAP)
    means = avg_pool2d(values[None].float(), block, ceil_mode=True)[0]
    picture = to_pil(signed_map(means, style="diverging")[0])
    return _data(picture, "png", optimize=True)


def _data(picture: Image.Image, kind: str, **options: Any) -> str:
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
