"""Files to a bucket and from it: in parallel, with checksums, whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reward_finetuning.config.errors import ArtifactError, RetryableError
from reward_finetuning.storage.gcs.client import TRIES, WORKERS, request_options
from reward_finetuning.storage.gcs.errors import translation
from reward_finetuning.storage.gcs.objects import Bucket, Stored, as_stored
from reward_finetuning.storage.manifest import FileEntry, is_whole


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object to download, and where to."""

    stored: Stored
    path: Path


def upload(bucket: Bucket, files: Mapping[str, tuple[Path, FileEntry]]) -> dict[str, int]:
    """Upload files under names that no one else uses, in parallel.

    Args:
        bucket: to upload into.
        files: object name -> the file, and what it holds.

    Returns:
        Object name -> generation.

    Raises:
        RetryableError: a file arrived damaged every time, too.
    """
    with translation(bucket.name):
        blobs = {name: bucket.blob(name) for name in files}
        left = list(files)
        for _ in range(TRIES):
            left = _upload_once({blobs[name]: files[name][0] for name in left}) if left else []
        uploaded = {name: as_stored(blob) for name, blob in blobs.items() if name not in left}
    if damaged := [name for name in files if name in left or uploaded[name].entry != files[name][1]]:
        raise RetryableError(f"gs://{bucket.name}/{damaged[0]} did not arrive whole in {TRIES} tries; run it again")
    return {name: stored.generation for name, stored in uploaded.items()}


def download(bucket: Bucket, wanted: Sequence[Wanted]) -> None:
    """Download objects in parallel; a file gets its name when it is whole.

    Raises:
        ArtifactError: an object is gone, or is not what it should be.
    """
    left = list(wanted)
    with translation(bucket.name):
        for _ in range(TRIES):
            left = _download_once(bucket, left) if left else []
    if left:
        stored = left[0].stored
        raise ArtifactError(
            f"gs://{bucket.name}/{stored.name} was altered: {TRIES} downloads differ from "
            f"its {stored.entry.size} bytes with crc32c {stored.entry.crc32c}"
        )


def _upload_once(files: Mapping[Any, Path]) -> list[str]:
    """Upload; returns the names of what arrived damaged."""
    from google.api_core.exceptions import BadRequest, PreconditionFailed
    from google.cloud.storage import transfer_manager
    from google.cloud.storage.exceptions import DataCorruption

    results = transfer_manager.upload_many(
        [(str(path), blob) for blob, path in files.items()],
        upload_kwargs={"if_generation_match": 0, "checksum": "crc32c", **request_options()},
        worker_type=transfer_manager.THREAD,
        max_workers=WORKERS,
    )  # exceptions come back as results
    damaged = []
    for blob, result in zip(files, results, strict=True):
        if isinstance(result, PreconditionFailed):  # an answer was lost: the name is ours alone
            blob.reload(**request_options())
        elif isinstance(result, BadRequest | DataCorruption):
            damaged.append(blob.name)
        elif isinstance(result, BaseException):
            raise result
    return damaged


def _download_once(bucket: Bucket, wanted: Sequence[Wanted]) -> list[Wanted]:
    """Download; returns what arrived damaged."""
    from google.api_core.exceptions import NotFound
    from google.cloud.storage import transfer_manager
    from google.cloud.storage.exceptions import DataCorruption

    places = [each.path.with_name(f".{each.path.name}.{uuid.uuid4().hex}") for each in wanted]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
    blobs = [bucket.blob(each.stored.name, each.stored.generation) for each in wanted]
    damaged = []
    try:
        results = transfer_manager.download_many(
            list(zip(blobs, map(str, places), strict=True)),
            download_kwargs={"checksum": "crc32c", **request_options()},
            worker_type=transfer_manager.THREAD,
            max_workers=WORKERS,
        )
        for each, place, result in zip(wanted, places, results, strict=True):
            if isinstance(result, NotFound):
                bucket.require()
                raise ArtifactError(f"gs://{bucket.name}/{each.stored.name} is gone: someone deleted or replaced it")
            if isinstance(result, BaseException) and not isinstance(result, DataCorruption):
                raise result
            if result is not None or not is_whole(place, each.stored.entry):
                damaged.append(each)
            else:
                os.replace(place, each.path)
    finally:
        for place in places:
            place.unlink(missing_ok=True)
    return damaged
