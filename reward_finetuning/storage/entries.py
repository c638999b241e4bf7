"""Small results that are computed once for a machine: one file each in the cache, under the key of what it depends on.

    entries/<key>   sha256 over the key and the content, then the content

A file gets its name when it is complete (os.replace), so any number of processes may share the folder. They count
towards $RFT_CACHE_GB with the artifacts of buckets, and those that were used least recently are deleted.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from reward_finetuning.events import report_warning
from reward_finetuning.storage import cache

_CHECKSUM_BYTES = 32
_TRIM_BYTES = 2**28
"""The folder is trimmed at the first write of a process, and whenever it has written so much."""


class Entries:
    """The entries of this machine. A disk that fails is no error: what it cannot hold is computed again."""

    def __init__(self) -> None:
        self._untrimmed = _TRIM_BYTES
        self._can_write = True

    def read(self, key: str) -> bytes | None:
        """The content of a key; None where there is none, or where the file is damaged.

        Args:
            key: 64 hex digits that cover everything the content depends on.

        Raises:
            UserError: the cache folder cannot be made.
        """
        path = _path(key)
        try:
            stored = path.read_bytes()
        except OSError:
            return None
        content = stored[_CHECKSUM_BYTES:]
        if stored[:_CHECKSUM_BYTES] != _checksum(key, content):
            report_warning(f"cache file {path} is damaged and is not used; its content is computed again")
            return None
        with suppress(OSError):  # another process deletes it just now, or the disk is read-only
            os.utime(path)
        return content

    def write(self, key: str, content: bytes) -> None:
        """Keep the content of a key, in place of what is there.

        Raises:
            UserError: the cache folder cannot be made.
        """
        if not self._can_write:
            return
        path = _path(key)
        partial = cache.root() / "attempts" / uuid.uuid4().hex
        try:
            for folder in (path.parent, partial.parent):
                folder.mkdir(exist_ok=True)
            try:
                partial.write_bytes(_checksum(key, content) + content)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            self._can_write = False
            report_warning(f"nothing more is written to the cache {cache.root()}: {error.strerror}")
            return
        self._untrimmed += len(content)
        if self._untrimmed >= _TRIM_BYTES:
            cache.trim()
            self._untrimmed = 0


def _path(key: str) -> Path:
    return cache.root() / "entries" / key


def _checksum(key: str, content: bytes) -> bytes:
    return sha256(key.encode() + content).digest()
