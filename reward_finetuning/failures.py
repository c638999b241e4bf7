"""The failure record: a small file that takes a step's error to the process that waits for the step."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path

from reward_finetuning.config.errors import ArtifactError, RetryableError, TrainingError, UserError

FAILURE_FILE = "RFT_FAILURE_FILE"
"""Environment variable: the file for the record. In a pod it is /dev/termination-log, which Kubernetes keeps."""

LONGEST = 3000
"""Characters of a message; Kubernetes keeps 4096 bytes."""

_OURS = {kind.__name__: kind for kind in (UserError, ArtifactError, TrainingError, RetryableError)}


def leave_failure(error: BaseException) -> None:
    """Write the error to FAILURE_FILE; nothing happens where that is not set.

    Several processes may fail at once, most of them because another one failed: an error of ours is never replaced, and
    replaces any other.
    """
    path = os.environ.get(FAILURE_FILE)
    if not path:
        return
    record = {"error": type(error).__name__, "message": str(error)[:LONGEST], "rank": os.environ.get("RANK", "0")}
    with suppress(OSError), Path(path).open("a+", encoding="utf-8") as file:  # the error itself must not be replaced
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        earlier = file.read()
        if earlier and (record["error"] not in _OURS or _is_ours(earlier)):
            return
        file.truncate(0)
        file.write(json.dumps(record))


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


def _is_ours(text: str) -> bool:
    return type(failure_in(text)).__name__ in _OURS
