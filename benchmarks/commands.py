"""CPU time of short `rft` commands, each in a process of its own.

    python benchmarks/commands.py

`rft status` reads a run of the built-in model with one evaluated epoch, which is made first (half a minute).
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

REPEATS = 10
RUN = Path(__file__).parents[1] / "pipelines" / "runs" / "shapes-prdp.yaml"
SMALL = ("-o", "loop.epochs=1", "-o", "loop.evaluate_every=1", "-o", "evaluation.images_per_prompt=1")
COMMANDS = {
    "rft --version": ("--version",),
    "rft --help": ("--help",),
    "rft status RUN": ("status", str(RUN), *SMALL),
    "rft compile RUN": ("compile", str(RUN), "--target", "kfp"),
}


def rft(arguments: tuple[str, ...], folder: str) -> float:
    """CPU seconds (user and system) of one command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "reward_finetuning.pipelines.cli", *arguments]
    subprocess.run(command, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a table: the median and the range of each command."""
    with TemporaryDirectory() as folder:
        rft(("run", str(RUN), *SMALL), folder)
        print("| command | CPU seconds, median | range |\n|---|---|---|")
        for name, arguments in COMMANDS.items():
            seconds = sorted(rft(arguments, folder) for _ in range(REPEATS))
            print(f"| `{name}` | {seconds[REPEATS // 2]:.2f} | {seconds[0]:.2f} to {seconds[-1]:.2f} |")


if __name__ == "__main__":
    main()
