"""Randomness as an argument: keyed by what a thing is, never by where or when it was drawn."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward_finetuning.records import Stream


def seed_sequence(seed: int, stream: Stream, *position: int) -> np.random.SeedSequence:
    """The seed of one draw: `position` is e.g. (epoch,) or (epoch, update)."""
    return np.random.SeedSequence([seed, stream, *position])


def prompt_key(prompt_id: str) -> int:
    """64 bits of the sha256 of a prompt's id."""
    return int.from_bytes(sha256(prompt_id.encode()).digest()[:8], "big")


def image_generator(seed: int, stream: Stream, epoch: int, prompt_id: str, image_index: int) -> np.random.Generator:
    """The generator of one image's noise: the same on any shard, in any batch, on any number of GPUs.

    Philox has a key of 128 bits, all of which come from the SeedSequence. (torch's CPU generator reads 32 bits of its
    seed: among 300,000 images two shared their noise.)
    """
    return np.random.Generator(np.random.Philox(seed_sequence(seed, stream, epoch, prompt_key(prompt_id), image_index)))


def image_noise(generator: np.random.Generator, num_steps: int, shape: tuple[int, int, int]) -> Tensor:
    """All noise of one image, [T + 1, C, H, W] float32 standard normal: x_T, then one draw per step."""
    return torch.from_numpy(generator.standard_normal((num_steps + 1, *shape), dtype=np.float32))


REFERENCE_ROWS = 16
"""Images of a micro-batch for which the reference is evaluated together, where it is not evaluated for all."""


def reference_cells(
    seed: int, epoch: int, num_images: int, micro_batch_size: int, num_steps: int, *, share: float
) -> NDArray[np.bool_]:
    """For which steps of which images of an epoch the reference is evaluated, [num_images, num_steps].

    Micro-batches are cut into groups of at most REFERENCE_ROWS images. A sample without replacement of all pairs of a
    group and a step, stratified by step: the numbers of groups of two steps differ by at most one. At least one pair.
    The mean of a measure over it is an unbiased estimate of the mean over all, with groups of equal size. It depends on
    the epoch alone, so on no shard.

    Args:
        seed: of the run.
        epoch: its number.
        num_images: B, of the whole epoch.
        micro_batch_size: images per forward pass.
        num_steps: T.
        share: of all pairs, in (0, 1].
    """
    begins_group = np.arange(num_images) % micro_batch_size % REFERENCE_ROWS == 0
    group = np.cumsum(begins_group) - 1  # of each image: 0, 1, ...
    num_groups = int(group[-1]) + 1
    rng = np.random.default_rng(seed_sequence(seed, Stream.REFERENCE_CELLS, epoch))
    count = max(1, round(share * num_groups * num_steps))
    rounds = -(-count // num_steps)  # in a round, each step gets one more group
    steps = np.concatenate([rng.permutation(num_steps) for _ in range(rounds)])[:count]
    groups = rng.permuted(np.tile(np.arange(num_groups), (num_steps, 1)), axis=1)
    chosen = np.zeros((num_groups, num_steps), dtype=np.bool_)
    chosen[groups[steps, np.arange(count) // num_steps], steps] = True
    return chosen[group]


def cell_order(seed: int, epoch: int, update: int, num_cells: int) -> Tensor:
    """The order in which an update visits the cells, [num_cells] int64."""
    rng = np.random.default_rng(seed_sequence(seed, Stream.CELL_ORDER, epoch, update))
    return torch.from_numpy(rng.permutation(num_cells))
