"""Run directories on a local disk: a temporary name, then a rename."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reward_finetuning.config.errors import ArtifactError
from reward_finetuning.storage.documents import from_text, to_text
from reward_finetuning.storage.manifest import (
    MANIFEST,
    Identity,
    Manifest,
    adopt,
    describe_files,
    file_entry,
    parse_manifest,
    verify_file,
)
from reward_finetuning.storage.store import Write


class LocalStore:
    """Store on a file system with atomic rename."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.uri = str(root)

    def manifest(self, name: str) -> Manifest | None:
        """See Store."""
        path = self._root / name / MANIFEST
        if not path.is_file():
            return None
        return parse_manifest(path.read_bytes(), str(path))

    def commit(self, name: str, identity: Identity, write: Write) -> Manifest:
        """See Store."""
        if (existing := self.manifest(name)) is not None:
            return adopt(existing, identity, str(self._root / name))
        final = self._root / name
        _make_folders(final.parent)
        attempt = final.parent / f".{final.name}.{uuid.uuid4().hex}"
        attempt.mkdir()
        try:
            facts = write(attempt)
            _sync_below(attempt)  # a manifest names only what is on the disk, whenever the power fails
            manifest = Manifest(identity=identity, facts=dict(facts), files=describe_files(attempt))
            _write_text(attempt / MANIFEST, manifest.model_dump_json(indent=1, exclude={"objects"}))
            return self._publish(attempt, final, manifest)
        finally:
            shutil.rmtree(attempt, ignore_errors=True)

    def fetch(self, name: str, files: Sequence[str] | None = None) -> Path:
        """See Store."""
        folder = self._root / name
        manifest = self.manifest(name)
        if manifest is None:
            raise ArtifactError(f"no whole artifact at {folder}: {MANIFEST} is missing")
        for file in manifest.files if files is None else files:
            verify_file(folder / file, file_entry(manifest, file, str(folder)))
        return folder

    def check(self, name: str) -> None:
        """See Store."""
        self.fetch(name)

    def delete(self, name: str) -> None:
        """See Store."""
        folder = self._root / name
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def names(self, folder: str) -> list[str]:
        """See Store."""
        path = self._root / folder
        return sorted(p.name for p in path.iterdir() if not p.name.startswith(".")) if path.is_dir() else []

    def read_json(self, name: str) -> dict[str, Any] | None:
        """See Store."""
        path = self._root / name
        try:
            return from_text(path.read_bytes(), str(path))
        except FileNotFoundError:
            return None

    def read_all(self, folder: str, suffix: str) -> dict[str, dict[str, Any]]:
        """See Store."""
        read = {name: self.read_json(f"{folder}/{name}") for name in self.names(folder) if name.endswith(suffix)}
        return {name: value for name, value in read.items() if value is not None}

    def create_json(self, name: str, value: Mapping[str, Any]) -> bool:
        """See Store."""
        return self._create(self._root / name, to_text(value))

    def create_text(self, name: str, text: str) -> str:
        """See Store."""
        path = self._root / name
        if not self._create(path, text) and path.read_bytes() != text.encode():
            raise ArtifactError(f"{path} holds another text than the one to be written; delete it if it was altered")
        return str(path)

    def replace_json(self, name: str, value: Mapping[str, Any], *, expected: Mapping[str, Any] | None) -> bool:
        """See Store."""
        path = self._root / name
        attempt = self._attempt(path, to_text(value))
        with self._locked():
            if self.read_json(name) != expected:
                attempt.unlink()
                return False
            attempt.replace(path)
            _sync(path.parent)
        return True

    def check_conditions(self) -> None:
        """See Store; link and rename never overwrite."""

    def _publish(self, attempt: Path, final: Path, manifest: Manifest) -> Manifest:
        _sync(attempt)
        if final.exists() and not (final / MANIFEST).exists():
            shutil.rmtree(final, ignore_errors=True)  # left over from an interrupted delete
        try:
            attempt.rename(final)
        except OSError:
            winner = self.manifest(final.relative_to(self._root).as_posix())
            if winner is None:
                raise
            return adopt(winner, manifest.identity, str(final))
        _sync(final.parent)
        return manifest

    def _create(self, path: Path, text: str) -> bool:
        attempt = self._attempt(path, text)
        try:
            os.link(attempt, path)  # unlike rename, refuses to replace
        except FileExistsError:
            return False
        finally:
            attempt.unlink()
        _sync(path.parent)
        return True

    @staticmethod
    def _attempt(path: Path, text: str) -> Path:
        _make_folders(path.parent)
        attempt = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        _write_text(attempt, text)
        return attempt

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _make_folders(folder: Path) -> None:
    """Make a folder and those above it, each of them there after a power failure."""
    missing = [each for each in (folder, *folder.parents) if not each.is_dir()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        _sync(each.parent)


def _sync_below(folder: Path) -> None:
    """Write all files below a folder to the disk, and the folders that name them."""
    for place, _, files in os.walk(folder):
        for file in files:
            _sync(Path(place, file))
        _sync(Path(place))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
