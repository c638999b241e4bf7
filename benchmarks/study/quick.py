"""Run claim a at small scale and claim d for two stages again, and hold them against the committed results.

python benchmarks/study/quick.py
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from plan import RESULTS, WORK, Task, read_study, tasks
from results import Result
from run import run_task

_STAGES = 2
_SAME = 1e-4
"""Rounding of another processor or another build of torch changes the last bits, and a run amplifies them."""


def main() -> int:
    """Exit code 1 where a run failed; a difference is shown, and is no failure."""
    again = [_shortened(task) for task in tasks(read_study()) if _is_quick(task)]
    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(lambda task: run_task(task, folder=_folder()), again))
    print(f"\n{'arm':32}{'committed':>12}{'again':>12}")
    for task in again:
        _compare(task)
    return 1 if any(codes) else 0


def _is_quick(task: Task) -> bool:
    of_a = task.claim == "a" and task.arm.endswith("-small")
    of_d = task.claim == "d" and task.arm in {"online", "offline", "online-unclipped"}
    return task.seed == 1 and (of_a or of_d)


def _shortened(task: Task) -> Task:
    """Claim d stops after two stages: what is drawn and learnt up to there is the same."""
    if task.claim != "d":
        return task
    return replace(task, settings={**task.settings, "loop": {**task.settings["loop"], "epochs": _STAGES}})


def _folder() -> Path:
    return WORK / "quick"


def _compare(task: Task) -> None:
    epoch = _STAGES if task.claim == "d" else None
    committed, again = (Result(task.result_in(folder)).gain(epoch=epoch).mean for folder in (RESULTS, _folder()))
    same = "" if abs(committed - again) < _SAME else "  differs: another processor, torch or thread count?"
    print(f"{task.claim} {task.arm:30}{committed:>+12.4f}{again:>+12.4f}{same}")


if __name__ == "__main__":
    sys.exit(main())
