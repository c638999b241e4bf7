"""Draw a shard of an epoch's images with the current policy."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.config import ArtifactError, RunConfig, parse_config
from reward_finetuning.diffusion.noise import reference_cells
from reward_finetuning.events import Progress
from reward_finetuning.policy.compilation import compile_time
from reward_finetuning.policy.load import Policy
from reward_finetuning.policy.restore import policy_at, weights_sha256
from reward_finetuning.policy.sampling import draw_micro_batch, micro_batch_noise
from reward_finetuning.prompts import draw_prompts, read_prompts, samples_of
from reward_finetuning.records import Sample, Stream
from reward_finetuning.steps.early_scores import EarlyScores
from reward_finetuning.steps.plan import Shard, epoch_number, part_of, policy_before, sampling_policy
from reward_finetuning.steps.program import Config, Epoch, Offset, RolloutsFile, run_step, step
from reward_finetuning.steps.program import Shard as ShardNumber
from reward_finetuning.storage import Reference, RunDirectory, artifact_names, write_reference
from reward_finetuning.storage.artifacts.rollouts import write_micro_batch, write_samples


@step
def sample(
    config: Config, epoch: Epoch, shard: ShardNumber, rollouts: RolloutsFile, offset: Offset = 0
) -> dict[str, Any]:
    """Draw the shard's images, with log-probs under the policy and the reference; returns facts of the artifact."""
    run = RunDirectory(parse_config(config))
    run.check()
    return write_reference(rollouts, drawn_for(run, epoch_number(epoch, offset), shard)).facts


def drawn_for(run: RunDirectory, epoch: int, shard: str, early: EarlyScores | None = None) -> Reference:
    """Commit the rollouts that the epoch after latest.json trains on; a skipped reference if it has nothing to do.

    Args:
        run: the run.
        epoch: to be trained.
        shard: its number, as text.
        early: scores images while others are drawn.
    """
    newest = policy_before(run, epoch)
    if newest is None:
        return Reference(epoch=epoch, skip=True)
    drawn_by = sampling_policy(run.config, newest)
    part = part_of(run.config, drawn_by, shard)
    load = partial(policy_at, run, drawn_by, keep_reference=_differ(run, drawn_by))
    return draw_shard(run, part, drawn_by, load, early)


def draw_shard(
    run: RunDirectory, part: Shard, before: Reference, policy: Callable[[], Policy], early: EarlyScores | None = None
) -> Reference:
    """Commit a shard's rollouts, unless they are there already.

    Args:
        run: the run.
        part: whole micro-batches of an epoch.
        before: the policy of the epoch before.
        policy: gives that policy; called only where there is something to draw.
        early: scores images while others are drawn.

    Raises:
        ArtifactError: `before` is not the policy of the epoch before.
    """
    if before.epoch != part.epoch - 1:
        raise ArtifactError(
            f"epoch {part.epoch} is sampled from the policy of epoch {part.epoch - 1}, got {before.epoch}"
        )
    name = _name(part)
    identity = run.identity("rollouts", part.epoch, weights_sha256(before), f"{part.first}-{part.last}")
    manifest = run.commit(name, identity, lambda folder: _draw(run, part, before, policy(), folder, early))
    return Reference.to(name, manifest)


def is_drawn(run: RunDirectory, part: Shard) -> bool:
    """Whether a shard's rollouts are committed."""
    return run.store.manifest(_name(part)) is not None


def _name(part: Shard) -> str:
    return artifact_names.rollouts(part.epoch, part.first, part.last)


class _Keys(TypedDict):
    """What noise is keyed by, besides the image."""

    seed: int
    stream: Stream
    epoch: int


def _draw(
    run: RunDirectory, part: Shard, before: Reference, policy: Policy, folder: Path, early: EarlyScores | None
) -> dict[str, Any]:
    config, size = run.config, run.config.sampling.micro_batch_size
    drawn = epoch_samples(run, part.epoch)[part.first * size : part.last * size]
    denoise_ref = policy.reference_denoiser() if _differ(run, before) else None
    evaluated = _reference_cells(config, part.epoch, len(policy.grid.stochastic_part().timesteps))
    if early is not None:
        early.begin(part)
    started = time.monotonic()
    members = {number: [s for s in drawn if s.index // size == number] for number in range(part.first, part.last)}
    keys: _Keys = {"seed": config.seed, "stream": Stream.TRAINING, "epoch": part.epoch}
    noise_of = partial(micro_batch_noise, num_steps=policy.grid.num_steps, shape=policy.latent_shape, **keys)
    with (
        compile_time(enabled=config.model.compile) as compiling,
        Progress("sample", f"epoch {part.epoch}", len(drawn), "images") as progress,
        # While a micro-batch is drawn, this thread writes the one before and draws the noise of the next.
        ThreadPoolExecutor(1, "files and noise") as background,
    ):
        noise = background.submit(noise_of, members[part.first], config.sampling)
        written: list[Future[None]] = []
        for number, samples in members.items():
            own_noise = noise.result()
            if number + 1 in members:
                noise = background.submit(noise_of, members[number + 1], config.sampling)
            trajectories, images = draw_micro_batch(
                policy,
                samples,
                config.sampling,
                denoise_ref=denoise_ref,
                reference_cells=None if evaluated is None else evaluated[number * size : (number + 1) * size],
                noise=own_noise,
                **keys,
            )
            if early is not None:
                early.add(images, samples)
            for file in written:
                file.result()  # an error of the thread is raised here
            timesteps = policy.grid.stochastic_part().timesteps
            written = [background.submit(write_micro_batch, folder, number, trajectories, images, timesteps)]
            progress.advance(len(samples))
        for file in written:
            file.result()
    write_samples(folder, drawn, size)
    seconds = time.monotonic() - started - compiling.seconds
    facts = {"compile_seconds": round(compiling.seconds, 3)} if config.model.compile else {}
    return {"num_images": len(drawn), "seconds": round(seconds, 3)} | facts


def _reference_cells(config: RunConfig, epoch: int, num_steps: int) -> NDArray[np.bool_] | None:
    """[B, T] where the reference is evaluated, for an objective that does not read it; None: everywhere."""
    if config.objective.reads_reference:
        return None
    sampling = config.sampling
    return reference_cells(
        config.seed, epoch, config.num_images, sampling.micro_batch_size, num_steps, share=sampling.kl_share
    )


def _differ(run: RunDirectory, before: Reference) -> bool:
    """Whether policy and reference are two networks; where they are one, as at epoch 1, log-probs count for both."""
    return bool(before.name) or not run.config.starts_at_reference


def epoch_samples(run: RunDirectory, epoch: int) -> tuple[Sample, ...]:
    """All B samples of an epoch."""
    config = run.config
    prompts = read_prompts(config.prompts.train)
    drawn = draw_prompts(prompts, config.prompts.prompts_per_epoch, seed=config.seed, epoch=epoch)
    return samples_of(drawn, config.sampling.images_per_prompt)


if __name__ == "__main__":
    run_step(sample)
