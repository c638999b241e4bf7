"""The exact gradient of a loss that is separable by cell, from one forward pass.

Each g_it = dL/dlog_prob_it depends on log_prob_it alone, so it is computed from the forward pass that is
backpropagated. `two_pass` evaluates every cell once more before that.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from reward_finetuning.diffusion import gaussian
from reward_finetuning.objectives.cells import CellSource, Denoisers
from reward_finetuning.objectives.protocol import Objective
from reward_finetuning.objectives.two_pass import ALONE, Share, zero_loss
from reward_finetuning.records import Batch


def backpropagate_once(
    objective: Objective,
    networks: Denoisers,
    source: CellSource,
    batch: Batch,
    order: Tensor,
    cells_per_batch: int,
    backward: Callable[[Tensor], None],
    advance: Callable[[int], None],
    share: Share = ALONE,
) -> Tensor:
    """Accumulate grad L of the cells in `order` (flat indices into [B, T]); `backward` is called once a batch of cells.

    Each process accumulates the gradient of its share, as in `two_pass.backpropagate`. Cells with g = 0 are evaluated
    too, for their log-probs are not known before.

    Returns:
        [B, T] log-probs on the CPU before the step, whole on every process; NaN for cells that are not in `order`.
    """
    own = torch.zeros(source.shape, dtype=source.dtype).view(-1)
    for cells, num_cells in share.rounds(order, cells_per_batch):
        advance(num_cells)
        if not len(cells):
            if share.in_lockstep:
                backward(zero_loss(objective, networks, source, order[:1]))
            continue
        evaluated = source.evaluate(networks, cells, with_means=True, with_x_0=objective.has_cell_loss)
        assert evaluated.mean is not None
        log_probs = gaussian.log_prob(source.x_prev(cells), evaluated.mean, evaluated.std)
        own[cells] = log_probs.detach().cpu()
        coefficients = objective.cell_coefficients(own[cells], cells, batch)
        loss = (objective.gradient_unit(*_size(source)) * coefficients.to(log_probs) * log_probs).sum()
        backward(loss + objective.cell_loss(evaluated) if objective.has_cell_loss else loss)
    if objective.has_cell_loss:
        objective.merge(share.total)
    log_probs = torch.full_like(own, float("nan"))
    log_probs[order] = share.total(own)[order]
    return log_probs.view(source.shape)


def _size(source: CellSource) -> tuple[int, int]:
    """(T, C H W)."""
    return source.shape[1], source.num_elements
