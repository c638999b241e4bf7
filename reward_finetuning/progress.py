"""Progress of a long task: a bar on a terminal, and now and then a line anywhere else."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Self

from rich.progress import Progress as Bar

SECONDS = "RFT_PROGRESS_SECONDS"
"""Environment variable: seconds between two lines where there is no terminal."""


class Progress:
    """`with Progress("sample, epoch 3", total=128, unit="images") as progress: progress.advance(8)`."""

    def __init__(self, task: str, total: int, unit: str) -> None:
        self._task, self._total, self._unit = task, total, unit
        self._done = 0
        self._interval = float(os.environ.get(SECONDS, "10"))
        self._spoken = time.monotonic()
        self._bar = Bar(transient=True) if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._id = self._bar.add_task(self._task, total=self._total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, num: int) -> None:
        """`num` more units are done."""
        self._done += num
        if self._bar is not None:
            self._bar.advance(self._id, num)
        elif self._done == self._total or time.monotonic() - self._spoken >= self._interval:
            self._spoken = time.monotonic()
            print(f"{self._task}: {self._done}/{self._total} {self._unit}", flush=True)
