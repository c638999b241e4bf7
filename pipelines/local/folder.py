"""The files of this machine that belong to running a pipeline, and not to the run itself."""

from __future__ import annotations

import datetime
import fcntl
import os
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import IO

from reward_finetuning.failures import reserve_record
from reward_finetuning.storage import RunDirectory
from reward_finetuning.storage.run_directory import RUN
from reward_finetuning.storage.uri import in_bucket, split_uri

_ATTEMPTS, _SET_ASIDE, _LOCK = "pipeline", "failed", "lock"
_RUNS_IN_BUCKETS = Path("runs") / ".pipelines"


def folder_here(run: RunDirectory) -> Path:
    """The run directory itself; of a run in a bucket, runs/.pipelines/BUCKET/PREFIX below the working directory."""
    if not in_bucket(run.uri):
        return Path(run.uri)
    return _RUNS_IN_BUCKETS.absolute().joinpath(*split_uri(run.uri))


def set_aside(run: RunDirectory) -> Path:
    """Move all files of a run, except those of its attempts, to failed/DATE of its folder; returns that folder."""
    folder = folder_here(run)
    target = folder / _SET_ASIDE / _now()
    target.mkdir(parents=True)
    for path in sorted(
        folder.iterdir(), key=lambda path: path.name != RUN
    ):  # run.json first: without it, there is no run
        if path.name not in {_ATTEMPTS, _SET_ASIDE}:
            os.rename(path, target / path.name)
    return target


def is_abandoned(run: RunDirectory) -> bool:
    """Whether the run has done no epoch, and all commands of this machine that began or resumed it have ended."""
    if in_bucket(run.uri) or run.latest().epoch:
        return False
    locks = list((folder_here(run) / _ATTEMPTS).glob(f"*/{_LOCK}"))
    return bool(locks) and not any(map(_is_held, locks))


def _is_held(path: Path) -> bool:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One command's files. Each command has a folder for them, so two that run at once share none."""

    folder: Path

    lock: IO[str] | None = field(default=None, repr=False, compare=False)
    """Held until the process ends."""

    @classmethod
    def begin(cls, run: RunDirectory) -> Attempt:
        """Make the folder: pipeline/DATE-RANDOM below `folder_here`."""
        parent = folder_here(run) / _ATTEMPTS
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(mkdtemp(prefix=f"{_now()}-", dir=parent))
        lock = (folder / _LOCK).open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        attempt = cls(folder, lock)
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
