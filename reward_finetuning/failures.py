"""What kind of failure an error is, and the record that takes it to the process that waits for a step.

A failure is the user's (UserError, exit code 2), of the training (TrainingError, 3), of something outside that may work
the next time (RetryableError, 75), or a bug of this project (any other class, 1).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reward_finetuning.config.display import redacted
from reward_finetuning.config.errors import ArtifactError, RetryableError, TrainingError, UserError
from reward_finetuning.server_errors import one_line

FAILURE_FILE = "RFT_FAILURE_FILE"
"""Environment variable: the file for the record. In a pod it is /dev/termination-log, which Kubernetes keeps."""

BUG = "this is a bug: report it, with everything that was printed, as an issue of the repository that you installed"
"""What to do about a failure of no other kind."""

LONGEST = 3000
"""Characters of a message; Kubernetes keeps 4096 bytes."""

_OURS = {kind.__name__: kind for kind in (UserError, ArtifactError, TrainingError, RetryableError)}


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")  # safetensors gives the number nowhere else


def classify(error: Exception) -> Exception:
    """The error as one of ours where its cause is known and outside of this project; else the error itself."""
    if isinstance(error, UserError | TrainingError | RetryableError):
        return error
    if _number(error) in _FULL:
        return RetryableError(f"the disk is full ({one_line(error)}); free some space")
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return UserError(
            f"the GPU has too little memory ({one_line(error, 200)}); lower training.cells_per_batch, "
            "sampling.micro_batch_size or reward.batch_size"
        )
    if isinstance(error, MemoryError):
        return RetryableError("the machine had no memory left; end other programs, or use a larger machine")
    return error


@contextmanager
def classified() -> Iterator[None]:
    """Raise an error of the body as `classify` sees it."""
    try:
        yield
    except Exception as error:
        failure = classify(error)
        if failure is error:
            raise
        raise failure from error


def leave_failure(error: BaseException) -> None:
    """Write the error to FAILURE_FILE; nothing happens where that is not set.

    Several processes may fail at once, most of them because another one failed: an error of ours is never replaced, and
    replaces any other.
    """
    path = os.environ.get(FAILURE_FILE)
    if not path:
        return
    message = redacted(str(error))[:LONGEST]
    record = {"error": type(error).__name__, "message": message, "rank": os.environ.get("RANK", "0")}
    # The error itself must not be replaced by one of its record.
    with suppress(OSError), open(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        earlier = file.read()
        if earlier.strip() and (record["error"] not in _OURS or _is_ours(earlier.decode())):
            return
        file.seek(0)
        # In place: a full disk has room for what is there already. Blanks after JSON mean nothing.
        file.write(json.dumps(record).encode().ljust(len(earlier)))


def reserve_record(path: Path) -> None:
    """Make the file of a record that can be written when the disk is full."""
    path.write_bytes(b" " * 4 * LONGEST)


def failure_in(text: str) -> Exception | None:
    """The error of a record, to be raised again; None for any other text.

    An error of ours keeps its class, and so its exit code; any other becomes a RuntimeError with its class in the text.
    """
    try:
        record = json.loads(text)
        name, message = str(record["error"]), str(record["message"])
        description = f"process {record['rank']}: {name}: {message}"
    except (KeyError, TypeError, ValueError):
        return None
    return _OURS[name](message) if name in _OURS else RuntimeError(description)


def _number(error: Exception) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    match = _RUST_ERROR.search(str(error)) if type(error).__name__ == "SafetensorError" else None
    return None if match is None else int(match.group(1))


def _is_ours(text: str) -> bool:
    return type(failure_in(text)).__name__ in _OURS
