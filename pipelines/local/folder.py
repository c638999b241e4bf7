"""The folder of this machine for what belongs to a run here and not to the run: its package, log and page."""

from __future__ import annotations

from pathlib import Path

from reward_finetuning.storage import RunDirectory
from reward_finetuning.storage.uri import in_bucket, split_uri

_RUNS_IN_BUCKETS = Path("runs") / ".pipelines"


def folder_here(run: RunDirectory) -> Path:
    """The run directory itself; of a run in a bucket, runs/.pipelines/BUCKET/PREFIX below the working directory."""
    if not in_bucket(run.uri):
        return Path(run.uri)
    return _RUNS_IN_BUCKETS.absolute().joinpath(*split_uri(run.uri))
