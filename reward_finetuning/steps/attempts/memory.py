"""What an attempt leaves for the next ones: its memory against the limit of its container, and the bug that ended it.

A process that the kernel kills for memory cannot report anything, and neither the API of Kubeflow nor the exit code
tells why it ended. So a thread records the highest use in the run directory. An attempt whose record is not closed was
killed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import NonNegativeInt, PositiveInt

from reward_finetuning.config.base import Frozen
from reward_finetuning.config.display import redacted
from reward_finetuning.config.errors import RetryableError, TrainingError, UserError
from reward_finetuning.failures import BUG, classify
from reward_finetuning.server_errors import one_line
from reward_finetuning.storage import Store
from reward_finetuning.storage.documents import as_record

NEAR = 0.9
"""Share of the limit above which a kill is put down to memory."""

_STEPS = (0.5, 0.8, NEAR, 0.95, 0.98)
"""Shares of the limit at which the record is written anew."""

_SECONDS = 0.5
_CGROUP = Path("/sys/fs/cgroup")


class Usage(Frozen):
    """Memory of a container, in bytes."""

    used: NonNegativeInt
    """What the kernel cannot reclaim: anonymous and shared memory, without the page cache."""

    limit: PositiveInt

    @property
    def share(self) -> float:
        """Used part of the limit."""
        return self.used / self.limit


class Mark(Frozen):
    """What an attempt leaves."""

    attempt: PositiveInt
    pod: str
    peak: Usage | None
    """The highest use; None in a container without a limit."""

    is_closed: bool = False
    """Whether the attempt ended by itself, with or without an error."""

    bug: str = ""
    """Class and message of the error that ended it, if that is of no known kind."""

    @property
    def was_killed_near_the_limit(self) -> bool:
        """Whether the attempt ended without closing its mark, near the limit."""
        return not self.is_closed and self.peak is not None and self.peak.share >= NEAR


class Marks:
    """The marks of all attempts of a task: a file per attempt."""

    def __init__(self, store: Store, folder: str, pool: str) -> None:
        self._store, self._folder, self._pool = store, folder, pool

    def write(self, mark: Mark) -> None:
        """Write or replace the mark of an attempt; a store that does not answer is no reason to stop the work."""
        name = self._name(mark.attempt)
        with suppress(RetryableError, OSError):
            before = self._store.read_json(name)
            self._store.replace_json(name, mark.model_dump(mode="json"), expected=before)

    def read(self, attempt: int) -> Mark | None:
        """The mark of an attempt; None if it left none.

        Raises:
            ArtifactError: the file was altered.
        """
        name = self._name(attempt)
        content = self._store.read_json(name)
        return None if content is None else as_record(Mark, content, f"{self._store.uri}/{name}")

    def check(self, task: str, attempt: int) -> None:
        """Refuse an attempt after two in a row that were killed near the limit, or that ended in the same bug.

        Raises:
            UserError: with the memory of both, and the setting of the cluster file that limits it.
            TrainingError: with the bug.
        """
        before = [mark for number in (attempt - 2, attempt - 1) if number > 0 and (mark := self.read(number))]
        bugs = [mark.bug for mark in before]
        if len(bugs) == 2 and bugs[0] and bugs[0] == bugs[1]:
            raise TrainingError(f"{task} ended twice in a row with the same error: {bugs[0]}; {BUG}")
        killed = [(mark, mark.peak) for mark in before if mark.was_killed_near_the_limit and mark.peak is not None]
        if len(killed) < 2:
            return
        listed = ", ".join(
            f"attempt {mark.attempt} ({mark.pod}) used {_gib(peak.used)} of {_gib(peak.limit)}" for mark, peak in killed
        )
        raise UserError(
            f"{task} was killed twice in a row near the memory limit of its container: {listed}; raise "
            f"pools.{self._pool}.memory in the cluster file, or lower sampling.micro_batch_size or "
            "training.cells_per_batch"
        )

    def _name(self, attempt: int) -> str:
        return f"{self._folder}/{attempt}.json"


class Watch:
    """`with Watch(marks, number): ...` keeps the mark of this attempt while the body runs, and closes it at the end."""

    def __init__(self, marks: Marks, attempt: int, measure: Callable[[], Usage | None] | None = None) -> None:
        self._marks, self._measure = marks, measure or usage
        self._mark = Mark(attempt=attempt, pod=os.environ.get("HOSTNAME", "unknown"), peak=self._measure())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._marks.write(self._mark)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._marks.write(self._mark.model_copy(update={"is_closed": True, "bug": _bug(error)}))

    def _watch(self) -> None:
        while not self._ended.wait(_SECONDS):
            self.look()

    def look(self) -> None:
        """Measure once; write the mark if the highest use has passed the next step."""
        now, peak = self._measure(), self._mark.peak
        if now is None or peak is None or now.used <= peak.used:
            return
        self._mark = self._mark.model_copy(update={"peak": now})
        if any(peak.share < step <= now.share for step in _STEPS):
            self._marks.write(self._mark)


def usage(cgroup: Path = _CGROUP) -> Usage | None:
    """Memory of this process's container, by cgroup v2 or v1; None without a limit."""
    for limit_file, stat_file, names in (
        (cgroup / "memory.max", cgroup / "memory.stat", {"anon", "shmem"}),
        (cgroup / "memory" / "memory.limit_in_bytes", cgroup / "memory" / "memory.stat", {"total_rss", "total_shmem"}),
    ):
        with suppress(OSError, ValueError):  # another version, or `max`
            limit = int(limit_file.read_text(encoding="ascii"))
            rows = (line.split() for line in stat_file.read_text(encoding="ascii").splitlines())
            return Usage(used=sum(int(value) for name, value in rows if name in names), limit=limit)
    return None


def _bug(error: BaseException | None) -> str:
    if not isinstance(error, Exception) or isinstance(classify(error), UserError | TrainingError | RetryableError):
        return ""
    return redacted(f"{type(error).__name__}: {one_line(error)}")


def _gib(number: int) -> str:
    return f"{number / 2**30:.1f} GiB"
