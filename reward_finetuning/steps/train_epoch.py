"""One epoch of learning from rollouts and rewards."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from reward_finetuning.config import ArtifactError, parse_config
from reward_finetuning.diffusion.noise import prompt_key
from reward_finetuning.events import report_news
from reward_finetuning.policy.compilation import compile_time
from reward_finetuning.policy.restore import weights_sha256
from reward_finetuning.records import Batch, Rewards, Rollouts, Sample
from reward_finetuning.steps.plan import Trained, epoch_number, policy_before, sampling_policy, shards_of, trained
from reward_finetuning.steps.program import Config, Epoch, Offset, run_step, step
from reward_finetuning.storage import (
    Manifest,
    Reference,
    RunDirectory,
    artifact_names,
)
from reward_finetuning.storage.artifacts.retention import delete_old_artifacts
from reward_finetuning.storage.artifacts.rewards import read_rewards
from reward_finetuning.storage.artifacts.rollouts import (
    SAMPLES,
    latents_file,
    micro_batches_of,
    read_rollouts,
    read_samples,
)
from reward_finetuning.storage.documents import entry, number
from reward_finetuning.tracking import Entry, MlflowTracker, Tracker, code_version, hardware, system_metrics
from reward_finetuning.training.launch import processes_to_start, start
from reward_finetuning.training.learner import Learner, learner_at, surroundings
from reward_finetuning.training.monitor import watch
from reward_finetuning.training.processes import Processes, commit_together, joined
from reward_finetuning.training.update import learn

NextPolicy = Annotated[str, typer.Option(help="Where to write the reference to the new policy.")]


@step
def train_epoch(config: Config, epoch: Epoch, next_policy: NextPolicy, offset: Offset = 0) -> Trained:
    """Update the policy on an epoch's shards, which the run directory has, commit it, and move latest.json.

    An epoch that has nothing to do (`policy_before`) leaves the policy that there is.
    """
    number, run = epoch_number(epoch, offset), RunDirectory(parse_config(config))
    run.check()
    before = policy_before(run, number)
    if before is None:
        return trained(run, number, next_policy)
    num_processes = processes_to_start(run.config)
    if num_processes and run.store.manifest(artifact_names.policy(number)) is None:
        options = {"config": config, "epoch": str(number), "next_policy": next_policy}
        start("reward_finetuning.steps.train_epoch", options, num_processes)
        return trained(run, number, next_policy)
    drawn, scored = shards_of(run, before)
    with joined(run.config.model) as processes:
        learner = partial(learner_at, run, before, keep_reference=False, processes=processes)
        train_on(run, before, drawn, scored, learner, processes, MlflowTracker(run))
        return trained(run, number, next_policy if processes.is_first else "")


def train_on(
    run: RunDirectory,
    before: Reference,
    rollouts: Sequence[Reference],
    rewards: Sequence[Reference],
    learner: Callable[[], Learner],
    processes: Processes,
    tracker: Tracker,
) -> Reference:
    """Commit the policy that follows `before`, unless it is there already.

    Every process learns; the first one commits, reports, and moves latest.json.

    Args:
        run: the run.
        before: policy of the epoch before.
        rollouts: the epoch's shards, all of them.
        rewards: of the same shards.
        learner: gives the learner at `before`; called only where there is something to learn.
        processes: that learn together.
        tracker: where the epoch's numbers go.

    Raises:
        ArtifactError: the shards are not this epoch's, not whole, or not drawn by `before`.
    """
    epoch = before.epoch + 1
    name = artifact_names.policy(epoch)
    identity = run.identity("policy", epoch, weights_sha256(before))
    pairs = _pairs(rollouts, rewards)
    manifest = commit_together(
        processes, run, name, identity, lambda folder: _train(run, before, pairs, learner(), folder)
    )
    after = Reference.to(name, manifest)
    if not processes.is_first:
        return after
    checkpoint = {"uri": f"{run.uri}/{name}", "checksum": after.checksum, "weights_sha256": weights_sha256(after)}
    references = {f"checkpoints/epoch_{epoch:05d}.json": checkpoint}
    metrics = entry(manifest.facts, "metrics", dict, name)
    machine = manifest.facts.get("machine", {})
    tracker.log(Entry("train", epoch, metrics | system_metrics(), references=references, machine=machine))
    run.advance(after)
    _say(after)
    delete_old_artifacts(run, epoch)
    watch(run, epoch, tracker)
    return after


def _train(
    run: RunDirectory,
    before: Reference,
    pairs: Sequence[tuple[Reference, Reference]],
    learner: Learner,
    folder: Path | None,
) -> dict[str, Any]:
    epoch = before.epoch + 1
    rollouts, rewards, seconds = _read(run, before, pairs)
    batch = _batch(rollouts, rewards)
    started = time.monotonic()
    on_policy = sampling_policy(run.config, before).epoch == before.epoch
    with compile_time(enabled=run.config.model.compile) as compiling:
        learned = learn(learner, rollouts, batch, run.config, epoch, on_policy=on_policy)
    seconds["train"] = time.monotonic() - started - compiling.seconds
    if run.config.model.compile:
        learned |= _compile_seconds([drawn for drawn, _ in pairs], compiling.seconds)
    metrics = learned | _reward_metrics(rewards, batch) | _speed(len(rollouts.samples), seconds)
    metrics |= _usage([scored for _, scored in pairs])
    metrics["sample/kl_to_reference"] = float(rollouts.kl.double().nanmean())
    where = surroundings(learner.policy, learner.engine.processes)
    about = {"epoch": epoch, "parent": before.checksum, "fingerprint": run.fingerprint, **where}
    weights = learner.save(folder, about)
    if folder is None:
        return {}
    machine = {"hardware": hardware(), "code_version": code_version()}
    machine |= {key: where[key] for key in ("processes", "threads")}
    return {"weights_sha256": weights, "metrics": metrics, "machine": machine}


def _pairs(rollouts: Sequence[Reference], rewards: Sequence[Reference]) -> list[tuple[Reference, Reference]]:
    """Each shard's rollouts with its rewards, in order of their samples, whatever order they came in."""
    scored = {entry(reference.facts, "rollouts", str, reference.name): reference for reference in rewards}
    try:
        return [(shard, scored[shard.checksum]) for shard in sorted(rollouts, key=lambda shard: shard.name)]
    except KeyError:
        raise ArtifactError(f"no rewards belong to one of the rollouts {[r.name for r in rollouts]}") from None


