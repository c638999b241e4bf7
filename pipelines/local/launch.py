"""Run a pipeline on this machine: compile it, run it through kfp.local until all epochs are done, show its progress."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID

from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.evaluation.reports import is_done
from reward_finetuning.events import EVENTS, SECONDS, Advance, EventFile, News
from reward_finetuning.failures import BUG, FAILURE_FILE, failure_in
from reward_finetuning.inputs import absolute_paths
from reward_finetuning.pipelines.graphs.package import compile_package
from reward_finetuning.pipelines.local.containers import (
    ContainerOptions,
    check_images,
    container_arguments,
    engine,
    give_to_tasks,
)
from reward_finetuning.pipelines.local.folder import Attempt, folder_here
from reward_finetuning.pipelines.local.runner import Runner
from reward_finetuning.pipelines.targets.services import TargetName
from reward_finetuning.storage import RunDirectory
from reward_finetuning.tracking import MlflowTracker
from reward_finetuning.tracking.code import USER, user

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 30.0
"""How long tasks may take to end after a signal; the engine needs some seconds to remove containers."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pipeline run ended."""

    exit_code: int
    error: str = ""

    @property
    def advice(self) -> str:
        """What the user can do about it."""
        if self.exit_code in {2, 3}:
            return "a retry cannot help"
        return BUG if self.exit_code == 1 else "run the same command again to resume"


def run_until_done(
    run: RunDirectory, runner: Runner, console: Console, containers: ContainerOptions | None = None
) -> Outcome:
    """Submit the same package again and again until `loop.epochs` are done; each time does what is left.

    Args:
        run: a checked run.
        runner: how tasks run.
        console: where progress goes.
        containers: the user's choice, for Runner.DOCKER.

    Raises:
        UserError: run.json is of other settings; they are listed.
    """
    if runner is Runner.DOCKER:
        engine()  # a missing engine is refused before anything is written
    attempt = Attempt.begin(run)
    arguments = compile_here(run, attempt, runner, console, containers)
    while not is_done(run):
        run.check()  # another command may have begun the directory with other settings
        before = run.latest().epoch
        outcome = run_once(attempt, runner, console, arguments)
        if outcome.exit_code:
            mark_killed(run, outcome)
            return outcome
        if run.latest().epoch == before and not is_done(run):
            return Outcome(
                1, f"the pipeline ended, but no epoch after {before} was done (the whole log: {attempt.log})"
            )
    run.check()
    return Outcome(0)


def mark_killed(run: RunDirectory, outcome: Outcome) -> None:
    """Mark the run KILLED in MLflow, unless the step could mark it FAILED before it ended."""
    if outcome.exit_code in {2, 3} or run.describe() is None:
        return
    with suppress(UserError):  # another run has the directory, and may still work
        run.check()
        MlflowTracker(run).end("KILLED")


def describe(config: RunConfig) -> str:
    """What will be done, in a line."""
    loop, sampling = config.loop, config.sampling
    return (
        f"{config.name}: {config.objective.name} on {config.model.source}, {loop.epochs} epochs of "
        f"{config.prompts.prompts_per_epoch} prompts × {sampling.images_per_prompt} images, {loop.granularity}"
    )


def compile_here(
    run: RunDirectory, attempt: Attempt, runner: Runner, console: Console, containers: ContainerOptions | None
) -> dict[str, Any]:
    """Compile the attempt's package for this machine; returns the runner's arguments."""
    if runner is Runner.DOCKER:
        return _compile_for_docker(run, attempt, console, containers or ContainerOptions())
    compile_package(run.config, TargetName.LOCAL, attempt.package)
    return {}


def _compile_for_docker(
    run: RunDirectory, attempt: Attempt, console: Console, options: ContainerOptions
) -> dict[str, Any]:
    """Compile the package, check that the engine has its images, and say how its containers run."""
    client = engine()
    config = absolute_paths(run.config)
    compile_package(config, TargetName.LOCAL, attempt.package)
    for warning in check_images(client, attempt.package):
        console.print(warning, highlight=False, soft_wrap=True)
    give_to_tasks(client, folder_here(run))
    return container_arguments(client, config, options)


def run_once(attempt: Attempt, runner: Runner, console: Console, arguments: dict[str, Any]) -> Outcome:
    """Run the attempt's package once; progress and news go to the console, all that tasks print to its log.

    SIGINT, SIGTERM and SIGHUP end the tasks too.
    """
    command = [
        sys.executable,
        "-m",
        "reward_finetuning.pipelines.local.runner",
        str(attempt.package),
        runner,
        str(attempt.folder),
    ]
    command.append(json.dumps(arguments))
    with _received() as signals, attempt.log.open("ab") as log, EventFile(attempt.events) as events:
        child = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | _protocol(attempt, console),
            start_new_session=True,
        )
        _follow(child, events, console, signals)
        if signals:
            _end(child)
            name = signal.Signals(signals[0]).name
            return Outcome(128 + signals[0], "interrupted" if name == "SIGINT" else f"ended by signal {name}")
    return Outcome(0) if child.returncode == 0 else _outcome(attempt, child.returncode)


def _protocol(attempt: Attempt, console: Console) -> dict[str, str]:
    """Environment variables by which tasks find where to report."""
    return {
        EVENTS: str(attempt.events),
        FAILURE_FILE: str(attempt.failure),
        SECONDS: "0.5" if console.is_terminal else "15",
        "PYTHONUNBUFFERED": "1",
        USER: user(),  # a container's user is another
        # `python -m` puts the working directory first on sys.path: a user's folder may hold packages of our names.
        "PYTHONSAFEPATH": "1",
    }


def _outcome(attempt: Attempt, code: int) -> Outcome:
    """How a failed run ended: as its failure record says."""
    error = failure_in(attempt.failure.read_text(encoding="utf-8"))
    log = f"(the whole log: {attempt.log})"
    if error is None:
        return Outcome(1, f"the pipeline ended with code {code} and left no error {log}")
    return Outcome(getattr(error, "exit_code", 1), f"{error} {log}")


@contextmanager
def _received() -> Iterator[list[int]]:
    """Collect the signals that ask this process to end; those that are ignored (nohup) stay ignored."""
    signals: list[int] = []
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    handled = [number for number, handler in before.items() if handler != signal.SIG_IGN]
    for number in handled:
        signal.signal(number, lambda received, _: signals.append(received))
    try:
        yield signals
    finally:
        for number in handled:
            signal.signal(number, before[number])


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the runner and its tasks, which are one process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is None:
            os.killpg(child.pid, number)
            try:
                child.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                continue


def _follow(child: subprocess.Popen[bytes], events: EventFile, console: Console, signals: list[int]) -> None:
    """Show events until the child has ended or a signal is received."""
    bars: dict[str, TaskID] = {}
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        running = True
        while running and not signals:
            running = child.poll() is None
            for event in events.read():
                _show(event, progress, bars)
            time.sleep(_POLL_SECONDS if running else 0)


def _show(event: News | Advance, progress: Progress, bars: dict[str, TaskID]) -> None:
    if isinstance(event, News):
        progress.console.print(event.text, highlight=False, markup=False, soft_wrap=True)
        return
    if event.step not in bars:
        bars[event.step] = progress.add_task(event.task)
    progress.update(bars[event.step], description=event.task, completed=event.done, total=event.total)
    if not progress.console.is_terminal:
        progress.console.print(event.text, highlight=False, markup=False)
