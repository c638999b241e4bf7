"""CPU time of short `rft` commands, and of a small run whose epochs are one task each (fused) or several (split).

    python benchmarks/cpu/commands.py

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
RUN = Path(__file__).parents[2] / "pipelines" / "runs" / "shapes-prdp.yaml"
SMALL = ("-o", "loop.epochs=1", "-o", "loop.evaluate_every=1", "-o", "evaluation.images_per_prompt=1")
COMMANDS = {
    "rft --version": ("--version",),
    "rft --help": ("--help",),
    "rft status RUN": ("status", str(RUN), *SMALL),
    "rft compile RUN": ("compile", str(RUN), "--target", "kfp"),
}
RUNS = {f"rft run RUN -o loop.granularity={granularity}": granularity for granularity in ("fused", "split")}
NUM_EPOCHS = 3
EPOCHS = (
    "-o",
    f"loop.epochs={NUM_EPOCHS}",
    "-o",
    "prompts.prompts_per_epoch=4",
    "-o",
    "evaluation.images_per_prompt=1",
)


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


def measure(repeats: int, run_repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each command, and of a fused and a split run, alternating."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with TemporaryDirectory() as folder:
        rft(("run", str(RUN), *SMALL), folder)
        costs = {name: [rft(arguments, folder) for _ in range(repeats)] for name, arguments in COMMANDS.items()}
        costs |= {name: [] for name in RUNS}
        for number in range(run_repeats):
            for name, granularity in RUNS.items():
                own = ("-o", f"name={granularity}-{number}", "-o", f"loop.granularity={granularity}")
                costs[name].append(rft(("run", str(RUN), *EPOCHS, *own), folder))
    return costs


def main() -> None:
    """Print a table: the median and the range of each command."""
    print("| command | CPU seconds, median | range |\n|---|---|---|")
    for name, seconds in measure(REPEATS, RUN_REPEATS).items():
        print(f"| `{name}` | {median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f} |")


if __name__ == "__main__":
    main()
