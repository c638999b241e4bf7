"""The comparison of an evaluation file: samples of every policy, and one page about all policies."""

from __future__ import annotations

import json
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from reward_finetuning.evaluation.parts import draw_parts, join, parts_of
from reward_finetuning.evaluation.reports import METRICS, PAGE, SUMMARY, settings_digest
from reward_finetuning.evaluation.subjects import Subject
from reward_finetuning.evaluation.task import Evaluation
from reward_finetuning.report.runs import EvaluatedRun, compare_runs, runs_metrics
from reward_finetuning.report.runs_page import render_runs
from reward_finetuning.report.summary import policies_as_markdown
from reward_finetuning.rewards.scorer import Scorers
from reward_finetuning.storage import Manifest, Reference, RunDirectory, artifact_names
from reward_finetuning.storage.artifacts.evaluations import read_evaluation, write_evaluation


def compare_policies(evaluation: Evaluation, scorers: Scorers) -> Reference:
    """Commit the page about all policies, after sampling missing images."""
    run = evaluation.run
    for subject in evaluation.subjects:
        _commit_samples(run, subject, scorers)
    name = comparison_name(evaluation)
    identity = run.identity("report", 0, "", settings_digest(run), *(subject.folder for subject in evaluation.subjects))
    return Reference.to(name, run.commit(name, identity, partial(_write, evaluation)))


def comparison_name(evaluation: Evaluation) -> str:
    """Name of the artifact with the page; it contains a digest of policies and settings."""
    parts = [settings_digest(evaluation.run), *(subject.folder for subject in evaluation.subjects)]
    return f"comparisons/{sha256(json.dumps(parts).encode()).hexdigest()[:8]}"


def evaluated_policies(evaluation: Evaluation) -> list[EvaluatedRun]:
    """The evaluated policies, as input of the report."""
    run = evaluation.run
    return [
        EvaluatedRun(
            name=subject.name,
            before=None,
            after=read_evaluation(run.store, _samples_name(run, subject)),
            weights=run.config.reward.weights,
            seed=run.config.seed,
        )
        for subject in evaluation.subjects
    ]


def _commit_samples(run: RunDirectory, subject: Subject, scorers: Scorers) -> Manifest:
    identity = run.identity("report", subject.reference.epoch, subject.weights, settings_digest(run))

    def write(folder: Path) -> dict[str, Any]:
        parts = parts_of(run, subject)
        draw_parts(run, subject, parts, subject.load, scorers)
        samples = join(run, subject)
        write_evaluation(folder, samples, parts, run.config.sampling.micro_batch_size)
        return {"num_images": len(samples.prompts)}

    return run.commit(_samples_name(run, subject), identity, write)


def _samples_name(run: RunDirectory, subject: Subject) -> str:
    return artifact_names.report(subject.folder, settings_digest(run))


def _write(evaluation: Evaluation, folder: Path) -> dict[str, Any]:
    policies = evaluated_policies(evaluation)
    comparison = compare_runs(policies)
    metrics = runs_metrics(comparison)
    (folder / PAGE).write_text(render_runs(policies, comparison, {}), encoding="utf-8")
    (folder / SUMMARY).write_text(policies_as_markdown(comparison, evaluation.run.config.name), encoding="utf-8")
    (folder / METRICS).write_text(json.dumps(metrics, indent=1, sort_keys=True), encoding="utf-8")
    return {"metrics": metrics}
