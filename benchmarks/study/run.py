"""Run what the study still lacks, a few runs side by side, until everything is there or the time is up.

python benchmarks/study/run.py                                 all that has no result yet, in the order of study.yaml
python benchmarks/study/run.py --claims tuning a --minutes 60
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from plan import RESULTS, TUNING, WORK, Task, read_study, tasks


def main() -> int:
    """Exit code: 0 all of what was asked for has a result, 1 a run failed, 75 the time was up."""
    options = _options()
    queue = _Queue(options.claims)
    print(f"{len(queue.missing())} runs have no result yet", flush=True)
    deadline = time.monotonic() + 60 * options.minutes
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda _: queue.work(deadline), range(options.jobs)))
    if queue.failed:
        return 1
    return 75 if queue.missing() else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--claims", nargs="*", help=f"letters of claims, or {TUNING}; all when not given")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, one thread each")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no run after this time")
    return parser.parse_args()


class _Queue:
    """Runs without a result. Which settings a judged run has is known once the grid of its method is done."""

    def __init__(self, claims: list[str] | None) -> None:
        self._claims = claims
        self._lock = threading.Lock()
        self._begun: set[Path] = set()
        self.failed: set[Path] = set()

    def missing(self) -> list[Task]:
        """In order, those that await a grid included."""
        wanted = [task for task in tasks(read_study()) if self._claims is None or task.claim in self._claims]
        return [task for task in wanted if not task.result.exists() and task.result not in self.failed]

    def work(self, deadline: float) -> None:
        """Take one run after the other; ends when there is none to begin and none to wait for."""
        while time.monotonic() < deadline:
            task, waits = self._next()
            if task is not None:
                if run_task(task) != 0:
                    self.failed.add(task.result)
                self._share(task)
            elif waits:
                time.sleep(2)
            else:
                return

    def _next(self) -> tuple[Task | None, bool]:
        with self._lock:
            missing = self.missing()
            running = [task for task in missing if task.result in self._begun]
            for task in missing:
                waits_for_twin = any(_same_run(task, other) for other in running)
                if task.settings is not None and task.result not in self._begun and not waits_for_twin:
                    self._begun.add(task.result)
                    return task, False
            return None, bool(running) and len(running) < len(missing)

    def _share(self, done: Task) -> None:
        """Give an arm of another claim that is the same run its result; two arms may have been tuned to one cell."""
        with self._lock:
            for task in self.missing():
                if done.result.exists() and _same_run(task, done):
                    content = json.loads(done.result.read_text(encoding="utf-8"))
                    content |= {"claim": task.claim, "arm": task.arm, "same_run_as": f"{done.claim}/{done.result.name}"}
                    task.result.parent.mkdir(parents=True, exist_ok=True)
                    task.result.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _same_run(task: Task, other: Task) -> bool:
    same = (task.settings, task.seed, task.option) == (other.settings, other.seed, other.option)
    return task.settings is not None and same


def run_task(task: Task, *, folder: Path = RESULTS) -> int:
    """Run a task in a process of its own; its exit code."""
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
    outcome = "done" if code == 0 else f"failed with exit code {code}, see {log}"
    print(f"{task.claim} {task.arm} seed {task.seed}: {outcome}, {time.monotonic() - started:.0f} s", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
