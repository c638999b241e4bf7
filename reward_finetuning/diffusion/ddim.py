"""Mean and standard deviation of a DDIM step."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward_finetuning.diffusion.grid import Grid


def step_mean(x_t: Tensor, epsilon: Tensor, grid: Grid, steps: Tensor) -> Tensor:
    """mu_theta of each row's step.

        x_0 = (x_t - sqrt(1 - a_t) eps) / sqrt(a_t)
        mu  = sqrt(a_{t-1}) x_0 + sqrt(1 - a_{t-1} - sigma_t^2) eps

    Written as mu = p x_t + q eps with p, q from float64, which is one rounding less.

    Args:
        x_t: [M, C, H, W].
        epsilon: [M, C, H, W] predicted noise.
        grid: of the sampler.
        steps: [M] int64 indices into the grid.

    Returns:
        [M, C, H, W].

    Source: Song et al. 2021 (arXiv:2010.02502), eq. 12.
    """
    a, a_prev, std = grid.alpha_bars, grid.alpha_bars_prev, grid.stds
    p = np.sqrt(a_prev / a)
    q = np.sqrt(np.maximum(1 - a_prev - std**2, 0.0)) - np.sqrt((1 - a) * a_prev / a)
    return _rows(p, x_t, steps) * x_t + _rows(q, x_t, steps) * epsilon


def epsilon_of_v(v: Tensor, x_t: Tensor, alpha_bars: Tensor) -> Tensor:
    """The noise that a v-prediction means: eps = sqrt(a_t) v + sqrt(1 - a_t) x_t.

    Args:
        v: [M, C, H, W] predicted sqrt(a_t) eps - sqrt(1 - a_t) x_0.
        x_t: [M, C, H, W].
        alpha_bars: [M] a_t.

    Returns:
        [M, C, H, W].

    Source: Salimans and Ho 2022 (arXiv:2202.00512), appendix D.
    """
    a = alpha_bars[:, None, None, None]
    return a.sqrt() * v + (1 - a).sqrt() * x_t


def step_std(grid: Grid, steps: Tensor, like: Tensor) -> Tensor:
    """sigma_t of each row's step, [M], in the type and on the device of `like`."""
    return _rows(grid.stds, like, steps)[:, 0, 0, 0]


def _rows(values: NDArray[np.float64], like: Tensor, steps: Tensor) -> Tensor:
    table = torch.as_tensor(values, dtype=like.dtype, device=like.device)
    return table[steps.to(like.device)][:, None, None, None]
