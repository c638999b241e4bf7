"""`rft submit --follow`: watch a run until its epochs are done, and submit the package again while that is needed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from rich.console import Console

from reward_finetuning.config import RetryableError, TrainingError, UserError
from reward_finetuning.evaluation.reports import is_done
from reward_finetuning.pipelines.remote.clients import Attempt, Client, Package, RemoteRun, State
from reward_finetuning.pipelines.remote.progress import TaskProgress, failure_lines, reason_in
from reward_finetuning.pipelines.remote.submit import refusal_of, run_prefix, submit_next, unfinished
from reward_finetuning.storage import RunDirectory
from reward_finetuning.storage.refusal import Refusal

Answer = TypeVar("Answer")

_UNANSWERED = 10
"""How many requests in a row may fail before following ends; the run does not depend on it."""

_ENDING_SECONDS = 120.0
"""How long following waits for the end of a run that it has terminated."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, in seconds; a test has another one."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Follow:
    """What is followed, and how."""

    client: Client
    run: RunDirectory
    package: Package
    console: Console
    retries: int
    """How many runs in a row may end without a new epoch before it is given up."""

    poll_seconds: float
    clock: Clock = Clock()

    def to_the_end(self) -> None:
        """Attach to the running pipeline run, or submit one, until all epochs are trained and evaluated.

        No state is kept here: after a restart the same run is found by its name.

        Raises:
            UserError: a task found an error that no attempt can heal; the run is terminated.
            TrainingError: as above, or runs end without a new epoch.
            RetryableError: someone terminated the run, or the service does not answer.
        """
        fruitless, failed = 0, False
        while True:
            before = self._answer(self.run.latest).epoch
            remote = self._answer(partial(self._find_or_submit, even_if_done=failed))
            if remote is None:
                return
            ended = self._watch(remote, before)
            if refusal := self._refusal(ended):
                raise _refused(refusal, ended)
            failed = ended.state is State.FAILED
            if ended.state is State.CANCELED:
                raise RetryableError(f"{ended.name} was terminated by someone; the same command continues: {ended.url}")
            done = self._answer(partial(is_done, self.run)) and not failed
            progressed = done or self._answer(self.run.latest).epoch > before
            fruitless = 0 if progressed else fruitless + 1
            if fruitless > self.retries:
                raise TrainingError(_given_up(ended, self._reason(ended), before, fruitless))

    def _find_or_submit(self, *, even_if_done: bool) -> RemoteRun | None:
        """The running pipeline run, or else a new one; None if nothing is left to do."""
        prefix = run_prefix(self.run.config)
        if running := unfinished(self.client, prefix, self.run):
            self._print(f"found {running.name}: {running.url}")
            return running
        if is_done(self.run) and not even_if_done:
            return None
        submitted = submit_next(self.client, self.package, prefix)
        self._print(f"submitted {submitted.name}: {submitted.url}")
        return submitted

    def _watch(self, remote: RemoteRun, epoch: int) -> RemoteRun:
        """Print what changes until the run has ended; returns how it ended.

        A run with a permanent error is terminated: the service would repeat the task for hours.

        Args:
            remote: the run.
            epoch: the last one that was printed.
        """
        log = partial(self._log, remote)
        progress, shown, give_up = TaskProgress(log), "", float("inf")
        while True:
            remote = self._answer(partial(self.client.run, remote.id))
            latest = self._answer(self.run.latest).epoch  # after the state: a run that has ended writes no more
            for line in progress.lines(remote, self.clock.now()):
                self._print(f"  {line}")
            if latest > epoch:
                self._print(f"  epoch {latest} of {self.run.config.loop.epochs}")
            if remote.state != shown:
                self._print(f"  {remote.state}{f': {remote.error}' if remote.error else ''}")
            shown, epoch = remote.state, latest
            if remote.state is State.FAILED:
                for line in failure_lines(remote, log):
                    self._print(f"  {line}")
            if remote.state.is_final or self.clock.now() >= give_up:
                return remote
            if give_up == float("inf") and self._refusal(remote) is not None:
                self._answer(partial(self.client.terminate, remote.id))
                self._print(f"  terminated {remote.name}: no attempt can heal its error")
                give_up = self.clock.now() + _ENDING_SECONDS
            self.clock.sleep(self.poll_seconds)

    def _refusal(self, remote: RemoteRun) -> Refusal | None:
        return self._answer(partial(refusal_of, remote, self.run))

    def _log(self, remote: RemoteRun, attempt: Attempt) -> list[str]:
        """The end of a log; it may be gone, or another right may be needed for it."""
        with suppress(RetryableError, UserError):
            return self.client.log(remote.id, attempt)
        return []

    def _reason(self, ended: RemoteRun) -> str:
        """Why a run failed, as far as that is known: the service's reason, or the last error in the log of its task."""
        task = ended.failed_task
        return ended.error or ("" if task is None else reason_in(self._log(ended, task.attempts[-1])))

    def _answer(self, request: Callable[[], Answer]) -> Answer:
        """Repeat a request that may succeed the next time."""
        for _ in range(_UNANSWERED):
            try:
                return request()
            except RetryableError as error:
                self._print(f"  {error}")
                self.clock.sleep(self.poll_seconds)
        return request()

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _refused(refusal: Refusal, remote: RemoteRun) -> UserError | TrainingError:
    where = f"{refusal.task}, attempt {refusal.attempt}, of {remote.name}: {remote.url}"
    return type(refusal.as_error())(f"{refusal.message} ({where})")


def _given_up(ended: RemoteRun, reason: str, epoch: int, times: int) -> str:
    runs = f"{times} runs in a row" if times > 1 else "a run"
    task = f" in {ended.failed_task.name}" if ended.failed_task else ""
    why = f": {reason}" if reason else ""
    return (
        f"{runs} ended without an epoch after {epoch}, the last one, {ended.name}, {ended.state}{task}{why}; its logs: "
        f"{ended.url}"
    )
