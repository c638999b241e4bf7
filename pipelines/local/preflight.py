"""Everything about a run that can be refused before any work; needs no torch."""

from __future__ import annotations

import sys

from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.evaluation.objections import check_promotion
from reward_finetuning.inputs import check_inputs, input_digests
from reward_finetuning.pipelines.local.folder import is_abandoned, set_aside
from reward_finetuning.rewards.verification import check_verification
from reward_finetuning.storage import RunDirectory
from reward_finetuning.storage.artifact_names import kind_of
from reward_finetuning.tracking.tensorboard import check_tensorboard


def check_run(config: RunConfig, *, replace_abandoned: bool = False) -> RunDirectory:
    """Check the run's inputs, and what the run directory holds already.

    Args:
        config: config of the run.
        replace_abandoned: set aside a run of this name with other settings that ended before its first epoch was done.

    Raises:
        UserError: the first thing that is wrong.
    """
    check_verification(config.reward)
    check_inputs(config)
    check_promotion(config)
    run = RunDirectory(config)
    check_tensorboard(run)
    if run.describe() is None:
        return run
    fingerprint = config.numbers() | input_digests(config)
    if replace_abandoned and is_abandoned(run) and not run.agrees(fingerprint):
        folder = set_aside(run)
        print(
            f"rft: {run.uri} held a run with other settings that ended before its first epoch; it is now {folder}",
            file=sys.stderr,
        )
        return run
    run.check(fingerprint)
    _check_artifacts(run)
    return run


def _check_artifacts(run: RunDirectory) -> None:
    latest = run.latest()
    if latest.epoch > run.config.loop.epochs:
        raise UserError(f"loop.epochs={run.config.loop.epochs}, but {run.uri} is at epoch {latest.epoch}: raise it")
    if latest.name:
        run.open(latest, [])
        run.store.check(latest.name)
    for epoch in (0, latest.epoch, latest.epoch + 1):
        for artifact in run.artifacts(epoch):
            kind = kind_of(artifact)
            if kind is None or not kind.is_cache:  # a damaged cache is computed again
                run.store.check(artifact)
