"""The store that a URI names."""

from __future__ import annotations

from pathlib import Path

from reward_finetuning.storage.local import LocalStore
from reward_finetuning.storage.store import Store
from reward_finetuning.storage.uri import absolute


def open_store(uri: str) -> Store:
    """The store of a run root or run directory: a folder, or gs://bucket/prefix. Nothing is read yet.

    Raises:
        UserError: a scheme that is not supported, or no bucket.
    """
    if "://" not in uri:
        return LocalStore(Path(uri).absolute())
    where = absolute(uri)
    from reward_finetuning.storage.gcs.store import GcsStore

    return GcsStore(where)
