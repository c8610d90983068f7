"""Pictures as data URIs, for pages that load nothing."""

import base64
import io
from typing import Any

from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from fluoroscope.pictures.attribution_colours import Colours
from fluoroscope.pictures.display import shown
from fluoroscope.pictures.maps import signed_map
from fluoroscope.pictures.write import to_pil

# The longer side of a picture on a page; larger ones are scaled down to it.
LARGEST = 224
# Up to this side a picture is shown pixel by pixel and kept exactly.
_SMALL = 96
# The longer side of a map.
_MAP = 112


def uri(image: Tensor | Image.Image, largest: int = LARGEST, *, exact: bool = False) -> str:
    """An image ``(C, H, W)`` in ``[0, 1]`` or a picture, scaled down to ``largest`` if need be.

    Small ones are PNG, and large ones WebP, unless ``exact`` keeps every pixel that is left.
    """
    picture = image if isinstance(image, Image.Image) else to_pil(shown(image))
    small = max(picture.size) <= _SMALL
    if max(picture.size) > largest:
        picture.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    if small or exact:
        return _data(picture, "png", optimize=True)
    return _data(picture, "webp", quality=82, method=4)


def signed_uri(values: Tensor, scale: float | None = None) -> str:
    """A signed ``(C, H, W)`` in colours, white where it is zero; see :func:`.maps.signed_map`.

    Large ones are the means of small blocks: single pixels would be too small to be seen.
    """
    picture = to_pil(signed_map(blocks_of(values), scale=scale)[0])
    return _data(picture, "png", optimize=True)


def coloured_uri(values: Tensor, colours: Colours) -> str:
    """A map ``(C, H, W)`` in the colours of several, whose scale is of :func:`blocks_of`."""
    return uri(to_pil(colours.rgb(blocks_of(values.nan_to_num()))), exact=True)


def blocks_of(values: Tensor) -> Tensor:
    """Of a ``(C, H, W)`` the means of blocks so large that it is no larger than a map on a page."""
    block = -(-max(values.shape[1:]) // _MAP)
    return avg_pool2d(values[None].float(), block, ceil_mode=True)[0]


def _data(picture: Image.Image, kind: str, **options: Any) -> str:
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
