"""Processes of kfp.local's tasks: this project's are forked from a server that has imported torch and MLflow already.

Importing torch, transformers, diffusers and MLflow takes 8 seconds of CPU, which is most of the time of a task of the
built-in model. kfp.local starts a new interpreter for each task. The server is multiprocessing's: one process without
threads of Python, started at the first task and ended with the runner. Tasks without torch are forked as well: they
need MLflow, and a task with torch follows.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Self

from reward_finetuning.pipelines.targets.roles import ROLE_OF_COMPONENT

_IMPORTS = [
    "kfp.dsl.executor_main",
    "mlflow",
    "transformers.models.clip.modeling_clip",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "reward_finetuning.steps.run_epochs",
]
"""Modules of the server. None starts a thread of Python or a device at import, so a fork is safe."""

_CALL = f"_KFP_RUNTIME=true {sys.executable} -m kfp.dsl.executor_main"
"""What the script of a component's command does. A script that also installs packages is left to kfp."""

_FUNCTION = "--function_to_execute"
_GPUS = ("/dev/nvidiactl", "/dev/kfd")
_LONGEST_TMPDIR = 70

_PROCESSES = threading.Lock()
"""Held while a process is started or asked for its exit code, which the server sends once.

kfp.local runs tasks in threads, and starting a process asks all others for theirs. Of two threads that ask at once, one
would read the code and the other the end of the stream, which multiprocessing takes for 255.
"""


@dataclass(frozen=True, slots=True)
class Task:
    """A task as kfp's command for it says: source of the component, and arguments of kfp.dsl.executor_main."""

    source: str
    arguments: list[str]

    @classmethod
    def of_command(cls, command: Sequence[str]) -> Self | None:
        """The task of `sh -ec SCRIPT SOURCE ARGUMENTS...`; None for a command of another form."""
        match list(command):
            case ["sh", "-ec", script, source, *arguments] if _only_executes(script) and _FUNCTION in arguments:
                return cls(source, arguments)
        return None

    @property
    def component(self) -> str:
        """Name of the component's function."""
        return self.arguments[self.arguments.index(_FUNCTION) + 1]

    def run(self, environment: Mapping[str, str]) -> None:
        """Be the task: what a new interpreter would do with the command."""
        os.environ.update(environment, _KFP_RUNTIME="true")
        from kfp.dsl.executor_main import executor_main

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ephemeral_component.py"
            path.write_text(self.source, encoding="utf-8")
            sys.argv = ["executor_main.py", "--component_module_path", str(path), *self.arguments]
            executor_main()


def run_task(run: Callable[..., int], full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
    """Run a task's process; returns its exit code, negative for a signal that killed it.

    Args:
        run: kfp's own function of this signature, for components of others, and where `_is_forked` is false.
        full_command: the command of the task.
        env_vars: environment variables of the task.
    """
    task = Task.of_command(full_command)
    if not _is_forked() or task is None or task.component not in ROLE_OF_COMPONENT:
        return int(run(full_command, env_vars))
    process = _server().Process(target=task.run, args=(env_vars or {},), name=task.component)
    with _PROCESSES:
        process.start()
    multiprocessing.connection.wait([process.sentinel])
    with _PROCESSES:
        return process.exitcode or 0


def _is_forked() -> bool:
    """Whether tasks are forked.

    Not on macOS, where a process that has loaded frameworks of the system cannot fork. Not where there is a GPU, or
    bitsandbytes, which peft imports and which initialises CUDA: a fork cannot use its parent's CUDA, and what else
    libraries do at import beside a GPU was not tested. Python 3.11.0 lets other users of the machine connect to the
    server (CVE-2022-42919). The path of the server's socket has at most 107 bytes.
    """
    return (
        sys.platform == "linux"
        and sys.version_info >= (3, 11, 1)
        and len(tempfile.gettempdir()) <= _LONGEST_TMPDIR
        and not any(Path(device).exists() for device in _GPUS)
        and find_spec("bitsandbytes") is None
    )


@cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTS)
    return context


def _only_executes(script: str) -> bool:
    words = script.split()
    return _CALL in " ".join(words) and "pip" not in words
