"""Programs of other people, who have diffusers and MLflow but not this project.

Each runs in a fork of an isolated interpreter that has imported the libraries: the imports take 7 seconds of CPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

_IMPORTS = (
    "mlflow.pyfunc",
    "pandas",
    "peft",
    "transformers.models.clip.modeling_clip",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
)
_SERVER = """
import importlib, json, os, sys, traceback

for name in sys.argv[1:]:
    importlib.import_module(name)
for line in sys.stdin:
    order = json.loads(line)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            log = os.open(order["log"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.chdir(order["cwd"])
            os.environ.clear()
            os.environ.update(order["environment"])
            sys.argv = ["-c", *order["arguments"]]
            exec(compile(order["program"], "program", "exec"), {"__name__": "__main__"})
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Stock:
    """The interpreter; `with Stock() as stock: stock.run(...)`."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-I", "-W", "ignore", "-c", _SERVER, *_IMPORTS]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.kill()
        self._server.communicate()

    def run(self, program: str, *arguments: Any, cwd: Path, **variables: str) -> None:
        """Run a program, which must not have imported this project when it ends.

        Args:
            program: its source.
            arguments: its sys.argv.
            cwd: where it runs, and where its output goes.
            variables: of its environment, beside those of this process.
        """
        log = cwd / "stock.log"
        order = {
            "program": program + _APART,
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(cwd),
            "log": str(log),
            "environment": dict(os.environ) | variables,
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        code = self._server.stdout.readline().strip()
        assert code == "0", log.read_text(errors="replace")


_APART = """
import sys
assert not any(name.startswith(("reward_finetuning", "pipelines", "components")) for name in sys.modules)
"""
