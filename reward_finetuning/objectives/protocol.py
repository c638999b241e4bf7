"""What every learning objective is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from torch import Tensor

from reward_finetuning.objectives.cells import CellSource
from reward_finetuning.records import Batch, Cells


@dataclass(frozen=True, slots=True)
class Look:
    """What held-out images say of the weights as they are."""

    accuracy: float
    """Share of held-out comparisons that the policy gets right."""

    is_best: bool
    """Better than at every look before, at these images: the weights to keep so far."""

    ends_epoch: bool
    """Whether the epoch's updates have converged."""


class Objective(Protocol):
    """A loss of an epoch's log-probabilities, known to the training step through its derivative alone.

    The loss depends on the weights through log_probs [B, T], so grad L = sum over cells of g_it grad log_prob_it with
    g = dL/dlog_probs. Given g, cells can be backpropagated a few at a time: memory does not grow with T.

    A method derives from this class and overrides what it needs; the defaults are those of a full-batch loss of
    log_probs alone that learns and counts nothing.
    """

    clip_range: float = float("inf")
    """Nats per latent element; the noise of replayed log-probs must stay well below it. Infinity: no clipping."""

    uses_log_probs: bool = True
    """Whether `coefficients` can differ from 0. False: no log-prob is evaluated in training at all."""

    has_cell_loss: bool = False
    """Whether there is a term that is no function of log_probs (DPOK's KL, RWR's denoising loss)."""

    needs_reference: bool = False
    """Whether `cell_loss` reads `Cells.mean_ref`. Log-probs of rollouts: see `reads_reference` of its config."""

    separable_by: Literal["cell", "prompt"] | None = None
    """What g_it depends on once the update has begun: on log_prob_it alone ("cell": `cell_coefficients` gives it), on
    the log-probs of its prompt's images ("prompt": `prompt_coefficients`), or on all (None). An update of a separable
    loss is one pass where a batch holds such a part."""

    def gradient_unit(self, num_steps: int, num_elements: int) -> float:
        """What `coefficients` are multiplied by before they are backpropagated (docs/decisions/0007).

        A loss that has a weight in it changes its size with that weight. Adam's epsilon and max_grad_norm are absolute:
        without a common unit, they would act at one weight and not at another. A method with `cell_loss` leaves it 1.

        Args:
            num_steps: T.
            num_elements: C H W.
        """
        return 1.0

    def reference_weight(self, num_steps: int, num_elements: int) -> float | None:
        """beta of a loss that is at rest where beta s = r up to a constant of the prompt, s = mean_t(l_t - lr_t).

        In reward units per nat per latent element. None: the loss does not weigh the reference against the reward.

        Args:
            num_steps: T.
            num_elements: C H W.
        """
        return None

    def begin_epoch(self, batch: Batch, source: CellSource, rng: np.random.Generator) -> None:
        """Look at an epoch's rollouts before the first update: count, fit a baseline, draw pairs.

        Args:
            batch: the epoch's log-probs and rewards.
            source: the trajectories behind it.
            rng: the epoch's own; all randomness of the objective comes from it.
        """
        return

    def begin_update(self, update: int) -> Tensor | None:
        """Image rows [R] that update 0, 1, ... of the epoch looks at; None for all of them.

        In the log_probs that follow, the other rows may be NaN. A method with `cell_loss` is called again with the same
        update when its cells have to be backpropagated anew: it forgets what it has counted.
        """
        return None

    def coefficients(self, log_probs: Tensor, batch: Batch) -> Tensor:
        """g = dL/dlog_probs, [B, T] float64, at `log_probs` [B, T]; 0 in rows that the update does not look at.

        Raises:
            TrainingError: the loss has no gradient at them any more.
        """
        ...

    def cell_coefficients(self, log_probs: Tensor, cells: Tensor, batch: Batch) -> Tensor:
        """`coefficients` of flat `cells` [M] alone, at their `log_probs` [M]: [M] float64. If separable by cell."""
        raise NotImplementedError(f"{type(self).__name__} is not separable by cell, but got {len(cells)} cells")

    def prompt_coefficients(self, log_probs: Tensor, rows: Tensor, batch: Batch) -> Tensor:
        """`coefficients` of some image rows alone, if separable by prompt.

        Args:
            log_probs: [R, T] of these rows.
            rows: [R] ascending; of each of their prompts, all rows that the update looks at.
            batch: the whole epoch's.

        Returns:
            [R, T] float64.
        """
        raise NotImplementedError(f"{type(self).__name__} is not separable by prompt, but got {len(rows)} images")

    def cell_loss(self, cells: Cells) -> Tensor:
        """That term's share of the given cells (scalar, with gradient); over the update's cells the shares add up."""
        raise NotImplementedError(f"{type(self).__name__} has no cell_loss, but got {len(cells.images)} cells")

    def merge(self, total: Callable[[Tensor], Tensor]) -> None:
        """Replace what `cell_loss` has counted for `metrics` by its `total` over the processes that share the cells."""
        return

    def metrics(self, log_probs: Tensor, batch: Batch) -> Mapping[str, float]:
        """Numbers to log at `log_probs`, after the update's cells went through `cell_loss`; at least `loss`."""
        ...

    def heldout_rows(self, num_updates: int, *, is_last: bool) -> Tensor | None:
        """Image rows [R] to evaluate again after so many of the epoch's updates, for `look`; None: no look is due."""
        return None

    def look(self, log_probs: Tensor, batch: Batch) -> Look:
        """What held-out images say of the weights, given `log_probs` with the rows of `heldout_rows` filled in."""
        raise NotImplementedError(f"{type(self).__name__} holds no images out")

    def state_dict(self) -> dict[str, Tensor]:
        """What it has learnt or counted; part of the checkpoint."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state_dict`."""
        assert not state
