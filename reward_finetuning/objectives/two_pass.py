"""The exact gradient of any objective of log-probs with the activations of a few cells.

Pass 1 evaluates log_probs [B, T] without gradient; the objective turns them into g = dL/dlog_probs; pass 2
backpropagates sum g_it log_prob_it a few cells at a time. Cells of different steps share a forward pass.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from reward_finetuning.diffusion import gaussian
from reward_finetuning.objectives.cells import CellSource, Denoisers
from reward_finetuning.objectives.protocol import Objective
from reward_finetuning.records import Denoiser


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
        for cells in order.split(cells_per_batch) if len(order) else ():
            flat[cells] = source.log_probs(denoise, cells).cpu()
            advance(len(cells))
    return log_probs


def backpropagate(
    objective: Objective,
    networks: Denoisers,
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
        evaluated = source.evaluate(networks, cells, with_means=objective.uses_log_probs)
        loss = objective.cell_loss(evaluated) if objective.has_cell_loss else torch.zeros((), device=source.device)
        if objective.uses_log_probs:
            assert evaluated.mean is not None
            log_probs = gaussian.log_prob(source.x_prev(cells), evaluated.mean, evaluated.std)
            loss = loss + (flat[cells].to(log_probs) * log_probs).sum()
        backward(loss)
        advance(len(cells))
