"""What both sides of the comparison have in common: settings, the reward, and how a worker is asked.

Only the standard library is imported, because the sides have environments of their own.

A worker reads one job a line from its standard input, and answers each with one line: what it cost.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STEPS, GUIDANCE = 10, 3.0
LEARNING_RATE, CLIP_RANGE, RANK = 3e-4, 1e-4, 4  # TRL's defaults
IMAGES_PER_PROMPT = 8
PROMPTS = (
    "a red circle",
    "a blue square",
    "a green cross",
    "two red squares",
    "a yellow triangle",
    "three blue circles",
    "a green square on the left",
    "a red circle and a blue square",
)


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work."""

    kind: str
    """`sampling`, `training`, `epoch`; of our side also `network_share`, or `network`: its passes in an epoch alone."""

    images: int = 64
    sample_batch: int = 64
    train_batch: int = 64
    updates: int = 1

    variant: str = ""
    """Of our side: the method, what of the reference is evaluated, or `compiled`."""


Work = Callable[[], dict[str, Any] | None]
"""What is timed; it may return figures of its own."""


def brightness(images: Any, prompts: Sequence[str]) -> Any:
    """[M] mean over the pixels of [M, ...]: a reward that costs next to nothing."""
    return images.reshape(len(prompts), -1).mean(-1)


def serve(prepare: Callable[[Job], Work]) -> None:
    """Answer the jobs of the standard input; what `prepare` does is not timed."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        work = prepare(Job(**json.loads(line)))
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
        idle, cpu, wall = _resident("VmRSS"), _cpu_seconds(), time.monotonic()
        figures = work() or {}
        spent = {
            "cpu": _cpu_seconds() - cpu,
            "wall": time.monotonic() - wall,
            "memory": max(0.0, _resident("VmHWM") - idle),
            "process": _resident("VmHWM"),
        }
        print(json.dumps(spent | figures), file=answers, flush=True)


def _cpu_seconds() -> float:
    """User and system time of this process and of the processes that it started and that have ended."""
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def _resident(key: str) -> float:
    """VmRSS or VmHWM of this process, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024 / 1e6
