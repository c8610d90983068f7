"""Pictures as data URIs: small ones exact, large ones as WebP."""

import base64
import io

from PIL import Image
from torch import Tensor

from fluoroscope.pictures.maps import Style, signed_map
from fluoroscope.pictures.write import to_pil

# The longer side of a picture on the page; larger ones are scaled down to it.
LARGEST = 224
# Up to this side a picture is shown pixel by pixel and kept exactly.
_SMALL = 96


def uri(image: Tensor | Image.Image, largest: int = LARGEST) -> str:
    """An image ``(C, H, W)`` in ``[0, 1]`` or a picture, to stand in a page."""
    picture = image if isinstance(image, Image.Image) else to_pil(image)
    small = max(picture.size) <= _SMALL
    if max(picture.size) > largest:
        picture.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    if small:
        picture.save(file, format="PNG", optimize=True)
    else:
        picture.save(file, format="WEBP", quality=82, method=4)
    kind = "png" if small else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def signed_uri(values: Tensor, *, scale: float | None = None, style: Style = "diverging") -> str:
    """A signed ``(C, H, W)`` in colours, white where it is zero; see :func:`.maps.signed_map`."""
    return uri(signed_map(values, scale=scale, style=style)[0])
