"""Pictures and prompts in, float64 scores out, a few pictures at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward_finetuning.rewards.networks.preprocessing import Preprocess

MICRO_BATCH = 16
"""Pictures in a network at once: memory does not grow with a call's."""

WORKERS = min(4, os.cpu_count() or 1)
"""Threads that resize pictures."""


def score_in_micro_batches(
    images: NDArray[np.uint8],
    prompts: Sequence[str],
    preprocess: Preprocess,
    size: int,
    score: Callable[[Tensor, Sequence[str]], Tensor],
) -> NDArray[np.float64]:
    """Scores of pictures, at most MICRO_BATCH in the network at once.

    Args:
        images: [B, H, W, 3] uint8 sRGB.
        prompts: [B].
        preprocess: makes pixels of one picture.
        size: side of what the network sees.
        score: (pixels [M, 3, size, size] float32, prompts [M]) -> [M].

    Returns:
        [B].
    """
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or len(images) != len(prompts):
        raise ValueError(
            f"images must be [B={len(prompts)}, H, W, 3] uint8, one a prompt, got {list(images.shape)} {images.dtype}"
        )
    scores = np.zeros(len(images), dtype=np.float64)
    with torch.inference_mode():
        for part, pixels in _prepared(images, preprocess, size):
            scores[part] = score(pixels, prompts[part]).double().cpu().numpy()
    return scores


def features_in_micro_batches(
    images: NDArray[np.uint8], preprocess: Preprocess, size: int, features: Callable[[Tensor], Tensor]
) -> NDArray[np.float32]:
    """Features of pictures, at most MICRO_BATCH in the network at once.

    Args:
        images: [B, H, W, 3] uint8 sRGB.
        preprocess: makes pixels of one picture.
        size: side of what the network sees.
        features: pixels [M, 3, size, size] float32 -> [M, D].

    Returns:
        [B, D].
    """
    with torch.inference_mode():
        parts = [features(pixels).float().cpu().numpy() for _, pixels in _prepared(images, preprocess, size)]
    return np.concatenate(parts)


def _prepared(images: NDArray[np.uint8], preprocess: Preprocess, size: int) -> Iterator[tuple[slice, Tensor]]:
    """Pixels of each micro-batch; the next one is made in threads while the network looks at this one.

    Resizing lets go of Python's lock, and takes as long as a small network, or as a GPU with a large one.
    """
    with ThreadPoolExecutor(WORKERS) as pool:

        def begin(first: int) -> list[Future[Tensor]]:
            return [pool.submit(preprocess, image, size) for image in images[first : first + MICRO_BATCH]]

        ahead = begin(0)
        for first in range(0, len(images), MICRO_BATCH):
            now, ahead = ahead, begin(first + MICRO_BATCH)
            yield slice(first, first + len(now)), torch.stack([pixels.result() for pixels in now])
