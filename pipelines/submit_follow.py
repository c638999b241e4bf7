"""Stay with a run until its epochs are done: show how it goes, and submit the package again while it is needed."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console

from pipelines.clients import Client, Package, RemoteRun, State
from pipelines.launch import is_done
from pipelines.submit import run_prefix, submit_next, unfinished
from reward_finetuning.config import RetryableError, TrainingError
from reward_finetuning.storage import RunDirectory

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
        prefix, fruitless, failed = run_prefix(self.run.config), 0, False
        while True:
            remote = unfinished(self.client, prefix)
            if remote is None and not failed and is_done(self.run):
                return
            before = self.run.latest().epoch
            ended = self._watch(remote or submit_next(self.client, self.package, prefix), attached=remote is not None)
            failed = ended.state is State.FAILED
            if ended.state is State.CANCELED:
                raise RetryableError(f"{ended.name} was canceled by someone; the same command goes on: {ended.url}")
            if self.run.latest().epoch > before or (not failed and is_done(self.run)):
                fruitless = 0
                continue
            fruitless += 1
            if fruitless > self.retries:
                raise TrainingError(_given_up(ended, before, fruitless))
            time.sleep(self.poll_seconds)

    def _watch(self, remote: RemoteRun, *, attached: bool) -> RemoteRun:
        """Show what changes until the run has ended; returns how."""
        self._say(f"{'found' if attached else 'submitted'} {remote.name}: {remote.url}")
        shown, epoch, silent = "", self.run.latest().epoch, 0
        while True:
            try:
                remote = self.client.run(remote.id)
                latest = self.run.latest().epoch  # after the state: a run that has ended has no more to come
                silent = 0
            except RetryableError as error:
                silent += 1
                if silent == _PATIENCE:
                    raise RetryableError(f"{error} ({remote.name} goes on without us: {remote.url})") from None
            else:
                if latest > epoch:
                    self._say(f"  epoch {latest} of {self.run.config.loop.epochs}")
                if remote.state != shown:
                    self._say(f"  {remote.state}{f': {remote.error}' if remote.error else ''}")
                shown, epoch = remote.state, latest
            if remote.state.is_final:
                return remote
            time.sleep(self.poll_seconds)

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _given_up(ended: RemoteRun, epoch: int, times: int) -> str:
    runs = f"{times} runs in a row" if times > 1 else "a run"
    why = f": {ended.error}" if ended.error else ""
    return (
        f"{runs} ended without an epoch after {epoch}, the last one, {ended.name}, {ended.state}{why}; its logs: "
        f"{ended.url}"
    )
