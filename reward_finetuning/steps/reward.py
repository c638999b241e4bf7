"""Score every image of a shard."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.config import parse_config
from reward_finetuning.events import Progress
from reward_finetuning.records import Sample
from reward_finetuning.rewards.cached import cached_scorers
from reward_finetuning.rewards.scorer import Scorer, Scorers, load_scorers, usage
from reward_finetuning.rewards.weighted import score
from reward_finetuning.steps.program import Config, RewardsFile, RolloutsFile, run_step, step
from reward_finetuning.storage import Reference, RunDirectory, artifact_names, read_reference, write_reference
from reward_finetuning.storage.artifacts.rewards import write_rewards
from reward_finetuning.storage.artifacts.rollouts import (
    SAMPLES,
    images_file,
    micro_batches_of,
    read_images,
    read_samples,
)
from reward_finetuning.storage.artifacts.scores import ScoreCache


@step
def reward(config: Config, rollouts: RolloutsFile, rewards: RewardsFile) -> dict[str, Any]:
    """Score the images of `rollouts` by every configured scorer; returns facts of the artifact."""
    reference = read_reference(rollouts)
    if reference.skip:
        return write_reference(rewards, reference).facts
    run = RunDirectory(parse_config(config))
    run.check()
    scored = score_rollouts(run, reference, lambda: load_scorers(run.config.reward))
    return write_reference(rewards, scored).facts


def score_rollouts(
    run: RunDirectory, rollouts: Reference, scorers: Scorers, usage_before: Mapping[str, float] | None = None
) -> Reference:
    """Commit the rewards of a rollouts artifact, unless they are there already; latents are not read.

    Args:
        run: the run.
        rollouts: the artifact.
        scorers: of the run.
        usage_before: what scorers had used before they scored a part of these images (EarlyScores); None: none has.
    """
    name = artifact_names.rewards(rollouts.name)
    drawn_by = run.store.manifest(rollouts.name)
    policy = drawn_by.identity.policy if drawn_by else ""
    identity = run.identity("rewards", rollouts.epoch, policy, rollouts.checksum)
    with _cache(run, rollouts) as cache:
        manifest = run.commit(
            name, identity, lambda folder: _score(run, rollouts, scorers(), cache, folder, usage_before or {})
        )
    cache.forget()
    return Reference.to(name, manifest)


def _cache(run: RunDirectory, rollouts: Reference) -> ScoreCache:
    """Scores of a shard, until its rewards are committed."""
    return ScoreCache(run, rollouts.epoch, artifact_names.scores(rollouts.name))


def _score(
    run: RunDirectory,
    rollouts: Reference,
    loaded: Mapping[str, Scorer],
    cache: ScoreCache,
    target: Path,
    usage_before: Mapping[str, float],
) -> dict[str, Any]:
    config = run.config
    size = config.sampling.micro_batch_size
    source, _ = run.open(rollouts, [SAMPLES])
    samples = read_samples(source)
    numbers = micro_batches_of(samples, size)
    run.open(rollouts, [images_file(number) for number in numbers])
    scorers = cached_scorers(loaded, config.reward, run.fingerprinted(), cache)
    started, spent = time.monotonic(), usage(loaded) | dict(usage_before)
    with Progress("reward", f"epoch {rollouts.epoch}", len(samples), "images") as progress:
        batches = _batches(read_images(source, numbers), samples, config.reward.batch_size, progress)
        rewards = score(scorers, config.reward.weights, batches, config.reward.groupwise)
    write_rewards(target, [s.index for s in samples], rewards)
    return {
        "num_images": len(samples),
        "seconds": round(time.monotonic() - started, 3),
        "reward_mean": float(rewards.combined.mean()),
        "rollouts": rollouts.checksum,
        **({"usage": {name: count - spent[name] for name, count in usage(loaded).items()}} if spent else {}),
    }


def _batches(
    images: Iterator[NDArray[np.uint8]], samples: Sequence[Sample], batch_size: int, progress: Progress
) -> Iterator[tuple[NDArray[np.uint8], Sequence[Sample]]]:
    """Pictures of at most `batch_size` with their samples, in order."""
    start = 0
    for pictures in images:
        for first in range(0, len(pictures), batch_size):
            part = pictures[first : first + batch_size]
            yield part, samples[start : start + len(part)]
            start += len(part)
            progress.advance(len(part))


if __name__ == "__main__":
    run_step(reward)
