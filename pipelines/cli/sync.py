"""`rft sync`: send the metrics that MLflow does not have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipelines.cli.options import ConfigFile, Override, load_with_absolute_root
from reward_finetuning.config import UserError
from reward_finetuning.config.display import redacted

if TYPE_CHECKING:
    from reward_finetuning.storage import RunDirectory


def sync(config: ConfigFile, override: Override = None) -> None:
    """Send everything of a run's journal that MLflow does not have.

    Tasks do this themselves while the server answers. Points that are there already are not stored twice.

    Example: `rft sync shapes-prdp`
    """
    from reward_finetuning.storage import RunDirectory

    run = RunDirectory(load_with_absolute_root(config, override))
    if run.describe() is None:
        raise UserError(f"{run.uri} holds no run; begin one with: rft run {Path(config)}")
    if not send_rest(run, again=True):
        raise typer.Exit(2)


def send_rest(run: RunDirectory, *, again: bool = False) -> bool:
    """Send what MLflow does not have, print what was sent, and register the last policy if the run asks for that.

    Args:
        run: the run.
        again: send entries too that MLflow has refused before; and print something where nothing is left to send.

    Returns:
        False if MLflow refuses a part of it.

    Raises:
        UserError: there is no server, or the run was deleted in MLflow.
        RetryableError: the server does not answer.
    """
    from reward_finetuning.evaluation.reports import is_done
    from reward_finetuning.tracking import MlflowTracker

    tracker, refusals = MlflowTracker(run), list[str]()
    if again or tracker.num_unsent:
        num_sent, refusals = tracker.sync()
        if is_done(run):
            tracker.set_status("FINISHED")  # the last task may have missed that too
        print(f"{num_sent} journal entries of {run.uri} were sent to MLflow at {redacted(tracker.uri)}", flush=True)
    if run.config.promotion.after_training:
        from reward_finetuning.steps.promote import promote_last

        promote_last(run)
    return not refusals
