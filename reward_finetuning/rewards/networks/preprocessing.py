"""Preprocessing of the reward models, bit-identical to their packages, without torchvision.

Each package resizes, crops and scales in its own way. The wrong preprocessing changes scores by 1e-3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Preprocess = Callable[[NDArray[np.uint8], int], Tensor]
"""([H, W, 3] uint8 sRGB, size) -> [3, size, size] float32, normalised."""

# Mean and standard deviation of CLIP's training images per channel (arXiv:2103.00020); BLIP uses the same values.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_crop(image: NDArray[np.uint8], size: int) -> Tensor:
    """Shortest side to `size` (bicubic, on bytes), centre crop: CLIPImageProcessor of transformers with PIL.

    Args:
        image: [H, W, 3] uint8 sRGB.
        size: side of the result.

    Returns:
        [3, size, size] float32.
    """
    resized = _resize_shortest(image, size)
    top, left = (resized.shape[0] - size) // 2, (resized.shape[1] - size) // 2
    pixels = resized[top : top + size, left : left + size]
    scaled = (pixels * (1 / 255)).astype(np.float32)  # in float64, as transformers does
    normalised = (scaled - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))


def blip_crop(image: NDArray[np.uint8], size: int) -> Tensor:
    """Shortest side to `size` (bicubic, on bytes), centre crop: the torchvision transforms of image-reward.

    It differs from `clip_crop` in the rounding of odd margins and in the last bits.

    Args:
        image: [H, W, 3] uint8 sRGB.
        size: side of the result.

    Returns:
        [3, size, size] float32.
    """
    resized = _resize_shortest(image, size)
    top, left = (round((length - size) / 2) for length in resized.shape[:2])
    return _normalised_bytes(resized[top : top + size, left : left + size])


def hps_pad(image: NDArray[np.uint8], size: int) -> Tensor:
    """Longest side to `size` (bicubic, antialiased, on floats), black bars around: the transforms of hpsv2.

    A picture whose longest side is already `size` is padded too. hpsv2 fails on such a picture unless it is square.

    Args:
        image: [H, W, 3] uint8 sRGB.
        size: side of the result.

    Returns:
        [3, size, size] float32.
    """
    pixels = _to_tensor(image)
    height, width = pixels.shape[1:]
    scale = size / max(height, width)
    height, width = round(height * scale), round(width * scale)
    if scale != 1.0:
        # hpsv2 uses the default of torchvision, which antialiases tensors since 0.17. Older versions give other scores.
        pixels = torch.nn.functional.interpolate(
            pixels[None], size=(height, width), mode="bicubic", align_corners=False, antialias=True
        )[0]
    rows, columns = size - height, size - width
    bars = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    return _normalise(torch.nn.functional.pad(pixels, bars))


def _resize_shortest(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    short = min(height, width)
    target = (int(size * width / short), int(size * height / short))
    if target == (width, height):
        return image
    return np.asarray(Image.fromarray(image).resize(target, Image.Resampling.BICUBIC))


def _to_tensor(image: NDArray[np.uint8]) -> Tensor:
    return torch.tensor(image).float().div_(255).permute(2, 0, 1)


def _normalised_bytes(image: NDArray[np.uint8]) -> Tensor:
    """`_normalise` with a lookup table of the 256 byte values."""
    table = _normalised_levels()
    planes = [np.take(levels, channel) for levels, channel in zip(table, np.moveaxis(image, -1, 0), strict=True)]
    return torch.from_numpy(np.stack(planes))


@cache
def _normalised_levels() -> NDArray[np.float32]:
    """[3, 256] float32, one row per channel."""
    levels = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    return _normalise(_to_tensor(levels))[:, 0].numpy()


def _normalise(pixels: Tensor) -> Tensor:
    return (pixels - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]
