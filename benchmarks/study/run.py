"""Run what the study still lacks, a few runs side by side, until everything is there or the time is up.

python benchmarks/study/run.py                          all that has no result yet, in the order a, d, c, e, b, f
python benchmarks/study/run.py --claims a d --minutes 60
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from plan import RESULTS, WORK, Task, read_study, tasks


def main() -> int:
    """Exit code: 0 all of what was asked for has a result, 1 a run failed, 75 the time was up."""
    options = _options()
    study = read_study()
    wanted = [t for t in tasks(study) if t.claim in (options.claims or study["claims"])]
    missing = [t for t in wanted if not t.result.exists()]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} results are there; {len(missing)} to run", flush=True)
    deadline = time.monotonic() + 60 * options.minutes
    with ThreadPoolExecutor(options.jobs) as pool:
        codes = list(pool.map(lambda task: run_task(task, deadline=deadline), missing))
    if any(code not in {0, 75} for code in codes):
        return 1
    return 75 if 75 in codes else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--claims", nargs="*", help="letters of claims; all when not given")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, one thread each")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no run after this time")
    return parser.parse_args()


def run_task(task: Task, *, folder: Path = RESULTS, deadline: float = float("inf")) -> int:
    """Run a task in a process of its own; its exit code, or 75 after the deadline."""
    if time.monotonic() > deadline:
        return 75
    WORK.mkdir(parents=True, exist_ok=True)
    log = WORK / f"{task.claim}-{task.arm}-seed{task.seed}.log"
    started = time.monotonic()
    with log.open("a", encoding="utf-8") as file:
        code = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("run_one.py")), str(folder)],
            input=json.dumps(asdict(task)),
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    found = "done" if code == 0 else f"failed with exit code {code}, see {log}"
    print(f"{task.claim} {task.arm} seed {task.seed}: {found}, {time.monotonic() - started:.0f} s", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
