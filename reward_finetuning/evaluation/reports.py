"""Where an epoch's report lies, and what of it goes to MLflow."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import PurePosixPath

from reward_finetuning.prompts import read_prompts
from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.storage import Reference, RunDirectory, artifact_names, open_store
from reward_finetuning.storage.artifact_names import Kind
from reward_finetuning.storage.reference import weights_sha256
from reward_finetuning.tracking import Checkpoint, Dataset, Entry, Evaluation

PAGE, METRICS, SUMMARY, GRID = "report.html", "metrics.json", "summary.md", "samples.png"
"""Files of a report artifact."""


def report_name(run: RunDirectory, epoch: int) -> str:
    """Name of the report artifact of an epoch under the current evaluation settings."""
    return artifact_names.report(artifact_names.epoch_folder(epoch), settings_digest(run))


def settings_digest(run: RunDirectory) -> str:
    """Digest of the evaluation's prompts, number of images, what is measured, and which weights are."""
    evaluation = run.config.evaluation
    digests = {name: read_prompts(source).digest for name, source in evaluation.prompt_sets.items()}
    averaged = ["averaged"] if evaluation.averaged else []
    return sha256(json.dumps([digests, evaluation.images_per_prompt, evaluation.kl, *averaged]).encode()).hexdigest()


def reported_metrics(run: RunDirectory, epoch: int) -> dict[str, float] | None:
    """`eval/...` of an epoch's report; None where it was not evaluated."""
    manifest = run.store.manifest(report_name(run, epoch))
    return None if manifest is None else dict(manifest.facts["metrics"])


def is_done(run: RunDirectory) -> bool:
    """Whether all epochs are trained and the last one is evaluated."""
    epochs = run.config.loop.epochs
    return run.latest().epoch >= epochs and bool(_reports(run, epochs))


def newest_report(run: RunDirectory) -> tuple[str, str] | None:
    """Names of the pretrained model's report and of the newest policy's, under the same settings; None without one.

    Reports of the current evaluation settings go first; a run whose prompts have changed since still has its old ones.
    """
    current = PurePosixPath(report_name(run, 0)).name
    settings = sorted(_reports(run, 0), key=lambda name: name != current)
    for name in settings:
        for epoch in reversed(run.epochs()):
            if epoch and name in _reports(run, epoch):
                return run.name(0, name), run.name(epoch, name)
    return None


def _reports(run: RunDirectory, epoch: int) -> list[str]:
    return [PurePosixPath(name).name for name in run.artifacts(epoch, Kind.REPORT)]


def evaluation_entry(run: RunDirectory, policy: Reference) -> Entry:
    """What a policy's committed report says to the journal: headline curves, samples, page, and the evaluation."""
    name = report_name(run, policy.epoch)
    metrics = reported_metrics(run, policy.epoch)
    assert metrics is not None, f"{name} is committed before it is reported"
    page = {f"reports/epoch_{policy.epoch:05d}.html": f"{name}/{PAGE}"} if policy.epoch else {}
    evaluation = Evaluation(metrics, name, report_name(run, 0), checkpoint_of(run, policy) if policy.epoch else None)
    return Entry(
        "evaluate", policy.epoch, headline(metrics), {"samples": f"{name}/{GRID}"}, files=page, evaluation=evaluation
    )


def headline(metrics: dict[str, float]) -> dict[str, float]:
    """Without the categories inside a set: dozens of numbers, which metrics.json and the page have."""
    return {key: value for key, value in metrics.items() if "/category/" not in key}


def checkpoint_of(run: RunDirectory, policy: Reference) -> Checkpoint:
    """Where a policy of the run lies."""
    return Checkpoint(policy.epoch, f"{run.uri}/{policy.name}", policy.checksum, weights_sha256(policy))


def prompt_datasets(run: RunDirectory) -> list[Dataset]:
    """The run's prompt sets: what it trains on, and what it is evaluated on."""
    config = run.config
    named = [("train", config.prompts.train, "training")]
    named += [(name, source, "evaluation") for name, source in config.evaluation.prompt_sets.items()]
    found = [(name, read_prompts(source), context) for name, source, context in named]
    return [Dataset(name, read.digest, read.source, len(read.prompts), context) for name, read, context in found]


def read_scores(run_directory: str, report: str) -> EvaluatedSamples | None:
    """A report's samples and rewards; None where there is no such report."""
    from reward_finetuning.storage.artifacts.evaluations import read_evaluation

    store = open_store(run_directory)
    return None if store.manifest(report) is None else read_evaluation(store, report)
