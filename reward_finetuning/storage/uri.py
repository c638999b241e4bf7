"""Names of places: a folder, or SCHEME://BUCKET/PREFIX."""

from __future__ import annotations

import re
from pathlib import Path

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.locations import BUCKET_EXAMPLES, in_bucket, scheme_of

__all__ = ["absolute", "in_bucket", "scheme_of", "split_uri"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and object name (or prefix) of a bucket's URI, without slashes at either end.

    Raises:
        UserError: another scheme, or no bucket of a valid name.
    """
    scheme = scheme_of(uri)
    if not in_bucket(uri):
        raise UserError(f"{uri!r}: folders and {BUCKET_EXAMPLES} are supported, not {scheme}://")
    bucket, *names = uri.removeprefix(f"{scheme}://").split("/")
    if not _BUCKET.fullmatch(bucket):
        raise UserError(f"{uri!r} names no bucket; write {scheme}://BUCKET/PREFIX")
    if ".." in names or "." in names:
        raise UserError(f"{uri!r}: `.` and `..` have no meaning in a bucket")
    return bucket, "/".join(name for name in names if name)


def absolute(uri: str) -> str:
    """The same place, whatever the working directory is."""
    if not scheme_of(uri):
        return str(Path(uri).absolute())
    bucket, prefix = split_uri(uri)
    return f"{scheme_of(uri)}://{bucket}/{prefix}".rstrip("/")
