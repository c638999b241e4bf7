"""Models, scorer weights and prompt sets in a bucket, as files of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from reward_finetuning.config.errors import UserError
from reward_finetuning.storage import cache
from reward_finetuning.storage.buckets.bucket import Bucket
from reward_finetuning.storage.buckets.schemes import is_reachable, open_bucket
from reward_finetuning.storage.buckets.service import Stored
from reward_finetuning.storage.buckets.transfers import Wanted, download, upload
from reward_finetuning.storage.manifest import describe_files
from reward_finetuning.storage.uri import in_bucket, scheme_of

__all__ = ["check_free", "in_bucket", "is_reachable", "local_folder", "local_path", "upload_folder"]

Choose = Callable[[Sequence[str]], Iterable[str]]
"""Of a folder's files, by path below it, those that are needed."""


def local_folder(uri: str, choose: Choose | None = None) -> Path:
    """A folder of this machine with what lies below SCHEME://BUCKET/PREFIX, file by file the same.

    Every object is asked for its generation, each time; what is there already in that generation is not downloaded
    again. When an object changes, the folder is another one.

    Args:
        uri: SCHEME://BUCKET/PREFIX.
        choose: gives the files to download; all of them when not given.

    Raises:
        UserError: nothing lies there, or a name that is no path below the folder.
    """
    bucket, prefix = open_bucket(uri)
    objects = _below(bucket, f"{prefix}/" if prefix else "")
    if not objects:
        raise UserError(f"{uri} holds no files; give the folder's {scheme_of(uri)}://BUCKET/PREFIX")
    folder = _folder(bucket, prefix, objects.values())
    chosen = list(objects) if choose is None else [name for name in choose(list(objects)) if name in objects]
    _fetch(bucket, {folder / name: objects[name] for name in chosen})
    return folder


def local_path(uri: str) -> Path:
    """A file of this machine with the content of an object; where there is no such object, a folder as `local_folder`.

    Raises:
        UserError: nothing lies there.
    """
    bucket, name = open_bucket(uri)
    stored = bucket.find(name) if name else None
    if stored is None:
        try:
            return local_folder(uri)
        except UserError as error:
            raise UserError(f"{uri} does not exist: there is no such object, and nothing below it") from error
    path = _folder(bucket, name, [stored]) / name.rpartition("/")[2]
    _fetch(bucket, {path: stored})
    return path


def check_free(uri: str) -> None:
    """Refuse a place in a bucket where something lies already.

    Raises:
        UserError: naming it.
    """
    bucket, prefix = open_bucket(uri)
    if bucket.children(prefix):
        raise UserError(f"{uri} is not empty: give a name that does not exist yet")


def upload_folder(folder: Path, uri: str) -> None:
    """Copy the files of a folder to SCHEME://BUCKET/PREFIX, in parallel and checked; nothing there is replaced.

    Raises:
        RetryableError: the service fails, or a file arrives damaged every time.
    """
    bucket, prefix = open_bucket(uri)
    entries = describe_files(folder)
    upload(bucket, {f"{prefix}/{file}".lstrip("/"): (folder / file, entry) for file, entry in entries.items()})


def _below(bucket: Bucket, prefix: str) -> dict[str, Stored]:
    """The objects below a prefix by what follows it; an object that ends in / is how consoles draw a folder."""
    objects = {stored.name.removeprefix(prefix): stored for stored in bucket.below(prefix)}
    files = {name: stored for name, stored in objects.items() if name and not name.endswith("/")}
    for name in files:
        if {"", ".", ".."} & set(name.split("/")):
            raise UserError(f"{bucket.uri}/{prefix}{name} cannot be a file below a folder; rename it")
    return files


def _folder(bucket: Bucket, prefix: str, objects: Iterable[Stored]) -> Path:
    """Where these objects, in just these generations, lie; named as in the bucket, for messages show it."""
    listing = "".join(f"{stored.name} {stored.generation} {stored.crc32c}\n" for stored in objects)
    key = sha256(f"{bucket.uri}\n{listing}".encode()).hexdigest()[:32]
    return cache.source_folder(key) / prefix.rpartition("/")[2]


def _fetch(bucket: Bucket, files: dict[Path, Stored]) -> None:
    # A file gets its name when it was checked; to read gigabytes again at every question would take seconds.
    missing = [Wanted(stored, path) for path, stored in files.items() if not _has_size(path, stored.size)]
    download(bucket, missing)


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
