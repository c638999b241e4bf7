"""Pictures embedded in the page as data URIs."""

from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LARGEST_SIDE = 224
"""Pixels. A picture is about 160 CSS pixels wide, and screens have one to two pixels per CSS pixel."""

SMALLEST_SMOOTH_SIDE = 96
"""Pixels. Smaller pictures are enlarged without interpolation."""

LARGEST_PNG = 6_000
"""Bytes. Larger pictures are stored as JPEG; flat drawings stay lossless."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, for the template."""

    uri: str
    width: int
    height: int
    pixelated: bool
    """Whether the page enlarges it without interpolation."""

    exact: bool
    """Whether it is neither reduced nor compressed with losses."""


def embed(image: NDArray[np.uint8]) -> Picture:
    """A picture small enough for the page.

    Args:
        image: [H, W, 3] in 0..255.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"a picture must be uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
    picture = Image.fromarray(image)
    full_size = picture.size
    pixelated = max(picture.size) < SMALLEST_SMOOTH_SIDE
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    kind, content = "png", _encoded(picture, "PNG", optimize=True)
    if len(content) > LARGEST_PNG:
        kind, content = "jpeg", _encoded(picture, "JPEG", quality=82, optimize=True)
    exact = kind == "png" and picture.size == full_size
    return Picture(f"data:image/{kind};base64,{b64encode(content).decode()}", *picture.size, pixelated, exact)


def _encoded(picture: Image.Image, form: str, **options: int) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()
