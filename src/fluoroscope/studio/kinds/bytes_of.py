"""Files that jobs leave, as bytes."""

import io
import json
from typing import Any

from PIL import Image


def png(picture: Image.Image) -> bytes:
    """A picture as PNG."""
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


def plain_json(values: Any) -> bytes:
    """Plain values as JSON."""
    return (json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
