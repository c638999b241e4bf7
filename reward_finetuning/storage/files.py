"""Files of this machine that others may change or link: which lie below a folder, and when one has changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from reward_finetuning.config.errors import UserError

Stamp = tuple[Path, int, int, int, int]
"""Path, size in bytes, times of the last change of content and of status in ns, and inode: a file with the same stamp
is not read again. Programs can set the first time, and only the kernel the second one."""


def files_below(folder: Path) -> list[Path]:
    """The regular files at any depth, sorted; links to files and to folders are followed, as programs that read do.

    A link that leads back to a folder above itself is not followed: it adds no file.

    Raises:
        UserError: a folder cannot be read.
    """
    return sorted(path for path in _walk(folder, frozenset()) if path.is_file())


def stamp(file: Path) -> Stamp:
    """The stamp of a file; zeros where it cannot be read, which whoever reads it reports."""
    try:
        status = file.stat()
    except OSError:
        return file, 0, 0, 0, 0
    return file, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def read_regular(file: Path, max_bytes: int) -> bytes:
    """The bytes of a file whose origin is not trusted.

    Raises:
        OSError: it cannot be read.
        UserError: it is no regular file (a device or a pipe may never end), or holds more than `max_bytes`.
    """
    if not stat.S_ISREG(file.stat().st_mode):
        kind = "a folder" if file.is_dir() else "a device, a pipe or a socket"
        raise UserError(f"{file} is {kind}, not a file")
    with file.open("rb") as opened:
        content = opened.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise UserError(f"{file} has more than {max_bytes} bytes, which is the most that is read")
    return content


def _walk(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}") from None
    for entry in entries:
        if entry.is_dir():
            yield from _walk(folder / entry.name, above | {real})
        else:
            yield folder / entry.name
