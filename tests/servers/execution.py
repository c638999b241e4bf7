"""Run packages for real, through kfp.local in a child process; or end them as a test likes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Job:
    """What a server was given to run."""

    name: str
    spec: dict[str, Any]
    platform: dict[str, Any] | None
    parameters: dict[str, Any]
    run_id: str = ""


Execute = Callable[[Job], str]
"""Runs a job; returns its error, or an empty text."""


class LocalExecution:
    """job -> error text, empty where it succeeded; kfp.local on a copy of the package."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __call__(self, job: Job) -> str:
        folder = self.folder / job.name
        folder.mkdir(parents=True)
        documents = [_without_retries(job.spec), *([job.platform] if job.platform else [])]
        (folder / "package.yaml").write_text(yaml.safe_dump_all(documents), encoding="utf-8")
        (folder / "parameters.json").write_text(json.dumps(job.parameters), encoding="utf-8")
        with (folder / "log.txt").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(folder)],  # -P: else our kfp.py would be taken for the package
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1"} | ({"KFP_RUN_ID": job.run_id} if job.run_id else {}),
                start_new_session=True,
            )
            self._processes[job.name] = process
            status = process.wait()
        if status == 0:
            return ""
        return "the node was lost" if status < 0 else (folder / "log.txt").read_text(errors="replace")[-300:]

    def kill(self, name: str) -> None:
        """End everything of a run at once, as when its node goes away."""
        os.killpg(self._processes[name].pid, signal.SIGKILL)

    def close(self) -> None:
        """End what is left."""
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def in_background(execute: Execute, job: Job, end: Callable[[str], None]) -> None:
    """Call `end` with the error text once the job is done."""

    def run() -> None:
        try:
            error = execute(job)
        except Exception as failure:
            end(repr(failure))
            raise
        end(error)

    threading.Thread(target=run, daemon=True).start()


def _without_retries(spec: object) -> object:
    """kfp.local would wait the pauses of a cluster's retries."""
    if isinstance(spec, dict):
        return {key: _without_retries(value) for key, value in spec.items() if key != "retryPolicy"}
    return [_without_retries(value) for value in spec] if isinstance(spec, list) else spec


if __name__ == "__main__":
    from kfp import local
    from kfp.components import load_component_from_file
    from kfp.local import subprocess_task_handler as handler

    from reward_finetuning.pipelines.local.tasks import run_task

    handler.run_local_subprocess = partial(run_task, handler.run_local_subprocess)  # forks, as `rft run` does
    folder = Path(sys.argv[1])
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "root"), raise_on_error=True)
    load_component_from_file(str(folder / "package.yaml"))(**json.loads((folder / "parameters.json").read_text()))
