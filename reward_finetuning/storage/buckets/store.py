"""Run directories in a bucket: no rename, one object that decides.

An artifact's files lie under a name that only this attempt uses, `epochs/0001/.policy.<attempt>/`; the artifact exists
from the moment that `epochs/0001/policy/manifest.json` is created, on the condition that there is none.
So the first writer wins for ever, a slower one takes over what is there, and readers read only what the manifest
lists, in just those generations. Files that are read come to lie in the cache (cache.py).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from reward_finetuning.config.errors import ArtifactError, RetryableError, UserError
from reward_finetuning.storage import cache
from reward_finetuning.storage.buckets.conditions import check_conditions
from reward_finetuning.storage.buckets.patience import WORKERS
from reward_finetuning.storage.buckets.schemes import open_bucket
from reward_finetuning.storage.buckets.service import ABSENT, Stored
from reward_finetuning.storage.buckets.transfers import Wanted, download, is_same, upload
from reward_finetuning.storage.documents import from_text, to_text
from reward_finetuning.storage.manifest import (
    MANIFEST,
    Generation,
    Identity,
    Manifest,
    StoredObject,
    adopt,
    describe_files,
    file_entry,
    is_whole,
    parse_manifest,
)
from reward_finetuning.storage.store import Write

_DELETED = "deleted"
"""Beside a manifest that is about to go: a deletion that was cut off can still be seen, and repeated."""


class BucketStore:
    """Store at SCHEME://BUCKET/PREFIX."""

    def __init__(self, uri: str) -> None:
        self._bucket, self._prefix = open_bucket(uri)
        self._read: dict[tuple[str, str], dict[str, Any]] = {}
        self.uri = f"{self._bucket.uri}/{self._prefix}".rstrip("/")

    def manifest(self, name: str) -> Manifest | None:
        """See Store."""
        content = self._bucket.read(self._object(name, MANIFEST))
        return None if content is None else parse_manifest(content[0], f"{self.uri}/{name}/{MANIFEST}")

    def commit(self, name: str, identity: Identity, write: Write) -> Manifest:
        """See Store."""
        if (existing := self.manifest(name)) is not None:
            return adopt(existing, identity, f"{self.uri}/{name}")
        with cache.attempt_folder() as folder:
            facts = write(folder)
            files = describe_files(folder)
            attempt = uuid.uuid4().hex
            objects = {file: f"{self._data(name)}{attempt}/{file}" for file in files}
            committed, ours = self._publish(
                name, folder, Manifest(identity=identity, facts=dict(facts), files=files), objects
            )
            if ours:
                cache.keep(folder, committed.checksum)
        cache.trim()
        return committed

    def fetch(self, name: str, files: Sequence[str] | None = None) -> Path:
        """See Store."""
        manifest = self.manifest(name)
        where = f"{self.uri}/{name}"
        if manifest is None:
            raise ArtifactError(f"no whole artifact at {where}: {MANIFEST} is missing")
        entries = {file: file_entry(manifest, file, where) for file in (manifest.files if files is None else files)}
        folder = cache.artifact_folder(manifest.checksum)
        missing = [file for file, entry in entries.items() if not is_whole(folder / file, entry)]
        download(self._bucket, [Wanted(_stored(manifest, file), folder / file) for file in missing])
        if missing:
            cache.trim()
        return folder

    def check(self, name: str) -> None:
        """See Store."""
        manifest = self.manifest(name)
        if manifest is None:
            raise ArtifactError(f"no whole artifact at {self.uri}/{name}: {MANIFEST} is missing")
        objects = {stored.name: stored for stored in self._attempts(name)}
        for file in manifest.files:
            wanted = _stored(manifest, file)
            there = objects.get(wanted.name)
            if there is None or there.generation != wanted.generation or not is_same(there, manifest.files[file]):
                raise ArtifactError(
                    f"{file} of {self.uri}/{name} was deleted or replaced: expected {self._bucket.uri}/"
                    f"{wanted.name}, generation {wanted.generation}, {wanted.size} bytes"
                )

    def delete(self, name: str) -> None:
        """See Store."""
        marker, manifest = self._object(name, _DELETED), self._object(name, MANIFEST)
        if not self._bucket.children(self._object(name)):
            return
        with suppress(ArtifactError):  # a damaged manifest can be deleted, too
            if (committed := self.manifest(name)) is not None:
                cache.drop(committed.checksum)
        self._bucket.put(marker, b"{}", condition=None)
        self._bucket.delete([manifest])
        self._bucket.delete([stored.name for stored in self._attempts(name)])
        with suppress(RetryableError, UserError):
            self._bucket.abort_uploads(self._data(name), self._own(name).match)
        self._bucket.delete([marker])

    def names(self, folder: str) -> list[str]:
        """See Store."""
        return [name for name in self._bucket.children(self._object(folder)) if not name.startswith(".")]

    def read_json(self, name: str) -> dict[str, Any] | None:
        """See Store."""
        return self._read_json(name)[0]

    def read_all(self, folder: str, suffix: str) -> dict[str, dict[str, Any]]:
        """See Store."""
        names = [name for name in self.names(folder) if name.endswith(suffix)]
        unread = [name for name in names if (folder, name) not in self._read]
        with ThreadPoolExecutor(WORKERS) as pool:
            values = pool.map(lambda name: self.read_json(f"{folder}/{name}"), unread)
            self._read |= {
                (folder, name): value for name, value in zip(unread, values, strict=True) if value is not None
            }
        return {name: self._read[folder, name] for name in names if (folder, name) in self._read}

    def create_json(self, name: str, value: Mapping[str, Any]) -> bool:
        """See Store."""
        return self._bucket.put(self._object(name), to_text(value).encode(), condition=ABSENT)

    def create_text(self, name: str, text: str) -> str:
        """See Store."""
        where, data = f"{self.uri}/{name}", text.encode()
        if not self._bucket.put(self._object(name), data, condition=ABSENT):
            content = self._bucket.read(self._object(name))
            if content is None or content[0] != data:
                raise ArtifactError(
                    f"{where} holds another text than the one to be written; delete it if it was altered"
                )
        return where

    def replace_json(self, name: str, value: Mapping[str, Any], *, expected: Mapping[str, Any] | None) -> bool:
        """See Store."""
        current, generation = self._read_json(name)
        if current != expected:
            return False
        return self._bucket.put(self._object(name), to_text(value).encode(), condition=generation)

    def check_conditions(self) -> None:
        """See Store."""
        check_conditions(self._bucket, self._prefix)

    def _read_json(self, name: str) -> tuple[dict[str, Any] | None, Generation]:
        content = self._bucket.read(self._object(name))
        return (None, ABSENT) if content is None else (from_text(content[0], f"{self.uri}/{name}"), content[1])

    def _publish(
        self, name: str, folder: Path, manifest: Manifest, objects: Mapping[str, str]
    ) -> tuple[Manifest, bool]:
        """Upload, then claim the name; returns the artifact that has it, and whether it is this attempt's."""
        try:
            generations = upload(
                self._bucket, {objects[file]: (folder / file, entry) for file, entry in manifest.files.items()}
            )
        except (RetryableError, UserError):
            if (winner := self.manifest(name)) is None:  # a winner deletes what others are still uploading
                raise
            return adopt(winner, manifest.identity, f"{self.uri}/{name}"), False
        listed = {file: StoredObject(object=name, generation=generations[name]) for file, name in objects.items()}
        manifest = manifest.model_copy(update={"objects": listed})
        ours = self._bucket.put(
            self._object(name, MANIFEST), manifest.model_dump_json(indent=1).encode(), condition=ABSENT
        )
        winner = manifest if ours else self.manifest(name)
        if winner is None:
            raise RetryableError(f"{self.uri}/{name} was committed by another task and deleted at once; run it again")
        kept = {each.object for each in winner.objects.values()}
        with suppress(RetryableError, UserError):  # a task that may not delete leaves them to `delete`
            self._bucket.delete([stored.name for stored in self._attempts(name) if stored.name not in kept])
            self._bucket.abort_uploads(self._data(name), self._own(name).match)
        return adopt(winner, manifest.identity, f"{self.uri}/{name}"), ours

    def _attempts(self, name: str) -> list[Stored]:
        """Data of all attempts at an artifact."""
        own = self._own(name)
        return [stored for stored in self._bucket.below(self._data(name)) if own.match(stored.name)]

    def _own(self, name: str) -> re.Pattern[str]:
        """What the names of an artifact's data match; another artifact's name may begin with the same letters."""
        return re.compile(re.escape(self._data(name)) + "[0-9a-f]{32}/")

    def _data(self, name: str) -> str:
        """What the data of an artifact's attempts begins with."""
        folder, slash, last = self._object(name).rpartition("/")
        return f"{folder}{slash}.{last}."

    def _object(self, *names: str) -> str:
        return "/".join(part for part in (self._prefix, *names) if part)


def _stored(manifest: Manifest, file: str) -> Stored:
    place = manifest.objects.get(file)
    if place is None:
        raise ArtifactError(f"the manifest of this artifact was altered: it does not say which object holds {file}")
    entry = manifest.files[file]
    return Stored(place.object, place.generation, entry.size, entry.crc32c)
