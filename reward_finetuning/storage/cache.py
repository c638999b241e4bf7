"""The folder of this machine that holds what was read from, or written to, a bucket, and what was computed once.

    artifacts/<checksum>/   files of artifacts, named by their checksum: every writer writes the same content
    sources/<key>/          models, scorer weights, prompt sets; the key covers every object's generation
    entries/<key>           results that are computed once (entries.py)
    attempts/<random>       artifacts and entries that are being made

A file gets its name only when it is whole (os.replace), so any number of processes may share the folder. The artifacts
and entries that were used least recently are deleted when there are more than $RFT_CACHE_GB (20); sources stay until
someone deletes them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reward_finetuning.config.errors import UserError

FOLDER, GIGABYTES = "RFT_CACHE", "RFT_CACHE_GB"

_IN_USE_SECONDS = 600.0  # between asking for an artifact and having read it
_DEAD_SECONDS = 7 * 86_400.0  # an attempt that nothing was written into for so long was killed


def root() -> Path:
    """$RFT_CACHE, or a folder of this user's under the system's temporary folder.

    Raises:
        UserError: it cannot be made, or is another user's.
    """
    named = os.environ.get(FOLDER)
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"reward-finetuning-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mine = named or folder.stat().st_uid == os.getuid()
    except OSError as error:
        raise UserError(f"cache folder {folder} cannot be made ({error.strerror}); set {FOLDER} to another") from None
    if not mine:
        raise UserError(f"cache folder {folder} is another user's; set {FOLDER} to a folder of yours")
    return folder.absolute()


def artifact_folder(checksum: str) -> Path:
    """Where the files of an artifact are, or are to be put; it counts as used now."""
    folder = root() / "artifacts" / checksum
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):  # another process deletes it just now; a download makes it again
        os.utime(folder)
    return folder


def source_folder(key: str) -> Path:
    """Where the files of a source are, or are to be put."""
    folder = root() / "sources" / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def attempt_folder() -> Iterator[Path]:
    """An empty folder to make an artifact in; what `keep` has not moved is deleted."""
    folder = root() / "attempts" / uuid.uuid4().hex
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep(attempt: Path, checksum: str) -> None:
    """Keep a committed artifact: who made it often reads it next."""
    target = root() / "artifacts" / checksum
    target.parent.mkdir(parents=True, exist_ok=True)
    os.utime(attempt)
    with suppress(OSError):  # it is there, with at least one file
        attempt.rename(target)


def drop(checksum: str) -> None:
    """Forget an artifact."""
    shutil.rmtree(root() / "artifacts" / checksum, ignore_errors=True)


def trim() -> None:
    """Delete the least recently used artifacts and entries beyond the limit, and attempts that were killed."""
    now = time.time()
    for attempt in _below("attempts"):
        if now - _mtime(attempt) > _DEAD_SECONDS:
            _delete(attempt)
    limit, total = _limit_bytes(), 0
    used = sorted(((_mtime(path), path) for path in _below("artifacts") + _below("entries")), reverse=True)
    for last_used, path in used:
        total += _bytes_of(path)
        # A file is read at once, and a reader keeps it; an artifact is read file by file.
        if total > limit and (path.is_file() or now - last_used > _IN_USE_SECONDS):
            _delete(path)


def _below(name: str) -> list[Path]:
    folder = root() / name
    return list(folder.iterdir()) if folder.is_dir() else []


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _bytes_of(path: Path) -> int:
    if path.is_dir():
        return sum(_size(Path(place, file)) for place, _, files in os.walk(path) for file in files)
    return _size(path)


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process was faster
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _limit_bytes() -> float:
    text = os.environ.get(GIGABYTES, "20")
    try:
        return float(text) * 1e9
    except ValueError:
        raise UserError(f"{GIGABYTES}={text!r} is no number of gigabytes") from None
