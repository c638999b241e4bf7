"""MLflow through a journal: training does not wait for the server, and no point is lost while it is down.

Every task writes what it has to say as one small file of the run directory, then sends what has not been sent. MLflow
stores a point (key, step, timestamp, value) once however often it is sent, so sending again is harmless.
"""

from reward_finetuning.tracking.code import code_version, pipeline_run
from reward_finetuning.tracking.hardware import hardware
from reward_finetuning.tracking.journal import Checkpoint, Dataset, Entry, Evaluation, history
from reward_finetuning.tracking.mlflow import MlflowTracker, check_server
from reward_finetuning.tracking.system import system_metrics
from reward_finetuning.tracking.tracker import MemoryTracker, Tracker

__all__ = [
    "Checkpoint",
    "Dataset",
    "Entry",
    "Evaluation",
    "MemoryTracker",
    "MlflowTracker",
    "Tracker",
    "check_server",
    "code_version",
    "hardware",
    "history",
    "pipeline_run",
    "system_metrics",
]
