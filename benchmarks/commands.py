"""CPU time of short `rft` commands, and of a small run whose epochs are one task each (fused) or several (split).

    python benchmarks/commands.py

`rft status` reads a run of the built-in model with one evaluated epoch, which is made first (half a minute). The runs
have three epochs of 32 images; what an epoch costs more when it is split is a third of their difference.
"""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

REPEATS, RUN_REPEATS = 10, 3
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
RUN = Path(__file__).parents[1] / "pipelines" / "runs" / "shapes-prdp.yaml"
SMALL = ("-o", "loop.epochs=1", "-o", "loop.evaluate_every=1", "-o", "evaluation.images_per_prompt=1")
COMMANDS = {
    "rft --version": ("--version",),
    "rft --help": ("--help",),
    "rft status RUN": ("status", str(RUN), *SMALL),
    "rft compile RUN": ("compile", str(RUN), "--target", "kfp"),
}
EPOCHS = ("-o", "loop.epochs=3", "-o", "prompts.prompts_per_epoch=4", "-o", "evaluation.images_per_prompt=1")


def rft(arguments: tuple[str, ...], folder: str) -> float:
    """CPU seconds (user and system) of one command and of all processes that it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "reward_finetuning.pipelines.cli", *arguments]
    subprocess.run(command, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, check=True)
    with suppress(ChildProcessError):  # the server that tasks are forked from outlives the command for a moment
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a table: the median and the range of each command."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with TemporaryDirectory() as folder:
        rft(("run", str(RUN), *SMALL), folder)
        print("| command | CPU seconds, median | range |\n|---|---|---|")
        for name, arguments in COMMANDS.items():
            _row(name, [rft(arguments, folder) for _ in range(REPEATS)])
        costs: dict[str, list[float]] = {"fused": [], "split": []}
        for number in range(RUN_REPEATS):
            for granularity, seconds in costs.items():
                own = ("-o", f"name={granularity}-{number}", "-o", f"loop.granularity={granularity}")
                seconds.append(rft(("run", str(RUN), *EPOCHS, *own), folder))
        for granularity, seconds in costs.items():
            _row(f"rft run RUN -o loop.granularity={granularity}", seconds)


def _row(name: str, seconds: list[float]) -> None:
    print(f"| `{name}` | {median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f} |", flush=True)


if __name__ == "__main__":
    main()
