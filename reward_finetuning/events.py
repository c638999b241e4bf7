"""What a step reports while it runs: JSON lines in the launcher's file, and text for every other reader.

A step prints text in any case, so a person who runs a step alone, a pod's log and the launcher's log all read the same
sentences. The launcher sets EVENTS, and reads progress and news from that file instead of the printed text.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError
from rich.progress import Progress as Bar

from reward_finetuning.config.base import Frozen
from reward_finetuning.config.display import redacted

EVENTS = "RFT_EVENTS"
"""Environment variable: the file to which a step appends its events. Not set: text only."""

ARGO_PROGRESS = "ARGO_PROGRESS_FILE"
"""Environment variable that Argo sets: the file from which it reads the progress of a task, as `done/total`."""

SECONDS = "RFT_PROGRESS_SECONDS"
"""Environment variable: seconds between two reports of progress where there is no terminal."""


class News(Frozen):
    """A sentence for the user: a finished epoch, a decision, a warning."""

    kind: Literal["news"] = "news"
    text: str


class Advance(Frozen):
    """How much of a task is done."""

    kind: Literal["progress"] = "progress"
    step: str
    """Such as "sample"."""

    part: str
    """Such as "epoch 3"."""

    done: int
    total: int
    unit: str

    @property
    def task(self) -> str:
        """The step and its part."""
        return f"{self.step}, {self.part}"

    @property
    def text(self) -> str:
        """The line for a reader without a terminal."""
        return f"{self.task}: {self.done}/{self.total} {self.unit}"


Event = News | Advance

_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def report_news(text: str) -> None:
    """Tell the user something that stays on the terminal; one line, in which secrets are redacted."""
    _report(News(text=redacted(text)))


def report_warning(text: str) -> None:
    """Tell the user about something that may be wrong."""
    report_news(f"warning: {text}")


def silence() -> None:
    """Report nothing from here on: of several processes that do one task, the first one reports."""
    os.environ.pop(EVENTS, None)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def movements() -> int | None:
    """How often this process has reported something; None while it waits for others (`waiting`)."""
    return None if _WAITING.is_set() else _MOVEMENTS[0]


@contextmanager
def waiting() -> Iterator[None]:
    """The body waits for processes that report themselves."""
    _WAITING.set()
    try:
        yield
    finally:
        _WAITING.clear()


_MOVEMENTS = [0]
_WAITING = threading.Event()


class Progress:
    """`with Progress("sample", "epoch 3", total=128, unit="images") as progress: progress.advance(8)`."""

    def __init__(self, step: str, part: str, total: int, unit: str) -> None:
        self._now = Advance(step=step, part=part, done=0, total=total, unit=unit)
        self._interval = float(os.environ.get(SECONDS, "10"))
        self._reported = time.monotonic()
        self._bar = Bar(transient=True) if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._id = self._bar.add_task(self._now.task, total=self._now.total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, num: int) -> None:
        """`num` more units are done."""
        _MOVEMENTS[0] += 1
        self._now = self._now.model_copy(update={"done": self._now.done + num})
        if self._bar is not None:
            self._bar.advance(self._id, num)
        elif self._now.done == self._now.total or time.monotonic() - self._reported >= self._interval:
            self._reported = time.monotonic()
            _report(self._now)


class EventFile:
    """The launcher's end: reads the events, and holds a lock on their file for as long as it is open."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path`, created where it does not exist; events that it already holds are not read."""
        self._file = path.open("ab+")
        self._rest = b""
        with suppress(OSError):  # a file system without locks: steps cannot notice that the launcher ended
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self) -> list[Event]:
        """The events since the last call; a line that is none, such as half a line of a full disk, is left out."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        events: list[Event] = []
        for line in lines:
            with suppress(ValidationError):
                events.append(_EVENT.validate_json(line))
        return events


def end_with_launcher() -> None:
    """End this process by SIGTERM as soon as the launcher that set EVENTS has ended, in whatever way.

    A thread waits for the lock that the launcher holds. The kernel releases the lock when the launcher ends, also after
    SIGKILL, and processes in containers see it too. Nothing happens where EVENTS is not set.
    """
    path = os.environ.get(EVENTS)
    if path and not _WATCHED.is_set():
        _WATCHED.set()
        threading.Thread(target=_end_at_the_lock, args=(Path(path),), daemon=True).start()


_WATCHED = threading.Event()


def _end_at_the_lock(path: Path) -> None:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
    except OSError:  # no file, or a file system without locks: there is nothing to wait for
        return
    os.kill(os.getpid(), signal.SIGTERM)


def _report(event: Event) -> None:
    _MOVEMENTS[0] += 1
    print(event.text, flush=True)
    progress = os.environ.get(ARGO_PROGRESS)
    if progress and isinstance(event, Advance) and event.done <= event.total:
        with suppress(OSError):  # progress is no reason to end the work
            Path(progress).write_text(f"{event.done}/{event.total}\n", encoding="ascii")
    path = os.environ.get(EVENTS)
    if not path:
        return
    # The launcher may have ended, or its disk may be full: neither is a reason to end the work.
    with suppress(OSError), Path(path).open("ab") as file:
        file.write(event.model_dump_json().encode() + b"\n")
