"""Run a compiled package once through kfp.local. A process of its own: kfp.local redirects its caller's stdout."""

from __future__ import annotations

import sys
from typing import Literal

from kfp import local
from kfp.components import load_component_from_file


def run_package(package: str, runner: Literal["subprocess"], pipeline_root: str) -> None:
    """Run the package to its end.

    Raises:
        RuntimeError: a task failed.
    """
    assert runner == "subprocess"
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=pipeline_root, raise_on_error=True)
    load_component_from_file(package)()


if __name__ == "__main__":
    run_package(sys.argv[1], "subprocess", sys.argv[2])
