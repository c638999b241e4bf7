"""The exact gradient of any objective of log-probs with the activations of a few cells.

Pass 1 evaluates log_probs [B, T] without gradient; the objective turns them into g = dL/dlog_probs; pass 2
backpropagates sum g_it log_prob_it a few cells at a time. Cells of different steps share a forward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reward_finetuning.diffusion import gaussian
from reward_finetuning.objectives.cells import CellSource, Denoisers
from reward_finetuning.objectives.protocol import Objective
from reward_finetuning.records import Denoiser


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a pass that this process does, and how the parts of all processes become the whole.

    Batches of cells are the same for any number of processes, and a batch is evaluated by one of them: so the
    log-probs of pass 1 do not depend on that number, not even in the last bit.
    """

    rank: int = 0
    count: int = 1
    total: Callable[[Tensor], Tensor] = lambda part: part
    """A CPU tensor of this process -> the sum over all processes, the same on each."""

    in_lockstep: bool = False
    """Whether a process without a batch takes part in the passes of the others, as sharded weights need it."""

    def rounds(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, int]]:
        """Those of `batches` for this process, each with the number of cells that all processes do meanwhile.

        The last batch is empty where there is none left for this process.
        """
        for start in range(0, len(batches), self.count):
            together = batches[start : start + self.count]
            own = together[self.rank] if self.rank < len(together) else together[0][:0]
            yield own, sum(len(batch) for batch in together)

    def whole(self, own: Tensor, cells: Tensor) -> Tensor:
        """[B, T] values at flat `cells`, of which this process has `own` [B, T], 0 elsewhere; NaN at other cells."""
        values = torch.full_like(own, float("nan"))
        if len(cells):
            values.view(-1)[cells] = self.total(own).view(-1)[cells]
        return values


ALONE = Share()


def batches_of(order: Tensor, cells_per_batch: int) -> Sequence[Tensor]:
    """`order` in batches of at most `cells_per_batch`."""
    return order.split(cells_per_batch) if len(order) else ()


def replay(
    denoise: Denoiser,
    source: CellSource,
    order: Tensor,
    cells_per_batch: int,
    advance: Callable[[int], None],
    share: Share = ALONE,
) -> Tensor:
    """Pass 1: log-probs of the cells in `order` (flat indices into [B, T]), evaluated again without gradient.

    Returns:
        [B, T] float32 on the CPU, whole on every process; NaN for cells that are not in `order`.
    """
    flat = torch.zeros(source.shape, dtype=source.dtype).view(-1)
    with torch.no_grad():
        for cells, num_cells in share.rounds(batches_of(order, cells_per_batch)):
            if len(cells):
                flat[cells] = source.log_probs(denoise, cells).cpu()
            elif share.in_lockstep:
                source.log_probs(denoise, order[:1])
            advance(num_cells)
    return share.whole(flat.view(source.shape), order)


def with_gradient(objective: Objective, coefficients: Tensor, order: Tensor, multiple: int = 1) -> Tensor:
    """The part of `order` that `backpropagate` evaluates: without a cell_loss, only cells with g not 0.

    Others are added until their number is a multiple of `multiple`, or none is left.
    """
    if objective.has_cell_loss:
        return order
    left_out = coefficients.reshape(-1)[order] == 0
    return order[~fewer(left_out, multiple)]


def fewer(left_out: Tensor, multiple: int) -> Tensor:
    """`left_out` [M] bool with fewer True: the number of False is a multiple of `multiple`, if there are enough."""
    rows = left_out.nonzero()[:, 0]
    missing = -(len(left_out) - len(rows)) % multiple
    left_out = left_out.clone()
    left_out[rows[:missing]] = False
    return left_out


def zero_loss(objective: Objective, networks: Denoisers, source: CellSource, cells: Tensor) -> Tensor:
    """A loss whose gradient is 0, from the passes that a batch of cells takes; nothing is counted for metrics."""
    evaluated = source.evaluate(networks, cells, with_means=objective.uses_log_probs, with_x_0=objective.has_cell_loss)
    loss = copy.copy(objective).cell_loss(evaluated) if objective.has_cell_loss else evaluated.x_t.new_zeros(())
    if evaluated.mean is not None:
        loss = loss + evaluated.mean.sum()
    return 0.0 * loss


def backpropagate(
    objective: Objective,
    networks: Denoisers,
    source: CellSource,
    coefficients: Tensor,
    order: Tensor,
    cells_per_batch: int,
    backward: Callable[[Tensor], None],
    advance: Callable[[int], None],
    share: Share = ALONE,
    multiple: int = 1,
) -> Tensor:
    """Pass 2: accumulate grad L, given g = `coefficients` [B, T] float64; `backward` is called once a batch of cells.

    Each process accumulates the gradient of its share; their sum is grad L, for g carries every 1/n of the loss.
    Cells with g = 0 (clipped, or of a tied prompt) are left out if the objective has no cell_loss: exact, and
    it costs nothing. `multiple` is that of `with_gradient`.

    Returns:
        [B, T] log-probs of the cells that were evaluated, on the CPU, whole on every process; NaN for the others, and
        for all where the objective uses no log-probs.
    """
    flat = coefficients.reshape(-1)
    kept = with_gradient(objective, coefficients, order, multiple)
    advance(len(order) - len(kept))
    own = torch.zeros(source.shape, dtype=source.dtype, device=source.device)  # on the device: no batch is waited for
    for cells, num_cells in share.rounds(batches_of(kept, cells_per_batch)):
        advance(num_cells)
        if not len(cells):
            if share.in_lockstep:
                backward(zero_loss(objective, networks, source, kept[:1]))
            continue
        evaluated = source.evaluate(
            networks, cells, with_means=objective.uses_log_probs, with_x_0=objective.has_cell_loss
        )
        loss = objective.cell_loss(evaluated) if objective.has_cell_loss else torch.zeros((), device=source.device)
        if objective.uses_log_probs:
            assert evaluated.mean is not None
            assert evaluated.x_prev is not None
            log_probs = gaussian.log_prob(evaluated.x_prev, evaluated.mean, evaluated.std)
            loss = loss + (flat[cells].to(log_probs) * log_probs).sum()
            own.view(-1)[cells.to(own.device)] = log_probs.detach()
        backward(loss)
    if objective.has_cell_loss:
        objective.merge(share.total)
    return share.whole(own.cpu(), kept if objective.uses_log_probs else kept[:0])
