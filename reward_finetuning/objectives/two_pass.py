"""The exact gradient of any objective of log-probs with the activations of a few cells.

Pass 1 evaluates log_probs [B, T] without gradient; the objective turns them into g = dL/dlog_probs; pass 2
backpropagates sum g_it log_prob_it a few cells at a time. Cells of different steps share a forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from reward_finetuning.diffusion import gaussian
from reward_finetuning.diffusion.ddim import step_std
from reward_finetuning.diffusion.grid import Grid
from reward_finetuning.diffusion.rollout import step_means
from reward_finetuning.objectives.protocol import Objective
from reward_finetuning.records import Cells, Denoiser


@dataclass(frozen=True, slots=True)
class CellSource:
    """Where cells are read from: an epoch's trajectories, on the CPU, and the embeddings of its prompts."""

    latents: Tensor  # [B, T + 1, C, H, W]
    embeddings: Tensor  # [N, L, D]
    prompt_index: Tensor  # [B] int64, rows of embeddings
    grid: Grid
    device: torch.device
    dtype: torch.dtype = torch.float32

    @property
    def shape(self) -> tuple[int, int]:
        """(B, T)."""
        return self.latents.shape[0], self.latents.shape[1] - 1


def replay(
    denoise: Denoiser, source: CellSource, order: Tensor, cells_per_batch: int, advance: Callable[[int], None]
) -> Tensor:
    """Pass 1: log-probs of the cells in `order` (flat indices into [B, T]), evaluated again without gradient.

    Returns:
        [B, T] float32 on the CPU; NaN for cells that are not in `order`.
    """
    log_probs = torch.full(source.shape, float("nan"), dtype=source.dtype)
    flat = log_probs.view(-1)
    with torch.no_grad():
        for cells in order.split(cells_per_batch):
            values, _ = _evaluate(denoise, None, source, cells)
            flat[cells] = values.cpu()
            advance(len(cells))
    return log_probs


def backpropagate(
    objective: Objective,
    denoise: Denoiser,
    denoise_ref: Denoiser | None,
    source: CellSource,
    coefficients: Tensor,
    order: Tensor,
    cells_per_batch: int,
    backward: Callable[[Tensor], None],
    advance: Callable[[int], None],
) -> None:
    """Pass 2: accumulate grad L, given g = `coefficients` [B, T] float64; `backward` is called once a batch of cells.

    Cells with g = 0 (clipped, or of a tied prompt) are left out where the objective has no term of its own: exact, and
    it costs nothing.
    """
    flat = coefficients.reshape(-1)
    kept = order if objective.has_cell_loss else order[flat[order] != 0]
    advance(len(order) - len(kept))
    for cells in kept.split(cells_per_batch) if len(kept) else ():
        log_probs, of_cells = _evaluate(denoise, denoise_ref, source, cells)
        surrogate = (flat[cells].to(log_probs) * log_probs).sum()
        backward(surrogate + objective.cell_loss(of_cells) if objective.has_cell_loss else surrogate)
        advance(len(cells))


def _evaluate(
    denoise: Denoiser, denoise_ref: Denoiser | None, source: CellSource, cells: Tensor
) -> tuple[Tensor, Cells]:
    images, steps = cells // source.shape[1], cells % source.shape[1]
    x_t = source.latents[images, steps].to(source.device, source.dtype)
    x_prev = source.latents[images, steps + 1].to(source.device, source.dtype)
    embeddings = source.embeddings[source.prompt_index[images].to(source.embeddings.device)]
    steps = steps.to(source.device)
    mean = step_means(denoise, x_t, embeddings, source.grid, steps)
    std = step_std(source.grid, steps, x_t)
    timesteps = torch.as_tensor(source.grid.timesteps, device=source.device)[steps]
    x_0 = source.latents[images, -1].to(source.device, source.dtype)
    of_cells = Cells(images, steps, x_t, x_0, timesteps, embeddings, mean, std, denoise, denoise_ref)
    return gaussian.log_prob(x_prev, mean, std), of_cells
