"""Size of the picture as a JPEG file: a reward that needs no model and is easy to over-optimise."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

QUALITY = 95


def jpeg_incompressibility(images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
    """Size of each picture as a JPEG file, in kilobytes.

    Args:
        images: [B, H, W, 3] uint8 sRGB.
        prompts: B prompts, not used.

    Returns:
        [B] file size at quality 95 in units of 1000 bytes, above 0. It grows with the number of pixels, so a weight
        for one resolution does not fit another. The last bytes depend on the JPEG encoder.

    Source: Black et al. 2023 (DDPO, arXiv:2305.13301), section 4; quality and unit are those of its code.
    """
    return np.array([_num_bytes(image) / 1000 for image in _checked(images, prompts)], dtype=np.float64)


def jpeg_compressibility(images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
    """The negative of `jpeg_incompressibility`: [B] kilobytes, below 0; close to 0 for smooth pictures."""
    return -jpeg_incompressibility(images, prompts)


def _checked(images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.uint8]:
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or len(images) != len(prompts):
        actual = f"{images.dtype} {list(images.shape)}"
        raise ValueError(f"images must be uint8 [B={len(prompts)}, H, W, 3], one per prompt, got {actual}")
    return images


def _num_bytes(image: NDArray[np.uint8]) -> int:
    from PIL import Image

    file = BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=QUALITY)
    return file.tell()
