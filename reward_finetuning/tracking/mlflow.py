"""When to send to MLflow, and that training never waits for it."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

from reward_finetuning.config.errors import UserError
from reward_finetuning.events import report_news, report_warning
from reward_finetuning.server_errors import one_line
from reward_finetuning.storage import RunDirectory
from reward_finetuning.storage.uri import in_bucket
from reward_finetuning.tracking.journal import Entry, Journal
from reward_finetuning.tracking.lineage import Lineage
from reward_finetuning.tracking.sender import Sender
from reward_finetuning.tracking.system import watch_cpu

_PAUSE_SECONDS = 60.0


class MlflowTracker:
    """One MLflow run for the whole lineage, addressed by its id."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._journal = Journal(run)
        self._paused_until = 0.0
        watch_cpu()

    @property
    def uri(self) -> str:
        """The tracking server, or the sqlite file in the run root."""
        return tracking_uri(self._run)

    @property
    def has_server(self) -> bool:
        """Whether there is a place to send to."""
        return _known_uri(self._run) is not None

    def log(self, report: Entry) -> None:
        """See Tracker."""
        self._journal.add(report)
        self.flush()

    def flush(self) -> bool:
        """Send what has not been sent; False when the server could not be reached. Never raises for that."""
        if not self._run.config.tracking.enabled or time.monotonic() < self._paused_until:
            return False
        if not self.has_server:
            report_warning(f"{_no_server(self._run)}; points stay in the journal")
            self._paused_until = math.inf
            return False
        try:
            lineage = self._lineage()
            sender = Sender(self._run, lineage)
            for name in self._journal.unsent():
                sender.send(self._journal.read(name))
                self._journal.mark_sent(name)
        except Exception as error:  # noqa: BLE001 whatever a client raises, training must go on
            reason = f"{type(error).__name__}: {one_line(error, 200)}"
            report_news(f"MLflow at {self.uri} is not reached ({reason}); points stay in the journal")
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
            return False
        return True

    def set_status(self, status: str) -> None:
        """Mark the lineage RUNNING or FINISHED, if the server is there."""
        if self.flush():
            self._lineage().set_status(status)

    def end(self, status: str) -> None:
        """Mark the lineage FAILED or KILLED, if it is RUNNING in MLflow and the server is there."""
        if self.run_id is None or not self.flush():
            return
        try:
            lineage = self._lineage()
            if lineage.client.get_run(lineage.run_id).info.status == "RUNNING":
                lineage.set_status(status)
        except Exception as error:  # noqa: BLE001 whatever a client raises, the user is to read why the run failed
            report_news(f"MLflow at {self.uri}: status {status} is not written ({type(error).__name__})")

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the lineage; None until the server was first reached."""
        return self._lineage().known_run_id()

    def _lineage(self) -> Lineage:
        return Lineage(self._run, self.uri, lambda: mlflow_client(self._run))


def tracking_uri(run: RunDirectory) -> str:
    """The run's tracking server, or a sqlite file in the run root.

    Raises:
        UserError: the run root is in a bucket, where no sqlite file can be, and no server is named.
    """
    if (uri := _known_uri(run)) is None:
        raise UserError(_no_server(run))
    return uri


def check_server(run: RunDirectory) -> None:
    """Refuse a run that is to be tracked and has nowhere to send to, before any work.

    Raises:
        UserError: as `tracking_uri`.
    """
    if run.config.tracking.enabled:
        tracking_uri(run)


def _known_uri(run: RunDirectory) -> str | None:
    configured = run.config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")
    if configured or in_bucket(run.config.run_root):
        return configured
    return f"sqlite:///{Path(run.config.run_root).absolute()}/mlflow.db"


def _no_server(run: RunDirectory) -> str:
    return (
        f"run_root {run.config.run_root} cannot hold MLflow's sqlite file: set tracking.uri or MLFLOW_TRACKING_URI "
        "to a server (or to sqlite:////a/file/here.db), or tracking.enabled: false"
    )


def mlflow_client(run: RunDirectory) -> Any:
    """A client of the run's tracking server that gives up after `tracking.timeout_seconds`."""
    # The client's defaults block for minutes on a server that is down.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(max(1, round(run.config.tracking.timeout_seconds))))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri(run))
