"""The MLflow run that the MLflow plugin of Kubeflow Pipelines makes for a task.

Where the plugin is enabled, the container of each task has MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_ID and MLFLOW_RUN_ID.
The lineage run is then made on that server, in that experiment, and is another run: a lineage spans many tasks. Each of
the two has a tag that names the other, and the task's run gets a few figures of the task. MLflow's client itself reads
MLFLOW_WORKSPACE, MLFLOW_TRACKING_AUTH and the credentials.

Source: KEP-12862 of Kubeflow Pipelines.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reward_finetuning.storage import RunDirectory

_FIGURES = {"reward/mean": "reward", "train/loss": "loss", "sample/kl_to_reference": "kl"}
"""Metric of the journal -> figure of a task's run."""


@dataclass(frozen=True, slots=True)
class TaskRun:
    """The run of this task."""

    run_id: str
    experiment_id: str

    def link(self, client: Any, lineage_run_id: str, run: RunDirectory) -> None:
        """Name the lineage run on the task's run, and the task's run on the lineage run."""
        client.set_tag(self.run_id, "lineage_run_id", lineage_run_id)
        client.set_tag(self.run_id, "run_directory", run.uri)
        client.set_tag(lineage_run_id, f"task_run.{self.run_id}", os.environ.get("KFP_POD_NAME", "task"))

    def log(self, client: Any, entry: Mapping[str, Any], seconds: float) -> None:
        """Log the epoch, reward, loss, KL, and the age of this process in seconds; the epoch is the step."""
        from mlflow.entities import Metric

        figures = {figure: entry["metrics"][key] for key, figure in _FIGURES.items() if key in entry["metrics"]}
        figures |= {"epoch": float(entry["epoch"]), "seconds": seconds}
        points = [Metric(key, value, entry["timestamp_ms"], entry["epoch"]) for key, value in figures.items()]
        client.log_batch(self.run_id, metrics=points)


def task_run(run: RunDirectory) -> TaskRun | None:
    """The task's run; None outside of a task of such an installation, or where `tracking.uri` names another server."""
    uri, run_id, experiment_id = (
        os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID")
    )
    if not uri or not run_id or not experiment_id or run.config.tracking.uri not in {None, uri}:
        return None
    return TaskRun(run_id, experiment_id)
