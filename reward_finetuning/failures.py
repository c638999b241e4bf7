"""How the error of a process that somebody else started reaches whoever waits for it: a small file."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from reward_finetuning.config.errors import ArtifactError, RetryableError, TrainingError, UserError

FAILURE_FILE = "RFT_FAILURE_FILE"
"""Environment variable: where to leave the error. In a pod it is /dev/termination-log, which Kubernetes keeps."""

LONGEST = 3000
"""Characters of a message; Kubernetes keeps 4096 bytes."""

_OURS = {kind.__name__: kind for kind in (UserError, ArtifactError, TrainingError, RetryableError)}


def leave_failure(error: BaseException) -> None:
    """Write the error where FAILURE_FILE asks for it; nothing happens where it is not set.

    Many processes may fail at once, most of them because another one did: an error of ours is never replaced, and
    replaces any other.
    """
    path = os.environ.get(FAILURE_FILE)
    if not path:
        return
    left = {"error": type(error).__name__, "message": str(error)[:LONGEST], "rank": os.environ.get("RANK", "0")}
    with Path(path).open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        known = file.read()
        if known and (left["error"] not in _OURS or _is_ours(known)):
            return
        file.truncate(0)
        file.write(json.dumps(left))


def failure_in(text: str) -> Exception | None:
    """The error that a text of `leave_failure` tells of, to be raised again; None for any other text.

    An error of ours keeps its class, and so its exit code; of any other only the words are left.
    """
    try:
        left = json.loads(text)
        name, message = str(left["error"]), str(left["message"])
        said = f"process {left['rank']}: {name}: {message}"
    except (KeyError, TypeError, ValueError):
        return None
    return _OURS[name](message) if name in _OURS else RuntimeError(said)


def _is_ours(text: str) -> bool:
    found = failure_in(text)
    return found is not None and type(found).__name__ in _OURS
