"""Run a compiled package once through kfp.local. A process of its own: kfp.local redirects its caller's stdout."""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Any

from kfp import local
from kfp.components import load_component_from_file

STARTED_BY = "reward-finetuning.started-by"
"""Label of a run's containers: which process started them."""


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
    local.init(_runner(runner, arguments), pipeline_root=pipeline_root, raise_on_error=True)
    load_component_from_file(package)()


def run_container(client: Any, image: str, command: Sequence[str], volumes: Mapping[str, Any], **arguments: Any) -> int:
    """Run a task's container, print what it prints, and return its exit code.

    In the place of kfp's function of this signature, which lets the engine remove the container as soon as it ends, and
    calls a task done whose code it then can no longer ask for.
    """
    container = client.containers.run(image, list(command), detach=True, volumes=volumes, **arguments)
    try:
        for part in container.logs(stream=True, follow=True):
            print(part.decode(errors="replace"), end="", flush=True)
        code = int(container.wait()["StatusCode"])
        container.reload()
        if container.attrs["State"]["OOMKilled"]:
            print(f"\nRetryableError: the engine killed a container of {image}: it had no memory left", flush=True)
    finally:
        container.remove(force=True)
    return code


def _runner(runner: Runner, arguments: Mapping[str, Any]) -> Any:
    if runner is Runner.SUBPROCESS:
        # kfp wants "python" in the name of an image, which a process does not use.
        warnings.filterwarnings("ignore", "You may be attemping to run a task", RuntimeWarning)
        return local.SubprocessRunner(use_venv=False)
    from kfp.local import docker_task_handler

    docker_task_handler.run_docker_container = run_container
    label = {STARTED_BY: str(os.getpid())}
    signal.signal(signal.SIGTERM, partial(_stop, label))
    return local.DockerRunner(**arguments, labels=label)


def _stop(label: Mapping[str, str], *_: object) -> None:
    """End the containers too: they are the engine's children, not ours."""
    import docker

    ((key, value),) = label.items()
    for container in docker.from_env().containers.list(filters={"label": f"{key}={value}"}):
        container.remove(force=True)
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    run_package(sys.argv[1], Runner(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]))