def _read(
    run: RunDirectory, before: Reference, pairs: Sequence[tuple[Reference, Reference]]
) -> tuple[Rollouts, Rewards, dict[str, float]]:
    """All shards as one, with the seconds that sampling and scoring took."""
    samples: list[Sample] = []
    files: list[Path] = []
    scores: list[Rewards] = []
    seconds = {"sample": 0.0, "reward": 0.0}
    for drawn, scored in pairs:
        folder, manifest = run.open(drawn, [SAMPLES])
        _check_parent(drawn, manifest, sampling_policy(run.config, before))
        rows = read_samples(folder)
        numbers = micro_batches_of(rows, run.config.sampling.micro_batch_size)
        run.open(drawn, [latents_file(number) for number in numbers])
        indices, rewards = read_rewards(run.open(scored)[0])
        if indices != [row.index for row in rows]:
            raise ArtifactError(f"{scored.name} scores other samples than {drawn.name} holds")
        samples += rows
        files += [folder / latents_file(number) for number in numbers]
        scores.append(rewards)
        seconds["sample"] += number(drawn.facts, "seconds", drawn.name)
        seconds["reward"] += number(scored.facts, "seconds", scored.name)
    if [s.index for s in samples] != list(range(run.config.num_images)):
        raise ArtifactError(
            f"epoch {before.epoch + 1} needs samples 0 to {run.config.num_images - 1}, got {len(samples)}"
        )
    return read_rollouts(files, samples), _joined(scores), seconds


