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


def reference_steps(seed: int, epoch: int, micro_batches: int, num_steps: int, *, share: float) -> NDArray[np.bool_]:
    """For which steps of which micro-batches of an epoch the reference is evaluated, [micro_batches, num_steps].

    A simple random sample of the steps without replacement, at least one: the mean of a measure over it is an unbiased
    estimate of the mean over all steps of micro-batches of equal size. It depends on the epoch alone, so on no shard.

    Args:
        seed: of the run.
        epoch: its number.
        micro_batches: of the whole epoch.
        num_steps: T.
        share: of all steps, in (0, 1].
    """
    num_cells = micro_batches * num_steps
    rng = np.random.default_rng(seed_sequence(seed, Stream.REFERENCE_CELLS, epoch))
    chosen = np.zeros(num_cells, dtype=np.bool_)
    chosen[rng.permutation(num_cells)[: max(1, round(share * num_cells))]] = True
    return chosen.reshape(micro_batches, num_steps)


def cell_order(seed: int, epoch: int, update: int, num_cells: int) -> Tensor:
    """The order in which an update visits the cells, [num_cells] int64."""
    rng = np.random.default_rng(seed_sequence(seed, Stream.CELL_ORDER, epoch, update))
    return torch.from_numpy(rng.permutation(num_cells))
