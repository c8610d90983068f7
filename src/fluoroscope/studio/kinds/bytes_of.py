"""What jobs leave and tell, as bytes and as plain values."""

import io
import json
import math
from typing import Any

from PIL import Image
from torch import Tensor


def png(picture: Image.Image) -> bytes:
    """A picture as PNG."""
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


def plain_json(values: Any) -> bytes:
    """Plain values as JSON."""
    return (json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def finite(value: Tensor) -> float | None:
    """A number, where it is one."""
    number = float(value)
    return number if math.isfinite(number) else None
