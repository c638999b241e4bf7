"""The files of this machine that belong to running a pipeline, and not to the run itself."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from reward_finetuning.failures import reserve_record
from reward_finetuning.storage import RunDirectory
from reward_finetuning.storage.uri import in_bucket, split_uri

_RUNS_IN_BUCKETS = Path("runs") / ".pipelines"


def folder_here(run: RunDirectory) -> Path:
    """The run directory itself; of a run in a bucket, runs/.pipelines/BUCKET/PREFIX below the working directory."""
    if not in_bucket(run.uri):
        return Path(run.uri)
    return _RUNS_IN_BUCKETS.absolute().joinpath(*split_uri(run.uri))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One command's files. Each command has a folder for them, so two that run at once share none."""

    folder: Path

    @classmethod
    def begin(cls, run: RunDirectory) -> Attempt:
        """Make the folder: pipeline/DATE-RANDOM below `folder_here`."""
        parent = folder_here(run) / "pipeline"
        parent.mkdir(parents=True, exist_ok=True)
        now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S")
        attempt = cls(Path(mkdtemp(prefix=f"{now}-", dir=parent)))
        attempt.events.touch()
        reserve_record(attempt.failure)
        return attempt

    @property
    def package(self) -> Path:
        """The compiled pipeline."""
        return self.folder / "package.yaml"

    @property
    def log(self) -> Path:
        """Everything that tasks print."""
        return self.folder / "log.txt"

    @property
    def events(self) -> Path:
        """What tasks report (reward_finetuning.events)."""
        return self.folder / "events.jsonl"

    @property
    def failure(self) -> Path:
        """The error that ended a task (reward_finetuning.failures)."""
        return self.folder / "failure.json"
