"""What every learning objective is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from reward_finetuning.records import Batch, Cells


class Objective(Protocol):
    """A loss of an epoch's log-probabilities, known to the training step through its derivative alone.

    The loss depends on the weights through log_probs [B, T], so grad L = sum over cells of g_it grad log_prob_it with
    g = dL/dlog_probs. Given g, cells can be backpropagated a few at a time: memory does not grow with T.
    """

    needs_reference: bool
    """Whether `cell_loss` calls the reference network in training (the log-probs under it are recorded anyway)."""

    clip_range: float
    """Nats per latent element; the noise of replayed log-probs must stay well below it. Infinity: no clipping."""

    has_cell_loss: bool
    """Whether there is a term that is no function of log_probs (DPOK's KL, RWR's denoising loss)."""

    def coefficients(self, log_probs: Tensor, batch: Batch) -> Tensor:
        """g = dL/dlog_probs, [B, T] float64, at `log_probs` [B, T]."""
        ...

    def cell_loss(self, cells: Cells) -> Tensor:
        """That term's share of the given cells (scalar, with gradient); over all cells the shares add up to it."""
        ...

    def metrics(self, log_probs: Tensor, batch: Batch) -> Mapping[str, float]:
        """Numbers to log at `log_probs`; at least `loss`."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """What it has learnt or counted; part of the checkpoint."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state_dict`."""
        ...
