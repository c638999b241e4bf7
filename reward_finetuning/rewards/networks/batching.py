"""Scoring in micro-batches: pictures and prompts to float64 scores."""

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
"""Pictures per forward pass, so that memory does not grow with the number of pictures."""

WORKERS = min(4, os.cpu_count() or 1)
"""Threads for resizing pictures."""


def score_in_micro_batches(
    images: NDArray[np.uint8],
    prompts: Sequence[str],
    preprocess: Preprocess,
    size: int,
    score: Callable[[Tensor, Sequence[str]], Tensor],
) -> NDArray[np.float64]:
    """Scores of pictures, computed in batches of at most MICRO_BATCH.

    Args:
        images: [B, H, W, 3] uint8 sRGB.
        prompts: [B].
        preprocess: converts one picture to pixels.
        size: side of the input of the network.
        score: (pixels [M, 3, size, size] float32, prompts [M]) -> [M].

    Returns:
        [B].
    """
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or len(images) != len(prompts):
        raise ValueError(
            f"images must be [B={len(prompts)}, H, W, 3] uint8, one per prompt, got {list(images.shape)} {images.dtype}"
        )
    scores = np.zeros(len(images), dtype=np.float64)
    with torch.inference_mode():
        for part, pixels in _prepared(images, preprocess, size):
            scores[part] = score(pixels, prompts[part]).double().cpu().numpy()
    return scores


def features_in_micro_batches(
    images: NDArray[np.uint8], preprocess: Preprocess, size: int, features: Callable[[Tensor], Tensor]
) -> NDArray[np.float32]:
    """Features of pictures, computed in batches of at most MICRO_BATCH.

    Args:
        images: [B, H, W, 3] uint8 sRGB.
        preprocess: converts one picture to pixels.
        size: side of the input of the network.
        features: pixels [M, 3, size, size] float32 -> [M, D].

    Returns:
        [B, D].
    """
    with torch.inference_mode():
        parts = [features(pixels).float().cpu().numpy() for _, pixels in _prepared(images, preprocess, size)]
    return np.concatenate(parts)


def _prepared(images: NDArray[np.uint8], preprocess: Preprocess, size: int) -> Iterator[tuple[slice, Tensor]]:
    """Pixels of each micro-batch. Threads prepare the next one while the network computes.

    Resizing releases the GIL, and takes as long as a small network, or as a large network on a GPU.
    """
    with ThreadPoolExecutor(WORKERS) as pool:

        def submit(first: int) -> list[Future[Tensor]]:
            return [pool.submit(preprocess, image, size) for image in images[first : first + MICRO_BATCH]]

        next_batch = submit(0)
        for first in range(0, len(images), MICRO_BATCH):
            batch = next_batch
            next_batch = submit(first + MICRO_BATCH)
            yield slice(first, first + len(batch)), torch.stack([pixels.result() for pixels in batch])
