"""What the two services have in common: runs of a package, and schedules that start them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from reward_finetuning.pipelines.remote.cron import Cron


class State(StrEnum):
    """Where a run on a service is."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen any more."""
        return self in {State.SUCCEEDED, State.FAILED, State.CANCELED}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a task."""

    state: State
    log: str
    """What `Client.log` takes."""

    error: str = ""
    """The reason of a failure, as far as the service gives one."""


@dataclass(frozen=True, slots=True)
class RemoteTask:
    """A task of a pipeline run that has started."""

    name: str
    """With its place in the graph, e.g. `next-epochs` or `epoch-2/sample[0]`."""

    state: State
    """PENDING while the newest attempt waits for a machine."""

    attempts: tuple[Attempt, ...]
    """Oldest first."""


@dataclass(frozen=True, slots=True)
class RemoteRun:
    """One pipeline run on a service."""

    id: str
    name: str
    state: State
    url: str
    """Page for people."""

    error: str = ""
    """The service's reason of a failure, in one line; Kubeflow Pipelines gives none."""

    tasks: tuple[RemoteTask, ...] = ()
    """Those that have started, oldest first; only `Client.run` fills it."""

    @property
    def has_failed_attempts(self) -> bool:
        """Whether an attempt of a task has failed, be it that a later one succeeded."""
        return any(attempt.state is State.FAILED for task in self.tasks for attempt in task.attempts)

    @property
    def failed_task(self) -> RemoteTask | None:
        """The task that ended the run; None if none failed."""
        return next((task for task in reversed(self.tasks) if task.state is State.FAILED), None)


@dataclass(frozen=True, slots=True)
class Package:
    """What is submitted: a compiled pipeline and the values of its parameters."""

    path: Path
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Schedule:
    """A package that a service starts again and again."""

    id: str
    name: str
    cron: str
    """Five fields."""

    timezone: str
    active: bool
    url: str
    next_run: datetime | None = None
    last_run: datetime | None = None


class Client(Protocol):
    """A service. Every method raises UserError for what is the user's, and RetryableError where a retry may help."""

    def runs(self, prefix: str) -> list[RemoteRun]:
        """The newest runs whose name is `prefix` and a number, newest first."""
        ...

    def run(self, run_id: str) -> RemoteRun:
        """A run as it is now, with its tasks."""
        ...

    def log(self, run_id: str, attempt: Attempt) -> list[str]:
        """The last lines that an attempt printed; none if the service does not have its log."""
        ...

    def terminate(self, run_id: str) -> None:
        """End a run; nothing happens if it has ended."""
        ...

    def submit(self, package: Package, name: str) -> RemoteRun:
        """Start a run; where names are unique and another program has just taken this one, that program's run."""
        ...

    def schedules(self) -> list[Schedule]:
        """All schedules that `create_schedule` made, by name."""
        ...

    def create_schedule(
        self, package: Package, name: str, cron: Cron, timezone: str | None, *, active: bool = True
    ) -> Schedule:
        """Start `package` at each time of `cron`, one run at a time, without catching up on what was missed."""
        ...

    def pause(self, schedule: Schedule) -> None:
        """Start no more runs until `resume`."""
        ...

    def resume(self, schedule: Schedule) -> None:
        """Undo `pause`; what was missed is not made up for."""
        ...

    def delete(self, schedule: Schedule) -> None:
        """Remove it; runs that it started stay."""
        ...


def run_number(name: str, prefix: str) -> int | None:
    """n of a run called `<prefix>n`; None for another run's name."""
    match = re.fullmatch(re.escape(prefix) + r"(\d{1,9})", name)
    return int(match.group(1)) if match else None
