"""The exact gradient of a separable loss, from one forward pass.

Where g_it = dL/dlog_prob_it depends on log_prob_it alone, or on the log-probs of the images of its prompt and a batch
holds all of these, it is computed from the forward pass that is backpropagated. `two_pass` evaluates every cell once
more before that. Cells that the clip has probably stopped take a forward pass without gradient alone
(docs/decisions/0011).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from reward_finetuning.diffusion import gaussian
from reward_finetuning.objectives.cells import CellSource, Denoisers
from reward_finetuning.objectives.protocol import Objective
from reward_finetuning.objectives.two_pass import ALONE, Share, batches_of, fewer, replay, zero_loss
from reward_finetuning.records import Batch

LEAST_STOPPED = 0.4
"""Share of an update's cells that are expected to be stopped from which on they are evaluated apart. With less, smaller
batches cost what is saved (docs/decisions/0011)."""

BATCH_SIZES = 8
"""Sizes of batches that occur where stopped cells are evaluated apart: libraries prepare kernels for each size."""


def one_pass_size(objective: Objective, prompt_index: Tensor, num_steps: int, cells_per_batch: int) -> int | None:
    """Cells per batch with which an update is one pass; None where a batch cannot hold a part of the loss.

    Args:
        objective: whose loss it is.
        prompt_index: [B].
        num_steps: T.
        cells_per_batch: at most so many cells are evaluated at once.

    Returns:
        For a loss that is separable by prompt, a multiple of the K T cells of the prompt that has most images.
    """
    if objective.separable_by == "prompt":
        part = int(torch.bincount(prompt_index).max()) * num_steps
        return cells_per_batch // part * part or None
    return cells_per_batch if objective.separable_by == "cell" else None


def probably_stopped(
    objective: Objective, stopped: Tensor, order: Tensor, cells_per_batch: int, *, is_compiled: bool
) -> Tensor:
    """Cells that `backpropagate_once` evaluates without gradient, [B T] bool.

    Args:
        objective: whose loss it is.
        stopped: [B T] bool, cells that had g = 0 at their newest log-probs.
        order: cells of the update.
        cells_per_batch: size of a batch.
        is_compiled: whether kernels of the network are compiled for each number of cells. The number of cells with
            gradient is then a multiple of `cells_per_batch`.
    """
    apart = torch.zeros_like(stopped)
    if objective.has_cell_loss or stopped[order].double().mean() < LEAST_STOPPED:
        return apart  # with a cell_loss, all cells have a gradient
    if objective.separable_by == "cell":
        multiple = cells_per_batch if is_compiled else max(1, cells_per_batch // BATCH_SIZES)
        apart[order] = fewer(stopped[order], multiple)
    elif not is_compiled:  # parts of prompts are batches of many sizes
        apart[order] = stopped[order]
    return apart


def whole_prompts(order: Tensor, prompt_index: Tensor, num_steps: int, cells_per_batch: int) -> Sequence[Tensor]:
    """The cells in `order` in batches of whole prompts, as many as fit; prompts in the order of their first cell.

    A batch's cells are sorted by image, then by step.
    """
    ascending = order.sort().values
    prompts = prompt_index[ascending // num_steps]
    by_prompt = prompts.argsort(stable=True)
    names, counts = prompts[by_prompt].unique_consecutive(return_counts=True)
    cells = dict(zip(names.tolist(), ascending[by_prompt].split(counts.tolist()), strict=True))
    shuffled = [cells[prompt] for prompt in dict.fromkeys(prompt_index[order // num_steps].tolist())]
    return [torch.cat(batch).sort().values for batch in _packed(shuffled, cells_per_batch)]


def _packed(parts: Sequence[Tensor], size: int) -> Iterator[list[Tensor]]:
    """`parts` one after another in groups of at most `size` elements; a larger part is a group of its own."""
    group: list[Tensor] = []
    for part in parts:
        if group and sum(map(len, group)) + len(part) > size:
            yield group
            group = []
        group.append(part)
    if group:
        yield group


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
    stopped: Tensor | None = None,
) -> Tensor:
    """Accumulate grad L of the cells in `order` (flat indices into [B, T]); `backward` is called once a batch of cells.

    Each process accumulates the gradient of its share, as in `two_pass.backpropagate`. The caller has seen that there
    is a `one_pass_size`.

    Args:
        objective: whose loss it is.
        networks: what is evaluated.
        source: the cells.
        batch: their old log-probs and rewards.
        order: of the cells.
        cells_per_batch: at most so many cells are evaluated at once.
        backward: of the loss of a batch.
        advance: is told the number of cells that are done.
        share: of this process.
        stopped: [B T] bool, cells that are evaluated for their log-probs alone: the clip had stopped them at the newest
            log-probs, so they probably have g = 0 again. The caller backpropagates those that have not. An objective
            with a cell_loss has none.

    Returns:
        [B, T] log-probs on the CPU before the step, whole on every process; NaN for cells that are not in `order`.
    """
    idle = order[stopped[order]] if stopped is not None else order[:0]
    known = replay(networks.policy, source, idle, cells_per_batch, advance, share).view(-1)
    active = order[~torch.isin(order, idle)]
    looked_at = (order // source.shape[1]).unique()
    own = torch.zeros(source.shape, dtype=source.dtype).view(-1)
    for cells, num_cells in share.rounds(_batches(objective, source, active, cells_per_batch)):
        advance(num_cells)
        if not len(cells):
            if share.in_lockstep:
                backward(zero_loss(objective, networks, source, active[:1]))
            continue
        evaluated = source.evaluate(networks, cells, with_means=True, with_x_0=objective.has_cell_loss)
        assert evaluated.mean is not None
        assert evaluated.x_prev is not None
        log_probs = gaussian.log_prob(evaluated.x_prev, evaluated.mean, evaluated.std)
        own[cells] = known[cells] = log_probs.detach().cpu()
        coefficients = _coefficients(objective, known, cells, looked_at, batch)
        loss = (objective.gradient_unit(*_size(source)) * coefficients.to(log_probs) * log_probs).sum()
        backward(loss + objective.cell_loss(evaluated) if objective.has_cell_loss else loss)
    if objective.has_cell_loss:
        objective.merge(share.total)
    whole = share.whole(own.view(source.shape), active)
    whole.view(-1)[idle] = known[idle]
    return whole


def _batches(objective: Objective, source: CellSource, order: Tensor, cells_per_batch: int) -> Sequence[Tensor]:
    if objective.separable_by == "prompt" and len(order):
        return whole_prompts(order, source.prompt_index, source.shape[1], cells_per_batch)
    return batches_of(order, cells_per_batch)


def _coefficients(objective: Objective, log_probs: Tensor, cells: Tensor, looked_at: Tensor, batch: Batch) -> Tensor:
    """g [M] of a batch of cells, from flat `log_probs` [B T] and the image rows that the update looks at."""
    if objective.separable_by == "cell":
        return objective.cell_coefficients(log_probs[cells], cells, batch)
    num_steps = batch.log_probs_old.shape[1]
    images, steps = cells // num_steps, cells % num_steps
    rows = looked_at[torch.isin(batch.prompt_index[looked_at], batch.prompt_index[images])]
    g = objective.prompt_coefficients(log_probs.view(-1, num_steps)[rows], rows, batch)
    return g[torch.searchsorted(rows, images), steps]


def _size(source: CellSource) -> tuple[int, int]:
    """(T, C H W)."""
    return source.shape[1], source.num_elements
