"""What the doctor reads while an epoch's updates run: it evaluates no network, and changes no bit of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from reward_finetuning.config.sections.training import TrainingConfig
from reward_finetuning.objectives import Objective
from reward_finetuning.objectives.two_pass import Share, batches_of
from reward_finetuning.records import Batch
from reward_finetuning.training.doctor.measures import (
    GradientPart,
    Moments,
    adam_step,
    log_prob_move,
    noise_share,
    reference_pull,
)
from reward_finetuning.training.engine import Engine


class Probe:
    """The measures of one epoch."""

    def __init__(self, engine: Engine, objective: Objective, training: TrainingConfig) -> None:
        self._engine, self._objective, self._training = engine, objective, training
        self._moves: list[float] = []  # after update 1, 2, ...
        self._parts: list[GradientPart] | None = None  # of the gradient before the next step, of this process
        self._noise: float | None = None
        self._has_stepped = False
        self.watches_gradient = False
        """Whether the next step's gradient is taken in two halves; True at an epoch's first update on policy."""

    def after_update(self, log_probs: Tensor, batch: Batch, *, on_policy: bool) -> None:
        """Take log-probs [B, T] that were evaluated after an update, NaN where they were not."""
        objective = self._objective
        if self._has_stepped and on_policy and objective.uses_log_probs and objective.clip_range != float("inf"):
            self._moves.append(log_prob_move(log_probs, batch.log_probs_old, clip_range=objective.clip_range))

    @contextmanager
    def watched(self, cells: Tensor, share: Share, scale: float) -> Iterator[Callable[[], None]]:
        """Call what it gives after each batch of `cells` [M] was backpropagated, losses multiplied by `scale`."""
        if not self.watches_gradient or share.in_lockstep:  # the gradient of sharded weights is that of all processes
            yield lambda: None
            return
        sizes = [len(own) for own, _ in share.rounds(batches_of(cells, self._training.cells_per_batch)) if len(own)]
        halves = _Halves(self._engine.policy.trainable(), sizes)
        yield halves.after_batch
        self._parts = halves.parts(scale)

    def after_step(self, grad_norm: float) -> None:
        """Take the norm of the gradient that the newest step was along."""
        self._has_stepped = True
        if self._parts is not None:
            parts = [part for own in self._engine.processes.gathered(self._parts) for part in own]
            self._noise, self._parts = noise_share(parts, grad_norm**2), None

    def metrics(self, batch: Batch, num_elements: int, *, on_policy: bool) -> dict[str, float]:
        """`doctor/...` of the epoch; what was not measured is left out."""
        moments = (Moments(*each) for each in self._engine.moments()) if self._has_stepped else ()
        step = adam_step(moments, betas=self._training.betas, epsilon=self._training.epsilon)
        measured = {
            "reference_pull": self._pull(batch, num_elements) if on_policy else None,
            "log_prob_move": max(self._moves, default=None),
            "log_prob_move_first": self._moves[0] if self._moves else None,
            "gradient_noise": self._noise,
            "effective_step": None if step is None else step.size,
            "epsilon_share": None if step is None else step.epsilon_share,
        }
        return {f"doctor/{name}": value for name, value in measured.items() if value is not None}

    def _pull(self, batch: Batch, num_elements: int) -> float | None:
        weight = self._objective.reference_weight(batch.log_probs_old.shape[1], num_elements)
        if weight is None:
            return None
        return reference_pull(
            batch.log_probs_old, batch.log_probs_ref, batch.rewards, batch.prompt_index, weight=weight
        )


class _Halves:
    """The gradient of the first half of a process's batches, and of the others."""

    def __init__(self, weights: Mapping[str, Tensor], sizes: Sequence[int]) -> None:
        """`sizes`: cells of each batch."""
        self._weights, self._sizes = weights, sizes
        self._num_first, self._num_done = len(sizes) // 2, 0
        self._first: dict[str, Tensor] = {}

    def after_batch(self) -> None:
        """Keep a copy of the gradient after the first half."""
        self._num_done += 1
        if self._num_done == self._num_first:  # on the CPU: the GPU's memory is needed while batches are evaluated
            self._first = {name: gradient.to("cpu", copy=True) for name, gradient in self._gradients()}

    def parts(self, scale: float) -> list[GradientPart]:
        """Both halves after the last batch; one part or none where there are fewer batches."""
        norms = [0.0, 0.0]
        for name, gradient in self._gradients():
            first = self._first[name].to(gradient.device) if name in self._first else torch.zeros_like(gradient)
            norms[0] += _squared_norm(first)
            norms[1] += _squared_norm(gradient - first)
        sizes = (sum(self._sizes[: self._num_first]), sum(self._sizes[self._num_first :]))
        return [GradientPart(size, norm / scale**2) for size, norm in zip(sizes, norms, strict=True) if size]

    def _gradients(self) -> list[tuple[str, Tensor]]:
        return [(name, weight.grad.detach()) for name, weight in self._weights.items() if weight.grad is not None]


def _squared_norm(gradient: Tensor) -> float:
    return float(gradient.float().square().sum(dtype=torch.float64))
