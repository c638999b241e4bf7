"""Diffusion policy optimisation with KL regularisation (DPOK, arXiv:2305.16381).

    L    = mean over B, T of max(-A w, -A clip(w, 1 - eps, 1 + eps)) + beta mean over B, T of KL_t
    A_it = alpha r_i - V(x_t, t, prompt_i)
    KL_t = KL(p_theta(x_{t-1} | x_t, c) || p_ref(x_{t-1} | x_t, c)) = |mu_theta - mu_ref|^2 / (2 sigma_t^2)

The KL is a mean over C, H, W, as log-probs are. It is a function of the means, not of log_probs: a cell_loss.
The authors' published code clamps the ratio without a maximum and takes the KL from another tensor; this is the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from reward_finetuning.config.sections.objective import DpokConfig
from reward_finetuning.diffusion.gaussian import step_kl
from reward_finetuning.objectives.cells import CellSource
from reward_finetuning.objectives.protocol import Objective
from reward_finetuning.objectives.surrogate import (
    clip_fraction,
    clipped_surrogate,
    clipped_surrogate_grad,
    clipped_surrogate_grad_of_cells,
)
from reward_finetuning.objectives.value import ValueNetwork
from reward_finetuning.records import Batch, Cells


class Dpok(Objective):
    """DPOK as an Objective."""

    separable_by = "cell"

    def __init__(self, config: DpokConfig) -> None:
        self.clip_range = config.clip_range if config.clipping else float("inf")
        self.has_cell_loss = self.needs_reference = config.kl_weight > 0
        self._kl_weight, self._reward_weight = config.kl_weight, config.reward_weight
        self._value: ValueNetwork | None = None
        if config.value_baseline:
            self._value = ValueNetwork(
                hidden=config.value_hidden, learning_rate=config.value_learning_rate, passes=config.value_updates
            )
        self._advantages = torch.empty(0, 0, dtype=torch.float64)  # [B, T] of the epoch
        self._value_loss, self._explained = 0.0, 0.0
        self._kl = torch.zeros(())  # the update's sum over the cells seen so far, divided by B T

    def begin_epoch(self, batch: Batch, source: CellSource, rng: np.random.Generator) -> None:
        """Subtract the baseline from the epoch's rewards; the value network learns from them afterwards."""
        rewards = self._reward_weight * batch.rewards.double()
        baseline = rewards.mean().expand(source.shape)
        if self._value is not None:
            baseline, self._value_loss = self._value.baseline(source, rewards, rng)
        self._advantages = rewards[:, None] - baseline
        self._explained = _explained_variance(self._advantages, rewards)

    def begin_update(self, update: int) -> None:
        """Forget the KL of the update before."""
        self._kl = torch.zeros(())

    def coefficients(self, log_probs: Tensor, batch: Batch) -> Tensor:
        """g [B, T] float64, of the surrogate alone."""
        return clipped_surrogate_grad(log_probs, batch.log_probs_old, self._advantages, clip_range=self.clip_range)

    def cell_coefficients(self, log_probs: Tensor, cells: Tensor, batch: Batch) -> Tensor:
        """g [M] float64 of some cells."""
        return clipped_surrogate_grad_of_cells(
            log_probs, cells, batch.log_probs_old, self._advantages, clip_range=self.clip_range
        )

    def reference_weight(self, num_steps: int, num_elements: int) -> float | None:
        """beta T C H W / alpha.

        Over the policy's own images, the gradient of the mean KL is that of the log-ratio of whole trajectories as a
        cost: grad KL_t = C H W E[(l_t - lr_t) grad l_t]. So alpha r grad l competes with beta T C H W s grad l.
        """
        return self._kl_weight * num_steps * num_elements / self._reward_weight if self._kl_weight > 0 else None

    def cell_loss(self, cells: Cells) -> Tensor:
        """The cells' share of beta mean over B, T of KL_t."""
        assert cells.mean is not None
        assert cells.mean_ref is not None
        kl = step_kl(cells.mean, cells.mean_ref, cells.std).sum() / self._advantages.numel()
        self._kl = self._kl.to(kl) + kl.detach()
        return self._kl_weight * kl

    def merge(self, total: Callable[[Tensor], Tensor]) -> None:
        """Add up the KL."""
        self._kl = total(self._kl.cpu())

    def metrics(self, log_probs: Tensor, batch: Batch) -> Mapping[str, float]:
        """Loss, share of clipped cells, the advantages' spread; with a KL or a value network, theirs too."""
        loss = clipped_surrogate(log_probs, batch.log_probs_old, self._advantages, clip_range=self.clip_range)
        measures = {
            "loss": float(loss.mean()) + self._kl_weight * float(self._kl),
            "clip_fraction": clip_fraction(log_probs, batch.log_probs_old, clip_range=self.clip_range),
            "advantage_std": float(self._advantages.std(correction=0)),
        }
        if self.has_cell_loss:
            measures["kl"] = float(self._kl)
        if self._value is not None:
            measures |= {"value_loss": self._value_loss, "value_explained_variance": self._explained}
        return measures

    def state_dict(self) -> dict[str, Tensor]:
        """The value network."""
        return {} if self._value is None else self._value.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state_dict`."""
        if self._value is not None:
            self._value.load_state_dict(state)


def _explained_variance(errors: Tensor, rewards: Tensor) -> float:
    """Share of the rewards' variance that a baseline foretold; 0 for their mean, negative for worse than that."""
    variance = float(rewards.var(correction=0))
    return 1.0 - float(errors.square().mean()) / variance if variance > 0 else 0.0
