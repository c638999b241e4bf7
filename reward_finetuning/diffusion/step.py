"""One transition of a sampler, and the noised latents of a denoising loss, as functions of tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reward_finetuning.diffusion.grid import Grid, Prediction


@dataclass(frozen=True, slots=True)
class DeviceGrid:
    """The numbers of a Grid on a device, made once per rollout or epoch: each copy to a GPU costs time."""

    timesteps: Tensor
    """[T] float64."""

    levels: Tensor
    """[T] in the type of the latents, as the fields below."""

    p: Tensor
    q: Tensor
    stds: Tensor

    @classmethod
    def of(cls, grid: Grid, device: torch.device, dtype: torch.dtype) -> DeviceGrid:
        """The grid for latents of this type."""
        return cls(
            timesteps=torch.as_tensor(grid.timesteps, device=device),
            **{
                name: torch.as_tensor(getattr(grid, name), dtype=dtype, device=device)
                for name in ("levels", "p", "q", "stds")
            },
        )


def step_mean(x_t: Tensor, output: Tensor, grid: DeviceGrid, steps: Tensor) -> Tensor:
    """mu_theta = p x_t + q out of each row's step.

    Args:
        x_t: [M, C, H, W].
        output: [M, C, H, W] of the network, guidance included.
        grid: of the sampler, in the type of x_t.
        steps: [M] int64 indices into the grid, on its device.

    Returns:
        [M, C, H, W].
    """
    return _per_row(grid.p, steps) * x_t + _per_row(grid.q, steps) * output


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


def _per_row(table: Tensor, steps: Tensor) -> Tensor:
    return table[steps][:, None, None, None]
