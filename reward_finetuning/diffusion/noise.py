"""Randomness as an argument: keyed by what a thing is, never by where or when it was drawn."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import torch
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


def cell_order(seed: int, epoch: int, update: int, num_cells: int) -> Tensor:
    """The order in which an update visits the cells, [num_cells] int64."""
    rng = np.random.default_rng(seed_sequence(seed, Stream.CELL_ORDER, epoch, update))
    return torch.from_numpy(rng.permutation(num_cells))
