"""Duration of a run from what a short run of the same settings took on the same machine."""

from __future__ import annotations

from dataclasses import dataclass

from reward_finetuning.config import RunConfig
from reward_finetuning.config.sections.objective import PpodConfig
from reward_finetuning.pipelines.estimate.cost import evaluated_images, num_evaluations


@dataclass(frozen=True, slots=True)
class Rates:
    """What one machine needs for one model and one method, in seconds."""

    pretrained_step: float
    """One denoising step of one image of the pretrained policy, which is its own reference. Decoding is in it."""

    step: float
    """The same of a policy in training, with the reference as far as the method evaluates it."""

    score: float
    """Scoring one image with all reward models."""

    cell: float
    """Training on one (image, step) cell, with all updates of an epoch and the noise check."""

    start: float
    """Starting the tasks of a pipeline run: imports and loading."""


def cells_of_an_epoch(config: RunConfig, num_images: int) -> int:
    """Cells that each update of an epoch of `num_images` images trains on."""
    objective = config.objective
    trained = min(2 * objective.pairs_per_update, num_images) if isinstance(objective, PpodConfig) else num_images
    return trained * config.sampling.num_steps


def durations(config: RunConfig, rates: Rates) -> dict[str, float]:
    """Seconds of each role of a run on one machine, one task at a time."""
    epochs, images, steps = config.loop.epochs, config.num_images, config.sampling.num_steps
    evaluated, _ = evaluated_images(config)
    evaluations = num_evaluations(config)
    # Where the KL is measured, the reference is evaluated for every policy but the pretrained one.
    passes = 1 + 2 * (evaluations - 1) if config.evaluation.kl else evaluations
    drawn = 1 if config.sampling.rollouts == "offline" else epochs
    return {
        "sample": images * steps * (rates.pretrained_step + (drawn - 1) * rates.step),
        "reward": images * drawn * rates.score,
        "train": epochs * cells_of_an_epoch(config, images) * rates.cell,
        "evaluate": evaluated
        * (passes * config.evaluation_sampling.num_steps * rates.pretrained_step + evaluations * rates.score),
        "start": rates.start,
    }
