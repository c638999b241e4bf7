"""The updates of one epoch: two passes over its cells each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from reward_finetuning.config.errors import TrainingError
from reward_finetuning.config.run import RunConfig
from reward_finetuning.config.training import TrainingConfig
from reward_finetuning.diffusion.noise import cell_order
from reward_finetuning.objectives.noise_floor import NoiseFloor, measure_noise_floor, verdict
from reward_finetuning.objectives.two_pass import CellSource, backpropagate, replay
from reward_finetuning.policy.learner import Learner
from reward_finetuning.progress import Progress
from reward_finetuning.records import Batch, Denoiser, Rollouts


def learn(learner: Learner, rollouts: Rollouts, batch: Batch, config: RunConfig, epoch: int) -> dict[str, float]:
    """Do updates_per_epoch updates; returns metrics `train/...` of the last one.

    Raises:
        TrainingError: replayed log-probs are too far from the stored ones, or a gradient is not finite.
    """
    training = config.training
    source = _source(learner, rollouts, batch)
    num_cells = batch.log_probs_old.numel()
    denoise = learner.policy.denoiser(uncond_gradient=training.uncond_gradient)
    with Progress(f"train, epoch {epoch}", _work(training, num_cells), "cells") as progress:
        order = cell_order(config.seed, epoch, 0, num_cells)
        if training.old_log_probs == "replay":
            old = replay(denoise, source, order, training.cells_per_batch, progress.advance)
            batch = Batch(old, batch.log_probs_ref, batch.rewards, batch.prompt_index)
        floor = _gate(learner, denoise, source, batch, order[: training.gate_cells], training, progress.advance)
        log_probs, norms = batch.log_probs_old, []
        for update in range(training.updates_per_epoch):
            order = cell_order(config.seed, epoch, update, num_cells)
            if update > 0:  # at the first update the policy is the one that sampled: pass 1 is free
                log_probs = replay(denoise, source, order, training.cells_per_batch, progress.advance)
            norms.append(_update(learner, denoise, source, log_probs, batch, order, training, progress.advance))
    metrics = learner.objective.metrics(log_probs, batch)
    return {f"train/{key}": value for key, value in metrics.items()} | {
        "train/grad_norm": sum(norms) / len(norms),
        "train/log_prob_gap_max": floor.max_gap,
        "train/log_prob_gap_clipped_share": floor.clipped_share,
    }


def _source(learner: Learner, rollouts: Rollouts, batch: Batch) -> CellSource:
    texts = list({s.prompt.id: s.prompt.text for s in rollouts.samples}.values())
    return CellSource(
        latents=rollouts.trajectories.latents,
        embeddings=learner.policy.encode(texts),
        prompt_index=batch.prompt_index,
        grid=learner.policy.grid,
        device=learner.policy.device,
    )


def _work(training: TrainingConfig, num_cells: int) -> int:
    """Cells that `learn` goes over, all passes together."""
    replays = training.updates_per_epoch - 1 + (training.old_log_probs == "replay")
    return min(training.gate_cells, num_cells) + (training.updates_per_epoch + replays) * num_cells


def _gate(
    learner: Learner,
    denoise: Denoiser,
    source: CellSource,
    batch: Batch,
    cells: Tensor,
    training: TrainingConfig,
    advance: Callable[[int], None],
) -> NoiseFloor:
    clip_range = learner.objective.clip_range
    floor = measure_noise_floor(
        denoise, source, batch.log_probs_old, cells, training.cells_per_batch, clip_range=clip_range, advance=advance
    )
    finding = (
        f"replayed log-probs differ from the stored ones by up to {floor.max_gap:.2g} nats, clip_range is "
        f"{clip_range:g} ({floor.clipped_share:.1%} of cells clip from noise alone)"
    )
    match verdict(floor, clip_range):
        case "fail":
            raise TrainingError(f"{finding}; use float32, training.old_log_probs: replay, or a larger clip_range")
        case "warn":
            print(f"warning: {finding}", flush=True)
    return floor


def _update(
    learner: Learner,
    denoise: Denoiser,
    source: CellSource,
    log_probs: Tensor,
    batch: Batch,
    order: Tensor,
    training: TrainingConfig,
    advance: Callable[[int], None],
) -> float:
    coefficients = learner.objective.coefficients(log_probs, batch)
    if not torch.isfinite(coefficients).all():
        raise TrainingError("the loss's gradient is not finite: nothing was updated; look at the rewards and log-probs")
    denoise_ref = learner.policy.reference_denoiser() if learner.objective.needs_reference else None
    backpropagate(
        learner.objective,
        denoise,
        denoise_ref,
        source,
        coefficients,
        order,
        training.cells_per_batch,
        learner.engine.backward,
        advance,
    )
    return learner.engine.step()
