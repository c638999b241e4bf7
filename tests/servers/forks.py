"""Functions in processes that are forked from one that has imported the steps: the imports take 8 seconds of CPU."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_IMPORTS = [
    "mlflow",
    "transformers.models.clip.modeling_clip",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "reward_finetuning.steps.run_epochs",
]


def fork(function: Callable[..., Any], *arguments: Any, **variables: str) -> BaseProcess:
    """Start a process that calls the function, in this process's environment with `variables`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTS)
    process = context.Process(target=_call, args=(dict(os.environ) | variables, function, arguments))
    process.start()
    return process


def on_processes(count: int, function: Callable[..., Any], *arguments: Any) -> None:
    """Call the function on so many processes, each with the variables that torchrun sets; wait for all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "TORCHELASTIC_RUN_ID": "test"}
    both |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [str(rank) for rank in range(count)]
    processes = [fork(function, *arguments, **both, RANK=rank, LOCAL_RANK=rank) for rank in ranks]
    for process in processes:
        process.join(300)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0] * count, f"exit codes by rank: {codes}"


def start(step: str, options: Mapping[str, str | Sequence[str]], num_processes: int) -> None:
    """`reward_finetuning.training.launch.start`, without torchrun."""
    function = getattr(import_module(step), step.rpartition(".")[2])
    on_processes(num_processes, partial(function, **options))


def run_program(path: Path, *arguments: Any) -> None:
    """What `python PATH ARGUMENTS` does."""
    sys.argv = [str(path), *map(str, arguments)]
    sys.path.insert(0, str(path.parent))
    runpy.run_path(str(path), run_name="__main__")


def _call(environment: Mapping[str, str], function: Callable[..., Any], arguments: Sequence[Any]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    function(*arguments)
