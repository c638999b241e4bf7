"""Where a step reports its numbers."""

from __future__ import annotations

from typing import Protocol

from reward_finetuning.tracking.journal import Entry


class Tracker(Protocol):
    """Where a step reports its numbers."""

    def log(self, report: Entry) -> None:
        """Report one task of one epoch; a second report of the same task and epoch is ignored."""
        ...


class MemoryTracker:
    """Remembers."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, int], Entry] = {}

    def log(self, report: Entry) -> None:
        """See Tracker."""
        self.entries.setdefault((report.task, report.epoch), report)
