"""Draw trajectories, and evaluate their steps again."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward_finetuning.diffusion import gaussian
from reward_finetuning.diffusion.grid import Grid
from reward_finetuning.diffusion.step import DeviceGrid, step_mean
from reward_finetuning.records import Conditioning, Denoiser, Trajectories


@torch.no_grad()
def draw(
    denoise: Denoiser,
    denoise_ref: Denoiser | None,
    noise: Tensor,
    prompts: Conditioning,
    grid: Grid,
    *,
    latents_dtype: torch.dtype = torch.float32,
    reference_cells: NDArray[np.bool_] | None = None,
) -> Trajectories:
    """Denoise x_T to x_0, recording each stochastic step's log-probability of the value that is stored.

    Each x_{t-1} is rounded to `latents_dtype` first. Its log-prob is computed from the rounded value, from which
    sampling continues, so what is stored is exact. Deterministic steps before and after leave no record.

    Args:
        denoise: the policy.
        denoise_ref: the reference; None where it is the policy itself, whose log-probs then count for both.
        noise: [M, T + 1, C, H, W] standard normal: x_T, then one draw a step.
        prompts: M of them.
        grid: T steps, of which S are stochastic.
        latents_dtype: type of the stored latents.
        reference_cells: [M, S] where the reference is evaluated; None: everywhere. Elsewhere its numbers are NaN.

    Returns:
        Trajectories of M images, with S steps; none has a log-prob if S = 0.
    """
    x = noise[:, 0].to(latents_dtype).float()
    on_device = DeviceGrid.of(grid, x.device, x.dtype)
    latents: list[Tensor] = [x]
    log_probs: list[Tensor] = []
    log_probs_ref: list[Tensor] = []
    kl: list[Tensor] = []
    for step, is_stochastic in enumerate(grid.stochastic):
        steps = torch.full((len(x),), step, device=x.device)
        mean = step_means(denoise, x, prompts, on_device, steps)
        if not is_stochastic:
            x = mean.to(latents_dtype).float()
            latents = latents if log_probs else [x]  # where the stochastic steps begin
            continue
        std = on_device.stds[steps]
        x_prev = (mean + std[:, None, None, None] * noise[:, step + 1]).to(latents_dtype).float()
        log_probs.append(gaussian.log_prob(x_prev, mean, std))
        if denoise_ref is not None:
            log_probs_ref.append(torch.full_like(log_probs[-1], torch.nan))
            kl.append(torch.full_like(log_probs[-1], torch.nan))
            for rows in _evaluated_rows(reference_cells, step=len(kl) - 1):
                mean_ref = step_means(denoise_ref, x[rows], prompts[rows], on_device, steps[rows])
                log_probs_ref[-1][rows] = gaussian.log_prob(x_prev[rows], mean_ref, std[rows])
                kl[-1][rows] = gaussian.step_kl(mean[rows], mean_ref, std[rows])
        x = x_prev
        latents.append(x)
    old = _by_step(log_probs, x.new_zeros(len(x), 0))
    return Trajectories(
        latents=torch.stack(latents, dim=1).to(latents_dtype),
        log_probs=old,
        log_probs_ref=_by_step(log_probs_ref, old),
        kl=_by_step(kl, torch.zeros_like(old)),
        x_0=None if grid.stochastic[-1] else x.to(latents_dtype),
    )


def _evaluated_rows(cells: NDArray[np.bool_] | None, *, step: int) -> list[slice]:
    """Slices of the runs of images for which the reference is evaluated at a stochastic step; all images for None."""
    if cells is None:
        return [slice(None)]
    edges = np.flatnonzero(np.diff(cells[:, step], prepend=False, append=False)).tolist()
    return [slice(first, end) for first, end in zip(edges[::2], edges[1::2], strict=True)]


def _by_step(values: list[Tensor], otherwise: Tensor) -> Tensor:
    """S values [M] as [M, S]; `otherwise` where there are none."""
    return torch.stack(values, dim=1) if values else otherwise


def step_means(denoise: Denoiser, x_t: Tensor, prompts: Conditioning, grid: DeviceGrid, steps: Tensor) -> Tensor:
    """mu_theta of M cells whose steps may differ, [M, C, H, W]; with gradient if the denoiser has one."""
    return step_mean(x_t, denoise(x_t, grid.timesteps[steps], prompts), grid, steps)
