"""MLflow through a journal: a server that is down costs neither time nor points.

Every task writes what it has to say as one small file of the run directory, then sends what has not been sent. MLflow
stores a point (key, step, timestamp, value) once however often it is sent, so sending again is harmless.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from reward_finetuning.config.run import flatten
from reward_finetuning.storage import RunDirectory

_JOURNAL = "journal"
_MLFLOW = "mlflow.json"
_REFUSED = re.compile(r"[^\w\-. :/]")  # characters that MLflow does not take in a metric's name
_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Entry:
    """What one task of one epoch reports."""

    task: str
    epoch: int
    metrics: Mapping[str, float]
    images: Mapping[str, Path] = field(default_factory=dict)  # MLflow folder -> picture inside the run directory
    references: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # MLflow file -> what it says, e.g. a URI
    tags: Mapping[str, str] = field(default_factory=dict)


class Tracker(Protocol):
    """Where a step reports its numbers."""

    def log(self, report: Entry) -> None:
        """Report one task of one epoch; a second report of the same task and epoch is ignored."""
        ...


class MemoryTracker:
    """Remembers."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, int], Entry] = {}

    def log(self, report: Entry) -> None:
        """See Tracker."""
        self.entries.setdefault((report.task, report.epoch), report)


class MlflowTracker:
    """One MLflow run for the whole lineage, addressed by its id."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._paused_until = 0.0
        timeout = run.config.tracking.timeout_seconds
        # The client's defaults block for minutes on a server that is down.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(max(1, round(timeout))))
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

    @property
    def uri(self) -> str:
        """The tracking server, or the sqlite file in the run root."""
        configured = self._run.config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")
        return configured or f"sqlite:///{Path(self._run.config.run_root).absolute()}/mlflow.db"

    def log(self, report: Entry) -> None:
        """See Tracker."""
        root = Path(self._run.uri)
        entry = {
            "epoch": report.epoch,
            "timestamp_ms": int(time.time() * 1000),
            "metrics": {_REFUSED.sub("_", key)[:250]: float(value) for key, value in report.metrics.items()},
            "images": {folder: str(path.relative_to(root)) for folder, path in report.images.items()},
            "references": {name: dict(facts) for name, facts in report.references.items()},
            "tags": dict(report.tags),
        }
        self._run.store.create_json(f"{_JOURNAL}/{report.epoch:04d}-{report.task}.json", entry)
        self.flush()

    def flush(self) -> bool:
        """Send what has not been sent; False when the server could not be reached. Never raises for that."""
        if not self._run.config.tracking.enabled or time.monotonic() < self._paused_until:
            return False
        try:
            client, run_id = self._connect()
            for name in self._unsent():
                self._send(client, run_id, name)
        except Exception as error:  # noqa: BLE001 whatever a client raises, training must go on
            print(
                f"MLflow at {self.uri} is not reached ({type(error).__name__}); points stay in the journal", flush=True
            )
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
            return False
        return True

    def set_status(self, status: str) -> None:
        """Mark the lineage RUNNING or FINISHED, if the server is there."""
        if self.flush():
            client, run_id = self._connect()
            if status == "RUNNING":
                client.update_run(run_id, status=status)
            else:
                client.set_terminated(run_id, status=status)

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the lineage; None until the server was first reached."""
        known = self._run.store.read_json(_MLFLOW)
        return None if known is None else str(known["run_id"])

    def _unsent(self) -> list[str]:
        names = self._run.store.names(_JOURNAL)
        sent = {name.removesuffix(".sent") for name in names if name.endswith(".sent")}
        return [name for name in names if name.endswith(".json") and name not in sent]

    def _send(self, client: Any, run_id: str, name: str) -> None:
        from mlflow.entities import Metric

        entry = self._run.store.read_json(f"{_JOURNAL}/{name}")
        assert entry is not None
        points = [Metric(key, value, entry["timestamp_ms"], entry["epoch"]) for key, value in entry["metrics"].items()]
        for start in range(0, len(points), 1000):
            client.log_batch(run_id, metrics=points[start : start + 1000])
        for target, path in entry["images"].items():
            client.log_artifact(run_id, str(Path(self._run.uri) / path), target)
        for file, facts in entry["references"].items():
            client.log_dict(run_id, facts, file)
        for key, value in entry.get("tags", {}).items():
            client.set_tag(run_id, key, value)
        self._run.store.create_json(f"{_JOURNAL}/{name}.sent", {})

    def _connect(self) -> tuple[Any, str]:
        from mlflow.tracking import MlflowClient

        client = MlflowClient(self.uri)
        return client, self.run_id or self._create(client)

    def _create(self, client: Any) -> str:
        """Create the lineage's run once: whoever loses the race deletes its own."""
        config = self._run.config
        run = client.create_run(self._experiment(client), run_name=config.name, tags=self._tags())
        run_id = str(run.info.run_id)
        if not self._run.store.create_json(_MLFLOW, {"run_id": run_id, "experiment_id": run.info.experiment_id}):
            client.delete_run(run_id)
            assert self.run_id is not None
            return self.run_id
        for key, value in flatten(config.model_dump(mode="json")).items():
            client.log_param(run_id, key, value)
        return run_id

    def _experiment(self, client: Any) -> str:
        from mlflow.exceptions import MlflowException

        name = self._run.config.tracking.experiment
        if (known := client.get_experiment_by_name(name)) is not None:
            return str(known.experiment_id)
        location = None
        if self.uri.startswith("sqlite:"):
            location = (Path(self._run.config.run_root).absolute() / "mlflow-artifacts").as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:  # another run created it in between
            return str(client.get_experiment_by_name(name).experiment_id)

    def _tags(self) -> dict[str, str]:
        return {"run_directory": self._run.uri, "fingerprint": self._run.fingerprint, "git_commit": code_version()}


def history(run: RunDirectory) -> dict[str, list[tuple[int, float]]]:
    """Every metric of the journal: name -> [(epoch, value)], by epoch."""
    curves: dict[str, list[tuple[int, float]]] = {}
    names = [name for name in run.store.names(_JOURNAL) if name.endswith(".json")]
    for entry in filter(None, (run.store.read_json(f"{_JOURNAL}/{name}") for name in names)):
        for key, value in entry["metrics"].items():
            curves.setdefault(key, []).append((entry["epoch"], value))
    return {key: sorted(points) for key, points in curves.items()}


def code_version() -> str:
    """Git commit of the code, or the package's version where it was installed."""
    folder = Path(__file__).parent
    try:
        asked = subprocess.run(  # noqa: S603 fixed words
            ["git", "-C", str(folder), "rev-parse", "HEAD"],  # noqa: S607 git is looked up on PATH
            capture_output=True,
            text=True,
            check=True,
        )
        return asked.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        from importlib.metadata import version

        return version("reward-finetuning")
