"""The updates of one epoch: one pass over its cells each if the loss is separable, else two."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from reward_finetuning.config.errors import TrainingError
from reward_finetuning.config.run import RunConfig
from reward_finetuning.config.sections.training import TrainingConfig
from reward_finetuning.diffusion.noise import cell_order, seed_sequence
from reward_finetuning.events import Progress, report_warning
from reward_finetuning.objectives.cells import CellSource, Denoisers
from reward_finetuning.objectives.noise_floor import NoiseFloor
from reward_finetuning.objectives.one_pass import backpropagate_once, one_pass_size, probably_stopped
from reward_finetuning.objectives.two_pass import backpropagate, replay, with_gradient
from reward_finetuning.policy.finite import check_outputs, check_weights
from reward_finetuning.records import Batch, Rollouts, Stream
from reward_finetuning.training.doctor.probe import Probe
from reward_finetuning.training.engine import loss_scale
from reward_finetuning.training.learner import Learner
from reward_finetuning.training.moving_average import Snapshot


def learn(
    learner: Learner, rollouts: Rollouts, batch: Batch, config: RunConfig, epoch: int, *, on_policy: bool
) -> dict[str, float]:
    """Do up to updates_per_epoch updates; returns metrics `train/...`, and `doctor/...` of the settings.

    Args:
        learner: what is trained.
        rollouts: the epoch's images.
        batch: their log-probs and rewards.
        config: of the run.
        epoch: its number, which keys all randomness.
        on_policy: whether the learner's policy, as it is now, drew the rollouts: then its log-probs are known.

    Raises:
        TrainingError: replayed log-probs are too far from the stored ones, a gradient is not finite, or processes do
            not agree on what they learnt.
    """
    training, objective = config.training, learner.objective
    source = learner.cells(rollouts, batch)
    size = one_pass_size(objective, batch.prompt_index, source.shape[1], training.cells_per_batch)
    # In float16 an update is two passes: the loss scale is chosen from the coefficients of all cells.
    is_one_pass = size is not None and learner.policy.dtype != torch.float16
    if is_one_pass:  # every pass has the shapes of its batches, so the noise floor is measured at them
        training = training.model_copy(update={"cells_per_batch": size})
    uses_log_probs = objective.uses_log_probs
    work = _work(training, batch.log_probs_old.numel(), uses_log_probs=uses_log_probs, on_policy=on_policy)
    with Progress("train", f"epoch {epoch}", work, "cells") as progress:
        updates = _Updates(learner, source, training, (config.seed, epoch), progress.advance, is_one_pass=is_one_pass)
        if on_policy and uses_log_probs and training.old_log_probs == "replay":
            batch = updates.with_replayed_log_probs(batch)
        rng = np.random.default_rng(seed_sequence(config.seed, Stream.OBJECTIVE, epoch))
        objective.begin_epoch(batch, source, rng)
        metrics = updates.run(batch, on_policy=on_policy)
        updates.check_policy(batch, on_policy=on_policy)
        measured = updates.probe.metrics(batch, source.num_elements, on_policy=on_policy)
    learner.engine.processes.check_equal(learner.policy.trainable().values())
    if updates.floor is not None:
        floor = {"max": updates.floor.max_gap, "clipped_share": updates.floor.clipped_share}
        metrics |= {f"log_prob_gap_{name}": value for name, value in floor.items()}
    return {f"train/{key}": value for key, value in metrics.items()} | measured


OVERFLOW_BACKOFF = 16.0
"""By what the loss scale is divided after an overflow in float16; a power of two, so nothing is rounded."""

LEAST_BACKOFF = 2.0**-24


class _Updates:
    """One epoch's updates of a learner."""

    def __init__(
        self,
        learner: Learner,
        source: CellSource,
        training: TrainingConfig,
        key: tuple[int, int],
        advance: Callable[[int], None],
        *,
        is_one_pass: bool,
    ) -> None:
        self._engine, self._objective, self._average = learner.engine, learner.objective, learner.average
        self._processes, self._share = learner.engine.processes, learner.engine.share
        policy = learner.policy
        self._is_half = policy.dtype == torch.float16
        self._is_one_pass = is_one_pass
        # Kernels are compiled for each number of cells of a batch.
        self._multiple = training.cells_per_batch if policy.is_compiled else 1
        self._stopped = torch.zeros(math.prod(source.shape), dtype=torch.bool)
        """[B T]: g = 0 at the newest log-probs of the cell."""
        self._policy = policy
        self._networks = Denoisers(
            policy=policy.denoiser(uncond_gradient=training.uncond_gradient),
            unguided=policy.unguided_denoiser(),
            reference=policy.reference_denoiser() if learner.objective.needs_reference else None,
        )
        self._source, self._training, self._advance = source, training, advance
        self._key = key
        self._trained = policy.trainable()
        self._best: Snapshot | None = None
        self._best_accuracy = 0.0
        self.probe = Probe(learner.engine, learner.objective, training)
        self.floor: NoiseFloor | None = None
        """Measured at the first update if its log-probs are known."""
        self._backoff = 1.0  # of this epoch alone, so that a run that resumes has the same bits
        self._unit = learner.objective.gradient_unit(source.shape[1], source.num_elements)

    def with_replayed_log_probs(self, batch: Batch) -> Batch:
        """The batch with its old log-probs evaluated again, at the batch shapes of training."""
        # In an order that no update uses: at the first update they are held against those of other batches.
        old = self._replay(self._order(self._training.updates_per_epoch))
        return Batch(old, batch.log_probs_ref, batch.rewards, batch.prompt_index, batch.prompt_keys)

    def run(self, batch: Batch, *, on_policy: bool) -> dict[str, float]:
        """All updates; metrics of the last one. Where the objective looks at held-out images it keeps the best."""
        objective, num_cells = self._objective, batch.log_probs_old.numel()
        metrics: dict[str, float] = {"loss": 0.0}
        norms: list[float] = []
        for update in range(self._training.updates_per_epoch):
            if self._look(update, batch):
                break
            order = self._source.of_images(objective.begin_update(update), self._order(update))
            log_probs, is_known = batch.log_probs_old, on_policy and update == 0
            num_passes = 1 if is_known or not objective.uses_log_probs else 2
            self._advance(num_passes * (num_cells - len(order)))  # what this update does not look at is done
            self.probe.watches_gradient = is_known and objective.uses_log_probs
            if self._is_one_pass and not is_known:
                log_probs = self._backpropagate_once(batch, order)
                norms.append(self._engine.step())
            else:
                if objective.uses_log_probs and not is_known:
                    log_probs = self._replay(order)
                norms.append(self._update(log_probs, batch, order, update, is_known=is_known))
            if not is_known:
                self.probe.after_update(log_probs, batch, on_policy=on_policy)
            self.probe.after_step(norms[-1])
            if self._average is not None:
                self._average.update()
            metrics = dict(objective.metrics(log_probs, batch))
        else:
            self._look(self._training.updates_per_epoch, batch)
        if self._best is not None:
            self._best.restore()
            metrics |= {"kept_updates": self._best.num_updates, "heldout_accuracy": self._best_accuracy}
        return metrics | {"updates": len(norms), "grad_norm": sum(norms) / max(1, len(norms))}

    def check_policy(self, batch: Batch, *, on_policy: bool) -> None:
        """Refuse weights that are not finite, or that make log-probs of the first cells that are not.

        Raises:
            TrainingError: training diverged; such a policy is never committed.
        """
        check_weights(self._policy.trainable(), self._policy.network_name)
        cells = self._order(0)[: -(-self._training.cells_per_batch // 4)]
        ahead = replay(self._networks.policy, self._source, cells, len(cells), lambda _: None, self._share)
        self._check_outputs("log-probs after the update", ahead.view(-1)[cells])
        self.probe.after_update(ahead, batch, on_policy=on_policy)

    def _update(self, log_probs: Tensor, batch: Batch, order: Tensor, update: int, *, is_known: bool) -> float:
        objective = self._objective
        coefficients = torch.zeros(self._source.shape, dtype=torch.float64)
        if objective.uses_log_probs:
            coefficients = self._coefficients(log_probs, batch, order)
        if not torch.isfinite(coefficients).all():
            raise TrainingError(
                "the loss's gradient is not finite: nothing was updated; look at the rewards and log-probs"
            )
        scale = loss_scale(coefficients, self._source.num_elements) if self._is_half else 1.0
        advance = self._advance
        evaluated = self._backpropagate(coefficients, order, scale * self._backoff, advance)
        while self._is_half and not self._engine.gradient_is_finite():
            self._engine.clear()
            advance = _no_progress  # the same cells again
            self._backoff /= OVERFLOW_BACKOFF
            if self._backoff < LEAST_BACKOFF:
                raise TrainingError(
                    f"gradients overflow float16 even at a loss scale of {scale * LEAST_BACKOFF:g}: nothing was "
                    "updated; use model.dtype: bfloat16 or float32"
                )
            if objective.has_cell_loss:
                objective.begin_update(update)
            evaluated = self._backpropagate(coefficients, order, scale * self._backoff, advance)
        if is_known and objective.uses_log_probs:
            self._gate(evaluated, batch, with_gradient(objective, coefficients, order, self._multiple))
        return self._engine.step(scale * self._backoff)

    def _coefficients(self, log_probs: Tensor, batch: Batch, order: Tensor) -> Tensor:
        # What an objective has learnt on a GPU may differ in the last bits: all take the first process's view.
        coefficients = self._unit * self._processes.agreed(self._objective.coefficients(log_probs, batch))
        self._stopped[order] = coefficients.view(-1)[order] == 0
        return coefficients

    def _backpropagate(
        self, coefficients: Tensor, order: Tensor, scale: float, advance: Callable[[int], None]
    ) -> Tensor:
        """Accumulate the gradient of the loss times `scale`; log-probs [B, T] of the cells that have one."""
        cells = with_gradient(self._objective, coefficients, order, self._multiple)
        with self.probe.watched(cells, self._share, scale) as after_batch:

            def backward(loss: Tensor) -> None:
                self._engine.backward(loss if scale == 1.0 else scale * loss)
                after_batch()

            return backpropagate(
                self._objective,
                self._networks,
                self._source,
                coefficients,
                order,
                self._training.cells_per_batch,
                backward,
                advance,
                self._share,
                self._multiple,
            )

    def _backpropagate_once(self, batch: Batch, order: Tensor) -> Tensor:
        """Accumulate the update's gradient; its log-probs [B, T]."""
        objective, size, is_compiled = self._objective, self._training.cells_per_batch, self._policy.is_compiled
        stopped = probably_stopped(objective, self._stopped, order, size, is_compiled=is_compiled)
        log_probs = backpropagate_once(
            objective,
            self._networks,
            self._source,
            batch,
            order,
            size,
            self._engine.backward,
            lambda num_cells: self._advance(2 * num_cells),  # in the place of two passes
            self._share,
            stopped,
        )
        self._check_outputs("replayed log-probs", log_probs.view(-1)[order])
        coefficients = self._coefficients(log_probs, batch, order)
        idle = order[stopped[order]]
        if len(idle):
            self._backpropagate(coefficients, idle, 1.0, _no_progress)  # those that have a gradient again
        return log_probs

    def _look(self, num_updates: int, batch: Batch) -> bool:
        """Look at held-out images if that is due, and keep the weights if they are the best; whether updates end."""
        rows = self._objective.heldout_rows(num_updates, is_last=num_updates == self._training.updates_per_epoch)
        if rows is None:
            return False
        log_probs = self._replay(self._source.of_images(rows, self._order(0)))
        look = self._processes.agreed(self._objective.look(log_probs, batch))
        if look.is_best or self._best is None:
            self._best, self._best_accuracy = Snapshot(self._trained, num_updates), look.accuracy
        return look.ends_epoch

    def _order(self, update: int) -> Tensor:
        seed, epoch = self._key
        batch_size, num_steps = self._source.shape
        return cell_order(seed, epoch, update, batch_size * num_steps)

    def _replay(self, order: Tensor) -> Tensor:
        cells_per_batch = self._training.cells_per_batch
        log_probs = replay(self._networks.policy, self._source, order, cells_per_batch, self._advance, self._share)
        self._check_outputs("replayed log-probs", log_probs.view(-1)[order])
        return log_probs

    def _check_outputs(self, what: str, values: Tensor) -> None:
        check_outputs(what, [values], self._policy.network_name, self._policy.network, self._policy.dtype)

    def _gate(self, evaluated: Tensor, batch: Batch, cells: Tensor) -> None:
        """Before the first step: refuse stored log-probs far from those `evaluated` for the gradient [B, T]."""
        if not len(cells):
            return
        self._check_outputs("evaluated log-probs", evaluated.view(-1)[cells])
        clip_range = self._objective.clip_range
        self.floor = NoiseFloor.of(evaluated, batch.log_probs_old, cells, clip_range=clip_range)
        finding = self.floor.finding(clip_range)
        match self.floor.verdict(clip_range):
            case "fail":
                raise TrainingError(f"{finding}; use float32, training.old_log_probs: replay, or a larger clip_range")
            case "warn":
                report_warning(finding)


def _no_progress(num_cells: int) -> None:
    del num_cells


def _work(training: TrainingConfig, num_cells: int, *, uses_log_probs: bool, on_policy: bool) -> int:
    """Cells that `learn` goes over at most, all passes together; one pass in the place of two counts twice."""
    passes = training.updates_per_epoch + uses_log_probs * (training.updates_per_epoch - on_policy)
    return num_cells * (passes + (on_policy and uses_log_probs and training.old_log_probs == "replay"))
