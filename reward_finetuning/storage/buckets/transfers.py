"""Files to a bucket and from it: in parallel, with checksums, whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from reward_finetuning.config.errors import ArtifactError, RetryableError, UserError
from reward_finetuning.storage.buckets.bucket import Bucket
from reward_finetuning.storage.buckets.patience import TRIES, WORKERS, retry_damaged
from reward_finetuning.storage.buckets.service import ABSENT, CRC32C, ConflictError, DamagedError, MissingError, Stored
from reward_finetuning.storage.manifest import FileEntry, Generation, crc32c

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object to download, and where to."""

    stored: Stored
    path: Path


def upload(bucket: Bucket, files: Mapping[str, tuple[Path, FileEntry]]) -> dict[str, Generation]:
    """Upload files under names that no one else uses, in parallel.

    Args:
        bucket: to upload into.
        files: object name -> the file, and what it holds.

    Returns:
        Object name -> generation.

    Raises:
        RetryableError: a file arrived damaged every time, too.
        UserError: an object of that name exists, with another content.
        UserError: an object of that name exists, with another content.
    """
    uploaded = _in_parallel(lambda name: _upload(bucket, name, *files[name]), list(files))
    return dict(zip(files, uploaded, strict=True))


def download(bucket: Bucket, wanted: Sequence[Wanted]) -> None:
    """Download objects in parallel; a file gets its name when it is whole.

    Raises:
        ArtifactError: an object is gone, or is not what it should be.
    """
    _in_parallel(lambda each: _download(bucket, each), wanted)


def is_same(stored: Stored, entry: FileEntry) -> bool:
    """Whether an object holds a file, as far as the service says it."""
    return stored.size == entry.size and stored.crc32c in {None, entry.crc32c}


def _in_parallel(act: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """The results; after an error, what has not begun yet is not begun."""
    pool = ThreadPoolExecutor(WORKERS)
    try:
        return list(pool.map(act, items))
    finally:
        pool.shutdown(cancel_futures=True)


def _upload(bucket: Bucket, name: str, path: Path, entry: FileEntry) -> Generation:
    def write() -> Generation:
        try:
            stored = bucket.service.write(name, path, metadata={CRC32C: entry.crc32c}, condition=ABSENT)
        except ConflictError:  # an answer was lost, or the name is not ours alone
            stored = _written(bucket, name, entry)
        if not is_same(stored, entry):
            raise DamagedError(f"{stored.size} bytes with crc32c {stored.crc32c} are there")
        return stored.generation

    with bucket.service.translation():
        try:
            return retry_damaged(write)
        except DamagedError as error:
            raise RetryableError(
                f"{bucket.uri}/{name} did not arrive whole in {TRIES} tries ({error}); run it again"
            ) from error


def _written(bucket: Bucket, name: str, entry: FileEntry) -> Stored:
    """The object that a write found in its way, which must be its own."""
    try:
        stored = bucket.service.stat(name)
    except MissingError:
        raise DamagedError("there is no such object") from None
    if (stored.size, stored.crc32c) != (entry.size, entry.crc32c):
        raise UserError(f"{bucket.uri}/{name} exists already, with another content; give another place")
    return stored


def _download(bucket: Bucket, wanted: Wanted) -> None:
    stored = wanted.stored
    place = wanted.path.with_name(f".{wanted.path.name}.{uuid.uuid4().hex}")
    place.parent.mkdir(parents=True, exist_ok=True)

    def read() -> None:
        of_service = bucket.service.download(stored, place)
        checksum = stored.crc32c or of_service
        if place.stat().st_size != stored.size or (checksum and crc32c(place) != checksum):
            raise DamagedError("a download differs")
        os.replace(place, wanted.path)

    with bucket.service.translation():
        try:
            retry_damaged(read)
        except MissingError:
            bucket.require()
            raise ArtifactError(f"{bucket.uri}/{stored.name} is gone: someone deleted or replaced it") from None
        except DamagedError:
            raise ArtifactError(
                f"{bucket.uri}/{stored.name} was altered: {TRIES} downloads differ from its {stored.size} bytes"
                + (f" with crc32c {stored.crc32c}" if stored.crc32c else "")
            ) from None
        finally:
            place.unlink(missing_ok=True)
