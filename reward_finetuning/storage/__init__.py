"""Run directories on a disk or in a bucket: artifacts that are whole or absent, a pointer to the newest policy."""

from reward_finetuning.storage.manifest import Identity, Manifest
from reward_finetuning.storage.open import open_store
from reward_finetuning.storage.reference import Reference, read_reference, read_references, write_reference
from reward_finetuning.storage.run_directory import RunDirectory
from reward_finetuning.storage.store import Store

__all__ = [
    "Identity",
    "Manifest",
    "Reference",
    "RunDirectory",
    "Store",
    "open_store",
    "read_reference",
    "read_references",
    "write_reference",
]
