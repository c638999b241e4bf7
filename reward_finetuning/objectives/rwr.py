"""Reward-weighted regression, and supervised finetuning on the best images (the baselines of arXiv:2305.13301).

The denoising loss on generated images, weighted by what they were rewarded:

    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) e,    e ~ N(0, I) for each image and step
    L   = sum over images w_i mean over T of mean over C, H, W of (e - eps_theta(x_t, t, c))^2

or, for a flow model, the loss of conditional flow matching:

    x_t = (1 - s_t) x_0 + s_t e
    L   = sum over images w_i mean over T of mean over C, H, W of (e - x_0 - v_theta(x_t, t, c))^2

over the sampler's own T stochastic steps, with the conditional prediction alone. Weights sum to 1 in each group of
images that is compared, and groups are averaged. No log-prob is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from reward_finetuning.config.sections.objective import RwrConfig
from reward_finetuning.diffusion.grid import Prediction
from reward_finetuning.diffusion.step import denoising_error, noised
from reward_finetuning.objectives.cells import CellSource
from reward_finetuning.objectives.protocol import Objective
from reward_finetuning.records import Batch, Cells


def softmax_weights(rewards: Tensor, *, temperature: float) -> Tensor:
    """exp(r / temperature), normalised: [G] -> [G] float64."""
    return (rewards.double() / temperature).softmax(dim=0)


def best_share_weights(rewards: Tensor, *, share: float) -> Tensor:
    """Equal weights on the best share * G images (rounded, at least one), 0 on the rest: [G] -> [G] float64.

    Images tied at the edge share the places that are left, so that order never decides.
    """
    places = max(1, round(share * len(rewards)))
    edge = rewards.sort(descending=True).values[places - 1]
    above, tied = (rewards > edge).double(), (rewards == edge).double()
    return (above + tied * (places - above.sum()) / tied.sum()) / places


class Rwr(Objective):
    """Reward-weighted regression as an Objective."""

    uses_log_probs = False
    has_cell_loss = True

    def __init__(self, config: RwrConfig) -> None:
        self._config = config
        self._weights = torch.empty(0, dtype=torch.float64)  # [B], summing to 1
        self._num_steps = 0
        self._prediction: Prediction = "epsilon"
        self._noise_key = (0, 0)  # (draw of the epoch, update)
        self._loss = torch.zeros(())

    def begin_epoch(self, batch: Batch, source: CellSource, rng: np.random.Generator) -> None:
        """Weigh the images, and draw what the epoch's noise is keyed by."""
        self._weights = self._weigh(batch)
        self._num_steps = source.shape[1]
        self._prediction = source.grid.prediction
        self._noise_key = (int(rng.integers(2**63)), 0)

    def begin_update(self, update: int) -> Tensor:
        """Images that have a weight."""
        self._noise_key = (self._noise_key[0], update)
        self._loss = torch.zeros(())
        return self._weights.nonzero()[:, 0]

    def coefficients(self, log_probs: Tensor, batch: Batch) -> Tensor:
        """Zeros [B, T]."""
        return torch.zeros(log_probs.shape, dtype=torch.float64)

    def cell_loss(self, cells: Cells) -> Tensor:
        """The cells' share of the weighted denoising loss."""
        assert cells.unguided is not None
        assert cells.x_0 is not None
        e = self._noise(cells, cells.x_0)
        x_t = noised(cells.x_0, e, cells.levels, self._prediction)
        output = cells.unguided(x_t, cells.timesteps, cells.prompts)
        errors = denoising_error(output, cells.x_0, e, cells.levels, self._prediction).square().mean(dim=(1, 2, 3))
        loss = (self._weights[cells.images].to(errors) * errors).sum() / self._num_steps
        self._loss = self._loss.to(loss) + loss.detach()
        return loss

    def merge(self, total: Callable[[Tensor], Tensor]) -> None:
        """Add up the loss."""
        self._loss = total(self._loss.cpu())

    def metrics(self, log_probs: Tensor, batch: Batch) -> Mapping[str, float]:
        """The update's loss, and how many images it amounts to: 1 / sum of squared weights, and those above 0."""
        return {
            "loss": float(self._loss),
            "effective_sample_size": 1.0 / float(self._weights.square().sum()),
            "weighted_images": float((self._weights > 0).sum()),
        }

    def _weigh(self, batch: Batch) -> Tensor:
        groups = torch.zeros_like(batch.prompt_index) if self._config.among == "epoch" else batch.prompt_index
        names = torch.unique(groups)
        weights = torch.zeros(len(groups), dtype=torch.float64)
        for name in names:
            rows = groups == name
            weights[rows] = self._weigh_group(batch.rewards[rows]) / len(names)
        return weights

    def _weigh_group(self, rewards: Tensor) -> Tensor:
        if self._config.weighting == "softmax":
            return softmax_weights(rewards, temperature=self._config.temperature)
        return best_share_weights(rewards, share=self._config.share)

    def _noise(self, cells: Cells, x_0: Tensor) -> Tensor:
        """A cell's own noise, whatever batch it comes in: [M, C, H, W], as x_0."""
        flat = (cells.images * self._num_steps + cells.steps.cpu()).tolist()
        draws = [
            np.random.default_rng([*self._noise_key, cell]).standard_normal(x_0.shape[1:], np.float32) for cell in flat
        ]
        return torch.from_numpy(np.stack(draws)).to(x_0)
