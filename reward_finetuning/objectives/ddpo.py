"""Denoising diffusion policy optimisation with importance sampling (DDPO-IS, arXiv:2305.13301).

Each denoising step is an action, and PPO's clipped surrogate is applied to it (`surrogate.py`), with one advantage per
image: its reward normalised per prompt, from a buffer that runs over the epochs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from reward_finetuning.config.sections.objective import DdpoConfig
from reward_finetuning.objectives.advantages import RewardBuffer, normalised, per_prompt
from reward_finetuning.objectives.cells import CellSource
from reward_finetuning.objectives.protocol import Objective
from reward_finetuning.objectives.surrogate import (
    clip_fraction,
    clipped_surrogate,
    clipped_surrogate_grad,
    clipped_surrogate_grad_of_cells,
)
from reward_finetuning.records import Batch


class Ddpo(Objective):
    """DDPO-IS as an Objective."""

    separable_by = "cell"

    def __init__(self, config: DdpoConfig) -> None:
        self._config = config
        self.clip_range = config.clip_range if config.clipping else float("inf")
        self._buffer = RewardBuffer(config.buffer_size)
        self._advantages = torch.empty(0, 1, dtype=torch.float64)  # [B, 1] of the epoch
        self._own_statistics = 0.0

    def begin_epoch(self, batch: Batch, source: CellSource, rng: np.random.Generator) -> None:
        """Count the epoch's rewards, and normalise them."""
        advantages = normalised(batch.rewards, batch.rewards, max_advantage=self._config.max_advantage)
        if self._config.per_prompt_normalisation:
            self._buffer.append(batch.prompt_keys, batch.rewards)
            advantages, self._own_statistics = per_prompt(
                batch.prompt_keys,
                batch.rewards,
                self._buffer,
                min_count=self._config.min_count,
                max_advantage=self._config.max_advantage,
            )
        self._advantages = advantages[:, None]

    def coefficients(self, log_probs: Tensor, batch: Batch) -> Tensor:
        """g [B, T] float64."""
        return clipped_surrogate_grad(log_probs, batch.log_probs_old, self._advantages, clip_range=self.clip_range)

    def cell_coefficients(self, log_probs: Tensor, cells: Tensor, batch: Batch) -> Tensor:
        """g [M] float64 of some cells."""
        return clipped_surrogate_grad_of_cells(
            log_probs, cells, batch.log_probs_old, self._advantages, clip_range=self.clip_range
        )

    def metrics(self, log_probs: Tensor, batch: Batch) -> Mapping[str, float]:
        """Loss, shares of clipped cells and of images served by their own prompt's rewards; the advantages' spread."""
        loss = clipped_surrogate(log_probs, batch.log_probs_old, self._advantages, clip_range=self.clip_range)
        return {
            "loss": float(loss.mean()),
            "clip_fraction": clip_fraction(log_probs, batch.log_probs_old, clip_range=self.clip_range),
            "advantage_std": float(self._advantages.std(correction=0)),
            "own_statistics_share": self._own_statistics,
        }

    def state_dict(self) -> dict[str, Tensor]:
        """The buffer of rewards; the advantages' spread."""
        return self._buffer.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state_dict`."""
        self._buffer.load_state_dict(state)
