"""Run a pipeline here: compile it, run it through kfp.local until the run's epochs are done, show how it goes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID

from pipelines.graphs.package import compile_package
from pipelines.local.containers import (
    ContainerOptions,
    absolute_paths,
    check_images,
    container_arguments,
    engine,
    give_to_tasks,
)
from pipelines.local.folder import folder_here
from pipelines.local.runner import Runner
from pipelines.targets.placement import TargetName
from reward_finetuning.config import RunConfig
from reward_finetuning.progress import SECONDS
from reward_finetuning.storage import RunDirectory

_PROGRESS = re.compile(r"^\s*((\w+), [\w .-]+): (\d+)/(\d+) \w+$")
_NEWS = re.compile(r"^\s*((?:epoch \d+:|retraining \w+:|warning:|MLflow at) .*)$")
_ERROR = re.compile(r"^\s*(?:[\w.]+\.)?(\w+(?:Error|Exception|Interrupt)): (.*)$")
_EXIT_CODES = {"UserError": 2, "ArtifactError": 2, "TrainingError": 3, "RetryableError": 75}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pipeline run ended."""

    exit_code: int
    error: str = ""


def run_until_done(
    run: RunDirectory, runner: Runner, console: Console, containers: ContainerOptions | None = None
) -> Outcome:
    """Submit the same package again and again until `loop.epochs` are done; each time does what is left.

    Args:
        run: a checked run.
        runner: how tasks run.
        console: where progress goes.
        containers: the user's choice, for Runner.DOCKER.
    """
    folder = folder_here(run)
    package = folder / "pipeline" / "package.yaml"
    arguments = compile_here(run.config, package, runner, console, containers)
    while not is_done(run):
        before = run.latest().epoch
        outcome = run_once(package, runner, folder, console, arguments)
        if outcome.exit_code or (run.latest().epoch == before and not is_done(run)):
            return (
                outcome
                if outcome.exit_code
                else Outcome(1, f"the pipeline ended, but no epoch after {before} was done")
            )
    return Outcome(0)


def is_done(run: RunDirectory) -> bool:
    """Whether all epochs are trained and the last one is evaluated."""
    latest, epochs = run.latest(), run.config.loop.epochs
    evaluated = any(name.startswith("report-") for name in run.store.names(f"epochs/{epochs:04d}"))
    return latest.epoch >= epochs and evaluated


def describe(config: RunConfig) -> str:
    """What will be done, in a line."""
    loop, sampling = config.loop, config.sampling
    return (
        f"{config.name}: {config.objective.name} on {config.model.source}, {loop.epochs} epochs of "
        f"{config.prompts.prompts_per_epoch} prompts × {sampling.images_per_prompt} images, {loop.granularity}"
    )


def compile_here(
    config: RunConfig, package: Path, runner: Runner, console: Console, containers: ContainerOptions | None
) -> dict[str, Any]:
    """Compile the package for this machine; returns the runner's arguments."""
    if runner is Runner.DOCKER:
        return _compile_for_docker(config, package, console, containers or ContainerOptions())
    compile_package(config, TargetName.LOCAL, package)
    return {}


def _compile_for_docker(
    config: RunConfig, package: Path, console: Console, options: ContainerOptions
) -> dict[str, Any]:
    """Compile the package, check that the engine has its images, and say how its containers run."""
    client = engine()
    config = absolute_paths(config)
    compile_package(config, TargetName.LOCAL, package)
    for warning in check_images(client, package):
        console.print(warning, highlight=False, soft_wrap=True)
    give_to_tasks(client, package.parents[1])
    return container_arguments(client, config, options)


def run_once(package: Path, runner: Runner, folder: Path, console: Console, arguments: dict[str, Any]) -> Outcome:
    """Run a package once; progress and news go to the console, everything to a log below `folder`."""
    log = folder / "pipeline" / "log.txt"
    command = [sys.executable, "-m", "pipelines.local.runner", str(package), runner, str(folder / "pipeline")]
    command.append(json.dumps(arguments))
    environment = os.environ | {"PYTHONUNBUFFERED": "1", SECONDS: "0.5" if console.is_terminal else "15"}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    ) as child:
        try:
            error = _follow(_lines(child, log), console)
        except KeyboardInterrupt:
            os.killpg(child.pid, signal.SIGTERM)
            return Outcome(130, "interrupted")
    if child.returncode == 0:
        return Outcome(0)
    name, _, _ = error.partition(":")
    return Outcome(_EXIT_CODES.get(name, 1), f"{error} (the whole log: {log})")


def _lines(child: subprocess.Popen[str], log: Path) -> Iterator[str]:
    assert child.stdout is not None
    with log.open("a", encoding="utf-8") as file:
        for line in child.stdout:
            file.write(line)
            yield line.rstrip("\n")


def _follow(lines: Iterator[str], console: Console) -> str:
    """Show progress; returns the last error of a task."""
    error = ""
    bars: dict[str, TaskID] = {}
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for line in lines:
            if match := _PROGRESS.match(line):
                task, step, done, total = match.groups()
                if step not in bars:
                    bars[step] = progress.add_task(task)
                progress.update(bars[step], description=task, completed=int(done), total=int(total))
                if not console.is_terminal:
                    console.print(line.strip(), highlight=False)
            elif match := _NEWS.match(line):
                progress.console.print(match.group(1), highlight=False, markup=False, soft_wrap=True)
            elif (match := _ERROR.match(line)) and not match.group(2).startswith("Pipeline "):
                error = f"{match.group(1)}: {match.group(2)}"
    return error
