"""Compare a policy with the pretrained model on the evaluation prompts, from the same noise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.config import parse_config
from reward_finetuning.policy.load import Policy
from reward_finetuning.policy.restore import policy_at, weights_sha256
from reward_finetuning.policy.sampling import draw_micro_batch
from reward_finetuning.progress import Progress
from reward_finetuning.prompts import read_prompts, samples_of
from reward_finetuning.records import EvaluatedSamples, Rewards, Sample, Stream
from reward_finetuning.report.comparison import as_metrics, compare
from reward_finetuning.report.grid import write_grid
from reward_finetuning.rewards.cached import cached_scorers
from reward_finetuning.rewards.scorer import Scorer, Scorers, load_scorers
from reward_finetuning.rewards.weighted import score
from reward_finetuning.steps.pages import run_page
from reward_finetuning.steps.program import Config, PolicyFile, ReportFile, run_step
from reward_finetuning.steps.reports import (
    GRID,
    METRICS,
    PAGE,
    evaluation_entry,
    headline,
    report_name,
    settings_digest,
)
from reward_finetuning.storage import Reference, RunDirectory, read_reference
from reward_finetuning.storage.evaluations import read_evaluation, write_evaluation
from reward_finetuning.storage.rewards import COMBINED
from reward_finetuning.storage.scores import ScoreCache
from reward_finetuning.tracking import MlflowTracker, Tracker


def evaluate(config: Config, policy: PolicyFile, report: ReportFile) -> dict[str, Any]:
    """Draw, score and compare, on every evaluation prompt set; writes the page and returns its metrics."""
    run = RunDirectory(parse_config(config))
    run.check()
    reference = read_reference(policy)
    tracker = MlflowTracker(run)
    scorers = cache(lambda: load_scorers(run.config.reward))
    for each in (Reference(epoch=0), reference):
        averaged = run.config.evaluation.averaged
        load = partial(policy_at, run, each, keep_reference=False, averaged=averaged)
        evaluated = evaluate_policy(run, each, load, scorers, tracker)
    return publish(run, evaluated, report, tracker)


def evaluate_policy(
    run: RunDirectory, reference: Reference, policy: Callable[[], Policy], scorers: Scorers, tracker: Tracker
) -> Reference:
    """Commit the report of a policy, unless it is there already; the pretrained model's comes first.

    Args:
        run: the run.
        reference: the policy; epoch 0 is the pretrained model.
        policy: gives it; called only where there is something to draw.
        scorers: gives the scorers; called only then, too.
        tracker: where the numbers go.
    """
    settings = settings_digest(run)
    name = report_name(run, reference.epoch)
    identity = run.identity("report", reference.epoch, weights_sha256(reference), settings)
    manifest = run.commit(name, identity, lambda folder: _evaluate(run, reference, policy(), scorers(), folder))
    tracker.log(evaluation_entry(run, reference))
    return Reference.to(name, manifest)


def publish(run: RunDirectory, evaluated: Reference, report: str, tracker: Tracker) -> dict[str, Any]:
    """Put the page where KFP wants it; after the last epoch the lineage is finished in MLflow too."""
    folder, manifest = run.open(evaluated, [PAGE] if evaluated.epoch else [])
    Path(report).parent.mkdir(parents=True, exist_ok=True)
    if evaluated.epoch:
        shutil.copyfile(folder / PAGE, report)
    if evaluated.epoch == run.config.loop.epochs and isinstance(tracker, MlflowTracker):
        tracker.set_status("FINISHED")
    return headline(manifest.facts["metrics"])


def _evaluate(
    run: RunDirectory, reference: Reference, policy: Policy, scorers: Mapping[str, Scorer], folder: Path
) -> dict[str, Any]:
    after = _draw_and_score(run, reference, policy, scorers)
    write_evaluation(folder, after)
    write_grid(after.images, after.prompts, run.config.evaluation.grid_images, folder / GRID)
    if reference.epoch == 0:
        metrics = _means(after)
    else:
        pretrained = report_name(run, 0)
        before = read_evaluation(run.store.fetch(pretrained))
        comparison = compare(before, after)
        metrics = as_metrics(comparison)
        run_page(run, comparison, before, after).write(folder / PAGE)
    (folder / METRICS).write_text(json.dumps(metrics, indent=1, sort_keys=True), encoding="utf-8")
    return {"metrics": metrics}


def _draw_and_score(
    run: RunDirectory, reference: Reference, policy: Policy, loaded: Mapping[str, Scorer]
) -> EvaluatedSamples:
    config = run.config
    members = _members(run)
    size = config.sampling.micro_batch_size
    pictures: list[NDArray[np.uint8]] = []

    def batches(progress: Progress) -> Iterator[tuple[NDArray[np.uint8], Sequence[Sample]]]:
        for start in range(0, len(members), size):
            samples = [sample for _, sample in members[start : start + size]]
            # Epoch 0 for every policy: all draw from the same noise, so differences are paired.
            _, images = draw_micro_batch(
                policy,
                samples,
                config.sampling,
                denoise_ref=None,
                seed=config.seed,
                stream=Stream.EVALUATION,
                epoch=0,
            )
            pictures.append(images)
            yield images, samples
            progress.advance(len(samples))

    # Kept beside the report: evaluated again with more prompts or images, the old ones cost no scorer anything.
    with (
        ScoreCache(run, reference.epoch, "evaluation-scores-") as known,
        Progress(f"evaluate, epoch {reference.epoch}", len(members), "images") as progress,
    ):
        scorers = cached_scorers(loaded, config.reward, run.fingerprinted(), known)
        rewards = score(scorers, config.reward.weights, batches(progress))
    samples = [sample for _, sample in members]
    return EvaluatedSamples(
        epoch=reference.epoch,
        policy=weights_sha256(reference) or "pretrained",
        prompt_sets=tuple(prompt_set for prompt_set, _ in members),
        prompt_ids=tuple(s.prompt.id for s in samples),
        prompts=tuple(s.prompt.text for s in samples),
        categories=tuple(s.prompt.category for s in samples),
        image_indices=tuple(s.image_index for s in samples),
        rewards={COMBINED: rewards.combined, **_others(rewards)},
        images=np.concatenate(pictures),
    )


def _others(rewards: Rewards) -> dict[str, NDArray[np.float64]]:
    """The scorers' own columns, without one that is the combined reward to the letter."""
    return {name: values for name, values in rewards.scores.items() if not np.array_equal(values, rewards.combined)}


def _members(run: RunDirectory) -> list[tuple[str, Sample]]:
    evaluation = run.config.evaluation
    return [
        (name, sample)
        for name, source in evaluation.prompt_sets.items()
        for sample in samples_of(read_prompts(source).prompts, evaluation.images_per_prompt)
    ]


def _means(samples: EvaluatedSamples) -> dict[str, float]:
    sets = np.array(samples.prompt_sets)
    return {
        f"eval/{prompt_set}/{name}/mean": float(values[sets == prompt_set].mean())
        for prompt_set in dict.fromkeys(samples.prompt_sets)
        for name, values in samples.rewards.items()
    }


if __name__ == "__main__":
    run_step(evaluate)
