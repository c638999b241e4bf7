"""The processes that do the work: one a side, asked in turn."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs import Job

FOLDER = Path(__file__).parent


class Worker:
    """A process that answers jobs."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self._process, self._name = process, name

    def measure(self, job: Job) -> dict[str, Any]:
        """The cost: `cpu`, `wall` in seconds; `memory` in MB above what was resident before, `process` with that.

        Raises:
            RuntimeError: the worker ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._name} ended with exit code {self._process.wait()} in {job}")
        figures: dict[str, Any] = json.loads(answer)
        return figures


@contextmanager
def worker(python: Path | str, program: str, model: Path, folder: Path, log: Path) -> Iterator[Worker]:
    """A worker of one thread.

    Args:
        python: the interpreter of its environment.
        program: `our_side` or `trl_side`.
        model: folder of a pipeline.
        folder: for its files.
        log: what it prints, appended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [str(python), str(FOLDER / f"{program}.py"), str(model), str(folder)]
    with log.open("a", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            env=environment,
            cwd=folder,
        )
    try:
        yield Worker(process, f"{program} (its output: {log})")
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
