"""What `--follow` prints of a pipeline run: each change of its tasks once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from reward_finetuning.pipelines.remote.clients import Attempt, RemoteRun, RemoteTask, State
from reward_finetuning.server_errors import one_line

WAITING_SECONDS = 300.0
"""How long a task waits for a machine before that is worth a line."""

Log = Callable[[Attempt], list[str]]
"""The last lines of an attempt."""


@dataclass(slots=True)
class TaskProgress:
    """Tasks and attempts of one pipeline run that have been printed."""

    log: Log
    _at_work: frozenset[str] = frozenset()
    _failed: set[tuple[str, int]] = field(default_factory=set)
    _waiting_since: dict[str, float] = field(default_factory=dict)
    _waiting: set[str] = field(default_factory=set)

    def lines(self, run: RemoteRun, now: float) -> Iterator[str]:
        """The changes since the last call.

        Args:
            run: as it is now.
            now: seconds of a monotonic clock.
        """
        for task in run.tasks:
            yield from self._failures(task)
            yield from self._waits(task, now)
        at_work = frozenset(task.name for task in run.tasks if task.state is State.RUNNING and not is_driver(task))
        if at_work and at_work != self._at_work:
            yield f"at work: {', '.join(sorted(at_work))}"
        self._at_work = at_work or self._at_work

    def _failures(self, task: RemoteTask) -> Iterator[str]:
        for number, attempt in enumerate(task.attempts, start=1):
            if attempt.state is State.FAILED and (task.name, number) not in self._failed:
                self._failed.add((task.name, number))
                reason = attempt.error or reason_in(self.log(attempt))
                yield f"{task.name}: attempt {number} failed{f': {reason}' if reason else ''}"

    def _waits(self, task: RemoteTask, now: float) -> Iterator[str]:
        if task.state is not State.PENDING:
            self._waiting_since.pop(task.name, None)
            self._waiting.discard(task.name)
            return
        since = self._waiting_since.setdefault(task.name, now)
        if now - since >= WAITING_SECONDS and task.name not in self._waiting:
            self._waiting.add(task.name)
            yield f"{task.name}: waiting for a machine for {(now - since) / 60:.0f} minutes"


def is_driver(task: RemoteTask) -> bool:
    """Whether the task is a driver of Kubeflow Pipelines, which prepares a task of the pipeline."""
    return task.name.endswith("-driver")


def reason_in(lines: list[str]) -> str:
    """The error in the end of a log: the last line of a Python traceback, else the last line."""
    errors = [line for line in lines if _is_error(line)]
    return one_line((errors or [line for line in lines if line.strip()] or [""])[-1].strip())


def failure_lines(run: RemoteRun, log: Log) -> list[str]:
    """Why a run failed, for its last lines: the task, its attempts, and the end of its log."""
    task = run.failed_task
    if task is None:
        return []
    attempt = task.attempts[-1]
    head = f"{task.name} failed in attempt {len(task.attempts)}{f': {attempt.error}' if attempt.error else ''}"
    return [head, *(f"  | {line}" for line in log(attempt))]


def _is_error(line: str) -> bool:
    """Whether a line is `module.NameError: text`."""
    name, separator, _ = line.strip().partition(":")
    return bool(separator) and name.replace(".", "").isidentifier() and name.endswith(("Error", "Exception"))
