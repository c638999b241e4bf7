"""When to send to MLflow, and for how long training waits for it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from reward_finetuning.config.display import redacted
from reward_finetuning.config.errors import RetryableError, UserError
from reward_finetuning.events import report_news, report_warning
from reward_finetuning.server_errors import one_line
from reward_finetuning.storage import RunDirectory
from reward_finetuning.storage.uri import in_bucket
from reward_finetuning.tracking.database import ensure_database, sqlite_uri
from reward_finetuning.tracking.failures import confirm_refusal, is_refusal, within
from reward_finetuning.tracking.journal import Entry, Journal
from reward_finetuning.tracking.lineage import DeletedError, Lineage
from reward_finetuning.tracking.sender import Sender
from reward_finetuning.tracking.system import watch_cpu
from reward_finetuning.tracking.task_run import task_run
from reward_finetuning.tracking.tensorboard import EventFiles

_PAUSE_SECONDS = 60.0


class MlflowTracker:
    """One MLflow run for the whole lineage, addressed by its id."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._journal = Journal(run)
        self._event_files = EventFiles(run)
        self._paused_until = 0.0
        self._started = time.monotonic()
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
        if self._journal.add(report):
            self._event_files.log(report)
        self.flush()

    def flush(self) -> bool:
        """Send what has not been sent, for at most `tracking.timeout_seconds`; False if some of it could not be sent.

        Never raises for that. What takes longer continues in a separate thread, and ends with the process: an entry
        that was not marked as sent is sent again.
        """
        return self._bounded(self._send)

    def set_status(self, status: str) -> None:
        """Set the status of the lineage in MLflow, if the server is there, after all entries."""

        def send_and_set() -> None:
            self._send()
            self._lineage().set_status(status)

        self._bounded(send_and_set)

    def sync(self) -> tuple[int, list[str]]:
        """Send everything that MLflow does not have, those entries too that it has refused before.

        Returns:
            How many entries were sent, and for each entry that is refused its name with the reason.

        Raises:
            UserError: tracking is off, there is no server, or the run was deleted in MLflow.
            RetryableError: the server does not answer.
        """
        if not self._run.config.tracking.enabled:
            raise UserError("tracking.enabled is false: nothing is sent; set it to true")
        tracking_uri(self._run)
        try:
            prepare(self._run)
            return self._send(again=True)
        except UserError:
            raise
        except Exception as error:
            raise RetryableError(f"MLflow at {redacted(self.uri)}: {_reason(error)}; run it again later") from error

    def _bounded(self, work: Callable[[], object]) -> bool:
        """Do it within `tracking.timeout_seconds`; whether it was done."""
        if not self._run.config.tracking.enabled or time.monotonic() < self._paused_until:
            return False
        if not self.has_server:
            report_warning(f"{_no_server(self._run)}; points stay in the journal")
            self._paused_until = math.inf
            return False
        seconds = self._run.config.tracking.timeout_seconds
        try:
            prepare(self._run)  # neither imports nor a new file are a wait for a server
            within(seconds, work)
        except DeletedError as error:
            report_warning(f"{error}; until then points stay in the journal")
            self._paused_until = math.inf
            return False
        except TimeoutError:
            report_news(f"MLflow at {redacted(self.uri)} takes longer than {seconds:g} s; points stay in the journal")
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
            return False
        except Exception as error:  # noqa: BLE001 whatever a client raises, training continues
            report_news(f"MLflow at {redacted(self.uri)} is not reached ({_reason(error)}); points stay in the journal")
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
            return False
        return True

    def _send(self, *, again: bool = False) -> tuple[int, list[str]]:
        """Send unsent entries; an entry that MLflow refuses is marked, and does not keep the others back."""
        lineage = self._lineage()
        lineage.check()
        sender, num_sent, refusals = Sender(self._run, lineage), 0, []
        task = task_run(self._run)
        for name in self._journal.unsent(refused=again):
            try:
                entry = self._journal.read(name)
                confirm_refusal(partial(sender.send, entry))
                if task is not None:
                    task.link(lineage.client, lineage.run_id, self._run)
                    task.log(lineage.client, entry, time.monotonic() - self._started)
            except Exception as error:
                if not is_refusal(error):
                    raise
                lineage.check()  # nothing is wrong with an entry whose run was deleted meanwhile
                refusals.append(f"{name}: {_reason(error)}")
                report_warning(f"MLflow refuses {refusals[-1]}; it stays in the journal")
                self._journal.mark_refused(name, _reason(error))
            else:
                self._journal.mark_sent(name)
                num_sent += 1
        return num_sent, refusals

    @property
    def num_unsent(self) -> int:
        """Entries that MLflow may not have, besides those that it has refused."""
        return len(self._journal.unsent())

    def end(self, status: str) -> None:
        """Mark the lineage FAILED or KILLED, if it is RUNNING in MLflow and the server is there."""
        if self.run_id is None or not self.flush():
            return
        try:
            lineage = self._lineage()
            if lineage.client.get_run(lineage.run_id).info.status == "RUNNING":
                lineage.set_status(status)
        except Exception as error:  # noqa: BLE001 whatever a client raises, the user is to read why the run failed
            report_news(f"MLflow at {redacted(self.uri)}: status {status} is not written ({type(error).__name__})")

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the lineage; None until the server was first reached, and without tracking."""
        return self._lineage().known_run_id() if self._run.config.tracking.enabled else None

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
    return sqlite_uri(Path(run.config.run_root).absolute() / "mlflow.db")


def _no_server(run: RunDirectory) -> str:
    return (
        f"run_root {run.config.run_root} cannot hold MLflow's sqlite file: set tracking.uri or MLFLOW_TRACKING_URI "
        "to a server (or to sqlite:////a/file/here.db), or tracking.enabled: false"
    )


def prepare(run: RunDirectory) -> None:
    """Import MLflow, with timeouts that suit training, and create a sqlite store that is not there yet."""
    # The client's defaults block for minutes on a server that is down.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(max(1, round(run.config.tracking.timeout_seconds))))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.tracking  # noqa: F401

    ensure_database(tracking_uri(run))


def mlflow_client(run: RunDirectory) -> Any:
    """A client of the run's tracking server that gives up after `tracking.timeout_seconds`."""
    prepare(run)
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri(run))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error, 200)}"
