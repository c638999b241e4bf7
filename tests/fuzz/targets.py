"""What is fuzzed: every parser of bytes that come from outside of this project, as a function of these bytes.

A target may refuse its input with an error of this project. Any other error, more than MOST_SECONDS of CPU time, or
memory without bound is a defect.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from reward_finetuning.config import RetryableError, TrainingError, UserError
from reward_finetuning.rewards.remote.wire import WireError

OURS = (UserError, TrainingError, RetryableError, WireError)
MOST_SECONDS = 2.0
"""CPU time of one input: a busy machine does not change it."""

CORPUS = Path(__file__).parent / "corpus"
"""A folder a target: inputs that were a defect once."""

Notation = Literal["json", "lines", "text", "binary"]


class SlowError(Exception):
    """An input took more than MOST_SECONDS."""


@dataclass(frozen=True)
class Target:
    """One parser."""

    name: str
    parse: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    """Valid inputs, from which others are made."""

    notation: Notation
    """How a valid input is written: `lines` is JSON Lines."""

    def run(self, data: bytes) -> float:
        """Parse one input; returns the CPU seconds.

        Raises:
            Exception: the defect.
        """
        started = time.process_time()
        try:
            self.parse(data)
        except OURS as error:
            str(error).encode("utf-8", "backslashreplace")
        seconds = time.process_time() - started
        if seconds > MOST_SECONDS:
            raise SlowError(f"{self.name}: {seconds:.1f} s for {len(data)} bytes")
        return seconds

    def corpus(self) -> list[Path]:
        """Its inputs that were a defect once."""
        return sorted(path for path in (CORPUS / self.name).glob("*") if path.is_file())


@cache
def _root() -> Path:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    root = Path(tempfile.mkdtemp(prefix="rft-fuzz-", dir=memory))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def scratch() -> Path:
    """A folder in memory for the files of this process; it is removed when the first process ends."""
    folder = _root() / str(os.getpid())
    folder.mkdir(exist_ok=True)
    return folder


def from_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A parser of files as a function of bytes."""

    def parse(data: bytes) -> object:
        path = scratch() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return read(path)

    return parse


def from_text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """A parser of an argument or of an environment variable, which Python decodes with surrogates."""
    return lambda data: read(data.decode("utf-8", "surrogateescape"))
