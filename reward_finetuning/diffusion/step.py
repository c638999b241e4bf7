"""One transition of a sampler, and the noised latents of a denoising loss, as functions of tensors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward_finetuning.diffusion.grid import Grid, Prediction


def step_mean(x_t: Tensor, output: Tensor, grid: Grid, steps: Tensor) -> Tensor:
    """mu_theta = p x_t + q out of each row's step.

    Args:
        x_t: [M, C, H, W].
        output: [M, C, H, W] of the network, guidance included.
        grid: of the sampler.
        steps: [M] int64 indices into the grid.

    Returns:
        [M, C, H, W].
    """
    return _rows(grid.p, x_t, steps) * x_t + _rows(grid.q, x_t, steps) * output


def step_std(grid: Grid, steps: Tensor, like: Tensor) -> Tensor:
    """sigma_t of each row's step, [M], in the type and on the device of `like`."""
    return _rows(grid.stds, like, steps)[:, 0, 0, 0]


def noised(x_0: Tensor, noise: Tensor, levels: Tensor, prediction: Prediction) -> Tensor:
    """x_t = signal x_0 + noise e at the levels that a network of this prediction has, [M, C, H, W].

    Args:
        x_0: [M, C, H, W].
        noise: [M, C, H, W] e, standard normal.
        levels: [M] alpha-bar, or s of a flow model.
        prediction: of the network.
    """
    level = levels[:, None, None, None]
    if prediction == "flow":
        return (1 - level) * x_0 + level * noise
    return level.sqrt() * x_0 + (1 - level).sqrt() * noise


def denoising_error(output: Tensor, x_0: Tensor, noise: Tensor, levels: Tensor, prediction: Prediction) -> Tensor:
    """What the network's output at `noised` lacks, [M, C, H, W]; arguments as there.

    epsilon: e - out; v: the same error in units of e, which is sqrt(a) (v - out); flow: e - x_0 - out, the error of
    conditional flow matching (Lipman et al. 2023, arXiv:2210.02747, eq. 23).
    """
    if prediction == "epsilon":
        return noise - output
    if prediction == "flow":
        return noise - x_0 - output
    a = levels[:, None, None, None]
    return a.sqrt() * (a.sqrt() * noise - (1 - a).sqrt() * x_0 - output)


def _rows(values: NDArray[np.float64], like: Tensor, steps: Tensor) -> Tensor:
    table = torch.as_tensor(values, dtype=like.dtype, device=like.device)
    return table[steps.to(like.device)][:, None, None, None]
