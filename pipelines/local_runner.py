"""Run a compiled package once through kfp.local. A process of its own: kfp.local redirects its caller's stdout."""

from __future__ import annotations

import sys
from enum import StrEnum

from kfp import local
from kfp.components import load_component_from_file


class Runner(StrEnum):
    """How kfp.local runs a task."""

    SUBPROCESS = "subprocess"


def run_package(package: str, runner: Runner, pipeline_root: str) -> None:
    """Run the package to its end.

    Raises:
        RuntimeError: a task failed.
    """
    runners = {Runner.SUBPROCESS: local.SubprocessRunner(use_venv=False)}
    local.init(runners[runner], pipeline_root=pipeline_root, raise_on_error=True)
    load_component_from_file(package)()


if __name__ == "__main__":
    run_package(sys.argv[1], Runner(sys.argv[2]), sys.argv[3])