def _check_parent(drawn: Reference, manifest: Manifest, drawn_by: Reference) -> None:
    if (drawn.epoch, manifest.identity.policy) != (drawn_by.epoch + 1, weights_sha256(drawn_by)):
        raise ArtifactError(
            f"{drawn.name} is of epoch {drawn.epoch} by policy {manifest.identity.policy[:12] or 'pretrained'}; "
            f"expected epoch {drawn_by.epoch + 1} by {weights_sha256(drawn_by)[:12] or 'pretrained'}"
        )


def _joined(parts: Sequence[Rewards]) -> Rewards:
    scores = {name: np.concatenate([part.scores[name] for part in parts]) for name in parts[0].scores}
    return Rewards(scores, np.concatenate([part.combined for part in parts]))


def _batch(rollouts: Rollouts, rewards: Rewards) -> Batch:
    index_of = {prompt_id: i for i, prompt_id in enumerate(dict.fromkeys(s.prompt.id for s in rollouts.samples))}
    return Batch(
        log_probs_old=rollouts.log_probs,
        log_probs_ref=rollouts.log_probs_ref,
        rewards=torch.from_numpy(rewards.combined.copy()),
        prompt_index=torch.tensor([index_of[s.prompt.id] for s in rollouts.samples]),
        prompt_keys=torch.tensor([prompt_key(s.prompt.id) >> 1 for s in rollouts.samples]),
    )


def _reward_metrics(rewards: Rewards, batch: Batch) -> dict[str, float]:
    within = [_spread(batch.rewards[batch.prompt_index == prompt]) for prompt in torch.unique(batch.prompt_index)]
    metrics = {
        "reward/mean": float(rewards.combined.mean()),
        "reward/std": float(rewards.combined.std()),
        "reward/std_within_prompt": float(np.mean(within)),
    }
    for name, values in rewards.scores.items():
        metrics[f"reward/{name}/mean"] = float(values.mean())
        metrics[f"reward/{name}/std"] = float(values.std())
    return metrics


def _usage(rewards: Sequence[Reference]) -> dict[str, float]:
    """Requests, tokens and cost of the scorers that report them, over all shards."""
    metrics: dict[str, float] = {}
    for scored in rewards:
        counts = scored.facts.get("usage", {})  # absent in rewards of earlier versions
        for name in counts if isinstance(counts, dict) else ():
            metrics[f"reward/{name}"] = metrics.get(f"reward/{name}", 0.0) + number(counts, name, scored.name)
    return metrics


def _spread(rewards: Tensor) -> float:
    return float(rewards.std(correction=0))


def _speed(num_images: int, seconds: dict[str, float]) -> dict[str, float]:
    speeds = {f"{task}/images_per_second": num_images / taken for task, taken in seconds.items() if taken > 0}
    return speeds | {f"{task}/seconds": taken for task, taken in seconds.items()}


def _compile_seconds(rollouts: Sequence[Reference], training: float) -> dict[str, float]:
    """What torch.compile took, of all shards and of this epoch's training; no other duration contains it."""
    sampling = sum(number(drawn.facts, "compile_seconds", drawn.name) for drawn in rollouts)
    return {"sample/compile_seconds": sampling, "train/compile_seconds": training}


def _say(policy: Reference) -> None:
    metrics = policy.facts["metrics"]
    compiling = sum(metrics.get(f"{task}/compile_seconds", 0.0) for task in ("sample", "train"))
    report_news(
        f"epoch {policy.epoch}: reward {metrics['reward/mean']:.4f} ± {metrics['reward/std']:.3f}, "
        f"grad norm {metrics['train/grad_norm']:.3g}, KL {metrics['sample/kl_to_reference']:.2e}, "
        f"{sum(metrics[f'{task}/seconds'] for task in ('sample', 'reward', 'train')):.1f} s"
        + (f", and {compiling:.1f} s for torch.compile" if compiling >= 0.1 else "")
    )


if __name__ == "__main__":
    run_step(train_epoch)
