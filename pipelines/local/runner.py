"""Run a compiled package once through kfp.local. A separate process, because kfp.local redirects stdout."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from functools import partial
from typing import Any

from reward_finetuning.config import RetryableError
from reward_finetuning.events import EVENTS, SECONDS
from reward_finetuning.failures import FAILURE_FILE, classify, leave_failure
from reward_finetuning.pipelines.local.containers import passed_environment
from reward_finetuning.pipelines.local.tasks import run_task
from reward_finetuning.training.launch import end_with_parent

STARTED_BY = "reward-finetuning.started-by"
"""Label of a run's containers: which process started them."""

CREATION_SECONDS = 5.0
"""How long the engine may take to create a container that it was asked for before the process ends."""

_starting: set[str] = set()
"""Names of containers that the engine has been asked for and that may not exist yet."""


class Runner(StrEnum):
    """How kfp.local runs a task."""

    SUBPROCESS = "subprocess"
    DOCKER = "docker"


def run_package(package: str, runner: Runner, pipeline_root: str, arguments: Mapping[str, Any]) -> None:
    """Run the package to its end.

    Args:
        package: the compiled pipeline.
        runner: how its tasks run.
        pipeline_root: where KFP's own files go.
        arguments: of `docker.containers.run`, for Runner.DOCKER.

    Raises:
        RuntimeError: a task failed.
    """
    from kfp import local
    from kfp.components import load_component_from_file

    local.init(_runner(runner, arguments), pipeline_root=pipeline_root, raise_on_error=True)
    load_component_from_file(package)()


def run_process(run: Callable[..., int], full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
    """Run a task's process (`run_task`), and record the signal that killed the process, if any."""
    code = run_task(run, full_command, env_vars)
    _record_signal(code, "a task")
    return code


def run_container(client: Any, image: str, command: Sequence[str], volumes: Mapping[str, Any], **arguments: Any) -> int:
    """Run a task's container, print what it prints, and return its exit code.

    In the place of kfp's function of this signature, which lets the engine remove the container as soon as it ends, and
    calls a task done whose code it then can no longer ask for.
    """
    name = f"reward-finetuning-{uuid.uuid4().hex}"
    _starting.add(name)
    try:
        container = client.containers.run(image, list(command), name=name, detach=True, volumes=volumes, **arguments)
    finally:
        _starting.discard(name)
    try:
        for part in container.logs(stream=True, follow=True):
            print(part.decode(errors="replace"), end="", flush=True)
        code = int(container.wait()["StatusCode"])
        container.reload()
        if container.attrs["State"]["OOMKilled"]:
            leave_failure(RetryableError(f"the engine killed a container of {image}: it had no memory left"))
        _record_signal(code, f"a container of {image}")
    finally:
        container.remove(force=True)
    return code


def _record_signal(code: int, task: str) -> None:
    """Leave a failure for a task that a signal killed: it could not leave one itself.

    A shell reports the signal of its child as 128 + its number, and Python as the negative number.
    """
    number = -code if code < 0 else code - 128
    if number not in {int(each) for each in signal.Signals}:
        return
    name = signal.Signals(number).name
    cause = "; most likely the machine had no memory left" if number == signal.SIGKILL else ""
    leave_failure(RetryableError(f"{task} was killed by signal {name}{cause}"))


def _runner(runner: Runner, arguments: Mapping[str, Any]) -> Any:
    from kfp import local
    from kfp.local import subprocess_task_handler

    if runner is Runner.SUBPROCESS:
        # kfp wants "python" in the name of an image, which a process does not use.
        warnings.filterwarnings("ignore", "You may be attemping to run a task", RuntimeWarning)
        subprocess_task_handler.run_local_subprocess = partial(
            run_process, subprocess_task_handler.run_local_subprocess
        )
        return local.SubprocessRunner(use_venv=False)
    from kfp.local import docker_task_handler

    docker_task_handler.run_docker_container = run_container
    protocol = {name: os.environ[name] for name in (EVENTS, SECONDS, FAILURE_FILE) if name in os.environ}
    environment = {**passed_environment(), **arguments.get("environment", {}), **protocol}
    return local.DockerRunner(**{**arguments, "environment": environment, "labels": {STARTED_BY: str(os.getpid())}})


def _end_with_tasks(runner: Runner, *_: object) -> None:
    """End the tasks, then this process: containers are the engine's children, and a shell does not end its child."""
    if runner is Runner.DOCKER:
        _remove_containers()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if os.getpgrp() == os.getpid():  # started by the launcher, as the leader of a group that only tasks are in
        os.killpg(0, signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)


def _remove_containers() -> None:
    """Remove this process's containers: those that run, that wait for their start, and that are being created."""
    import docker

    client, deadline = docker.from_env(), time.monotonic() + CREATION_SECONDS
    while True:
        created = {"label": f"{STARTED_BY}={os.getpid()}"}
        for container in client.containers.list(all=True, filters=created, ignore_removed=True):
            with suppress(docker.errors.NotFound):  # its task has just removed it
                container.remove(force=True)
            _starting.discard(str(container.name))
        if not _starting or time.monotonic() > deadline:
            return
        time.sleep(0.1)


def main(package: str, runner: Runner, pipeline_root: str, arguments: str) -> None:
    """Run the package, and end the tasks with this process."""
    signal.signal(signal.SIGTERM, partial(_end_with_tasks, runner))
    end_with_parent(signal.SIGTERM)
    try:
        run_package(package, runner, pipeline_root, json.loads(arguments))
    except OSError as error:  # of this process: a disk that is too full for the log
        leave_failure(classify(error))
        raise


if __name__ == "__main__":
    main(sys.argv[1], Runner(sys.argv[2]), sys.argv[3], sys.argv[4])
