"""`rft sync`: send the metrics that MLflow does not have."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from reward_finetuning.config import RetryableError, UserError
from reward_finetuning.config.display import redacted
from reward_finetuning.pipelines.cli.options import ConfigFile, Override, load_with_absolute_root
from reward_finetuning.server_errors import accepts_connections

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
    all_accepted = send_rest(run)
    _register(run)
    if not all_accepted:
        raise typer.Exit(2)


def send_rest(run: RunDirectory) -> bool:
    """Send what MLflow does not have, those entries too that it has refused before, and print how much was sent.

    Returns:
        False if MLflow refuses a part of it.

    Raises:
        UserError: there is no server, or the run was deleted in MLflow.
        RetryableError: the server does not answer.
    """
    from reward_finetuning.evaluation.reports import is_done
    from reward_finetuning.tracking import MlflowTracker

    tracker = MlflowTracker(run)
    num_sent, refusals = tracker.sync()
    if is_done(run):
        tracker.set_status("FINISHED")  # the last task may have missed that too
    print(f"{num_sent} journal entries of {run.uri} were sent to MLflow at {redacted(tracker.uri)}", flush=True)
    return not refusals


def send_if_done(run: RunDirectory, *, register: bool = False) -> None:
    """Send what MLflow does not have of a run that is done, and print a warning if that fails.

    Args:
        run: the run.
        register: also register its last policy, if it has promotion.after_training.
    """
    from reward_finetuning.evaluation.reports import is_done
    from reward_finetuning.tracking import MlflowTracker

    if not run.config.tracking.enabled or not is_done(run):
        return
    tracker = MlflowTracker(run)
    try:
        if tracker.num_unsent:
            _check_connection(tracker.uri)
            send_rest(run)
    except (UserError, RetryableError) as error:
        print(f"rft: warning: {error}; rft sync sends the rest", file=sys.stderr)
    if register:
        _register(run)


def _register(run: RunDirectory) -> None:
    if run.config.promotion.after_training:
        from reward_finetuning.steps.promote import promote_last

        promote_last(run)


def _check_connection(uri: str) -> None:
    """Refuse a server that accepts no connection: MLflow's client would wait for it several times."""
    if uri.startswith("http") and not accepts_connections(uri):
        raise RetryableError(f"MLflow at {redacted(uri)} accepts no connection")
