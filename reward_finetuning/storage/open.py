"""The store that a URI names."""

from __future__ import annotations

from pathlib import Path

from reward_finetuning.storage.buckets.store import BucketStore
from reward_finetuning.storage.local import LocalStore
from reward_finetuning.storage.store import Store
from reward_finetuning.storage.uri import absolute


def open_store(uri: str) -> Store:
    """The store of a run root or run directory: a folder, or a bucket's SCHEME://BUCKET/PREFIX. Nothing is read yet.

    Raises:
        UserError: a scheme that is not supported, or no bucket.
    """
    if "://" not in uri:
        return LocalStore(Path(uri).absolute())
    return BucketStore(absolute(uri))
