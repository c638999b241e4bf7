"""Faults of the servers of buckets, and the requests that they happen to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Action = int | float | Literal["reset", "lost", "corrupt", "truncate"]


@dataclass
class Fault:
    """What goes wrong with the next requests that match.

    kind: "upload" (small, or the start of a large one), "chunk" (a part of a large one), "complete" (S3: the end of a
    large one), "read", "metadata", "list", "delete"; S3: "abort" and "uploads" (listed); "" is any.
    action: an HTTP status; "reset" (before anything is done), "lost" (done, then reset), "corrupt", "truncate"; or a
    number of seconds to wait, as a float.
    """

    action: Action
    kind: str = ""
    name: str = ""  # pattern of the object's name
    times: int = 1
    after: int = 0  # requests that match and pass first

    def hits(self, kind: str, name: str) -> bool:
        """Count a request that matches; returns whether the fault happens to it."""
        if self.times <= 0 or self.kind not in {"", kind} or not re.search(self.name, name):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Request:
    kind: str
    name: str
    headers: dict[str, str]
