"""Names of places: a folder, or gs://bucket/prefix."""

from __future__ import annotations

import re
from pathlib import Path

from reward_finetuning.config.errors import UserError

_SCHEME = "gs://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


def in_bucket(uri: str) -> bool:
    """Whether it names something in a bucket."""
    return uri.startswith(_SCHEME)


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and object name (or prefix) of a gs:// URI, without slashes at either end.

    Raises:
        UserError: another scheme, or no bucket of a valid name.
    """
    if not in_bucket(uri):
        raise UserError(f"{uri!r}: folders and gs://BUCKET/PREFIX are supported, not {uri.partition('://')[0]}://")
    bucket, *names = uri.removeprefix(_SCHEME).split("/")
    if not _BUCKET.fullmatch(bucket):
        raise UserError(f"{uri!r} names no bucket; write gs://BUCKET/PREFIX")
    if ".." in names or "." in names:
        raise UserError(f"{uri!r}: `.` and `..` have no meaning in a bucket")
    return bucket, "/".join(name for name in names if name)


def absolute(uri: str) -> str:
    """The same place, whatever the working directory is."""
    if "://" not in uri:
        return str(Path(uri).absolute())
    bucket, prefix = split_uri(uri)
    return f"{_SCHEME}{bucket}/{prefix}".rstrip("/")
