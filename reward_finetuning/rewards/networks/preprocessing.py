"""Pictures as the reward models were trained to see them, bit for bit, without torchvision.

Each model's authors resize, crop and scale a little differently, and scores move by 1e-3 where that is mixed up.
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

# Mean and standard deviation of CLIP's training images, channel by channel (arXiv:2103.00020; BLIP took them over).
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_crop(image: NDArray[np.uint8], size: int) -> Tensor:
    """Shortest side to `size` (bicubic, on bytes), centre crop: transformers' CLIPImageProcessor in its PIL version.

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
    """Shortest side to `size` (bicubic, on bytes), centre crop: image-reward's transforms of torchvision.

    It differs from `clip_crop` in how an odd margin is halved, and in the last bits.

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
    """Longest side to `size` (bicubic, antialiased, on floats), black bars around: hpsv2's transforms.

    A picture whose longest side is `size` already gets its bars too; hpsv2 fails on it unless it is square.

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
        # torchvision antialiases tensors since 0.17, and hpsv2 leaves it to that; before, its scores were others.
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
    """What `_normalise` makes of a byte is looked up: there are 256 of them."""
    table = _normalised_levels()
    planes = [np.take(levels, channel) for levels, channel in zip(table, np.moveaxis(image, -1, 0), strict=True)]
    return torch.from_numpy(np.stack(planes))


@cache
def _normalised_levels() -> NDArray[np.float32]:
    """[3, 256] float32, a row for each channel."""
    levels = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    return _normalise(_to_tensor(levels))[:, 0].numpy()


def _normalise(pixels: Tensor) -> Tensor:
    return (pixels - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]
