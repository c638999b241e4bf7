"""Where an epoch's report lies: its name carries a digest of what was evaluated."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import PurePosixPath

from reward_finetuning.prompts import read_prompts
from reward_finetuning.storage import RunDirectory


def report_name(run: RunDirectory, epoch: int) -> str:
    """Name of the report artifact of an epoch under the current evaluation settings."""
    return run.name(epoch, f"report-{settings_digest(run)[:8]}")


def settings_digest(run: RunDirectory) -> str:
    """Digest of the evaluation's prompts and number of images."""
    evaluation = run.config.evaluation
    digests = {name: read_prompts(source).digest for name, source in evaluation.prompt_sets.items()}
    return sha256(json.dumps([digests, evaluation.images_per_prompt]).encode()).hexdigest()


def reported_metrics(run: RunDirectory, epoch: int) -> dict[str, float] | None:
    """`eval/...` of an epoch's report; None where it was not evaluated."""
    manifest = run.store.manifest(report_name(run, epoch))
    return None if manifest is None else dict(manifest.facts["metrics"])


def newest_report(run: RunDirectory) -> tuple[str, str] | None:
    """Names of the pretrained model's report and of the newest policy's, under the same settings; None without one.

    Reports of the current evaluation settings go first; a run whose prompts have changed since still has its old ones.
    """
    current = PurePosixPath(report_name(run, 0)).name
    settings = sorted(_reports(run, 0), key=lambda name: name != current)
    epochs = sorted((int(name) for name in run.store.names("epochs")), reverse=True)
    for name in settings:
        for epoch in epochs:
            if epoch and name in _reports(run, epoch):
                return run.name(0, name), run.name(epoch, name)
    return None


def _reports(run: RunDirectory, epoch: int) -> list[str]:
    return [name for name in run.store.names(f"epochs/{epoch:04d}") if name.startswith("report-")]
