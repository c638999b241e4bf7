"""Ends a step that makes no progress: a hung network, disk or driver would otherwise hold its machine for ever."""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from reward_finetuning.config import RetryableError
from reward_finetuning.config.sections.loop import LoopConfig
from reward_finetuning.events import movements
from reward_finetuning.failures import leave_failure

_TICK_SECONDS = 1.0


class Watchdog:
    """`with Watchdog(seconds): ...` ends the process if the body reports nothing for `seconds`.

    All stacks go to stderr, and the exit code is that of a RetryableError. Seconds are counted in ticks of this
    process: a changed clock, and the time in which the process or the machine was stopped, do not count.
    """

    def __init__(self, seconds: float, end: Callable[[float], None] | None = None) -> None:
        """`end` is called with the seconds in place of ending the process."""
        self._seconds, self._end = seconds, end or _end_process
        self._tick = min(_TICK_SECONDS, seconds / 4)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        silent, before = 0.0, movements()
        while not self._done.wait(self._tick):
            now = movements()
            silent = silent + self._tick if now == before and now is not None else 0.0
            before = now
            if silent >= self._seconds:
                self._end(self._seconds)
                return


def stall_seconds(config: str) -> float:
    """How long the step of this config (JSON text) may report nothing: `loop.stall_minutes`, or its default."""
    minutes = LoopConfig().stall_minutes
    with suppress(ValueError, KeyError, TypeError, AttributeError):  # the step itself refuses such a config
        minutes = float(json.loads(config)["loop"]["stall_minutes"])
    return 60 * minutes


def _end_process(seconds: float) -> None:
    error = RetryableError(
        f"the step reported no progress for {seconds / 60:g} minutes and was ended; its stacks are in the log. Raise "
        "loop.stall_minutes if that was no hang"
    )
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    leave_failure(error)
    os._exit(error.exit_code)  # the thread that hangs cannot be made to raise
