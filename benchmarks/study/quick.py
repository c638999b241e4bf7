"""Do two runs again and hold them against the committed results.

python benchmarks/study/quick.py
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from plan import WORK, Task, read_study, tasks
from results import Result
from run import run_task

_AGAIN = {"prdp-lr0.003-u1-beta1", "ddpo-lr0.003-u1-clamp1.5"}
"""Cells of the tuning grids with one update an epoch, about 90 seconds of one core each."""

_SAME = 1e-4
"""Rounding of another processor or another build of torch changes the last bits, and a run amplifies them."""


def main() -> int:
    """Exit code 1 where a run failed; a difference is shown, and is no failure."""
    again = [task for task in tasks(read_study()) if task.arm in _AGAIN]
    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(lambda task: run_task(task, folder=WORK / "quick"), again))
    print(f"\n{'arm':32}{'committed':>12}{'again':>12}")
    for task in again:
        _compare(task)
    return 1 if any(codes) else 0


def _compare(task: Task) -> None:
    again = Result(task.result_in(WORK / "quick")).gain().mean
    if not task.result.exists():
        print(f"{task.arm:32}{'none':>12}{again:>+12.4f}")
        return
    committed = Result(task.result).gain().mean
    same = "" if abs(committed - again) < _SAME else "  differs: another processor, torch or thread count?"
    print(f"{task.arm:32}{committed:>+12.4f}{again:>+12.4f}{same}")


if __name__ == "__main__":
    sys.exit(main())
