"""Stay with a run until its epochs are done: show how it goes, and submit the package again while it is needed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from rich.console import Console

from pipelines.remote.clients import Client, Package, RemoteRun, State
from pipelines.remote.submit import run_prefix, submit_next, unfinished
from reward_finetuning.config import RetryableError, TrainingError
from reward_finetuning.evaluation.reports import is_done
from reward_finetuning.storage import RunDirectory

Answer = TypeVar("Answer")

_PATIENCE = 10
"""How often in a row the service may fail to answer before we give up; the run goes on without us."""


@dataclass(frozen=True, slots=True)
class Follow:
    """What is followed, and how."""

    client: Client
    run: RunDirectory
    package: Package
    console: Console
    retries: int
    """How many runs in a row may end without an epoch more before it is given up."""

    poll_seconds: float

    def to_the_end(self) -> None:
        """Attach to the run that is going on, or submit one, until all epochs are trained and evaluated.

        Nothing is kept here: whoever starts again finds the same run by its name.

        Raises:
            TrainingError: runs end and no epoch more is done.
            RetryableError: someone canceled the run, or the service does not answer.
        """
        fruitless, failed = 0, False
        while True:
            before = self._patiently(self.run.latest).epoch
            remote = self._patiently(partial(self._find_or_submit, even_if_done=failed))
            if remote is None:
                return
            ended = self._watch(remote, before)
            failed = ended.state is State.FAILED
            if ended.state is State.CANCELED:
                raise RetryableError(f"{ended.name} was canceled by someone; the same command goes on: {ended.url}")
            done = self._patiently(partial(is_done, self.run)) and not failed
            progressed = done or self._patiently(self.run.latest).epoch > before
            fruitless = 0 if progressed else fruitless + 1
            if fruitless > self.retries:
                raise TrainingError(_given_up(ended, before, fruitless))

    def _find_or_submit(self, *, even_if_done: bool) -> RemoteRun | None:
        """The run that is going on, or else a new one; None where nothing is left to do."""
        prefix = run_prefix(self.run.config)
        if found := unfinished(self.client, prefix):
            self._say(f"found {found.name}: {found.url}")
            return found
        if is_done(self.run) and not even_if_done:
            return None
        submitted = submit_next(self.client, self.package, prefix)
        self._say(f"submitted {submitted.name}: {submitted.url}")
        return submitted

    def _watch(self, remote: RemoteRun, epoch: int) -> RemoteRun:
        """Show what changes until the run has ended; returns how. `epoch` is known already."""
        shown = ""
        while True:
            remote = self._patiently(partial(self.client.run, remote.id))
            latest = self._patiently(self.run.latest).epoch  # after the state: what has ended writes no more
            if latest > epoch:
                self._say(f"  epoch {latest} of {self.run.config.loop.epochs}")
            if remote.state != shown:
                self._say(f"  {remote.state}{f': {remote.error}' if remote.error else ''}")
            shown, epoch = remote.state, latest
            if remote.state.is_final:
                return remote
            time.sleep(self.poll_seconds)

    def _patiently(self, action: Callable[[], Answer]) -> Answer:
        """Repeat what may well succeed the next time; the run needs nobody to watch it."""
        for _ in range(_PATIENCE):
            try:
                return action()
            except RetryableError as error:
                self._say(f"  {error}")
                time.sleep(self.poll_seconds)
        return action()

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _given_up(ended: RemoteRun, epoch: int, times: int) -> str:
    runs = f"{times} runs in a row" if times > 1 else "a run"
    why = f": {ended.error}" if ended.error else ""
    return (
        f"{runs} ended without an epoch after {epoch}, the last one, {ended.name}, {ended.state}{why}; its logs: "
        f"{ended.url}"
    )
