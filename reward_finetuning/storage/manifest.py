"""What an artifact says of itself; written last, so that an artifact with a manifest is whole."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import google_crc32c
from pydantic import AfterValidator, Field, NonNegativeInt, ValidationError

from reward_finetuning.config.base import Frozen
from reward_finetuning.config.errors import ArtifactError
from reward_finetuning.storage.documents import first_problem

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"


def _inside(name: str) -> str:
    if not name or name.startswith("/") or not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise ValueError("is no path below the artifact's folder")
    return name


FileName = Annotated[str, AfterValidator(_inside)]
"""A file by its path relative to the artifact's folder; never a file elsewhere, whoever wrote the manifest."""


Generation = int | str
"""Names one writing of an object of a bucket: a generation of Google Cloud Storage, or an ETag of S3."""


class FileEntry(Frozen):
    """One data file."""

    size: NonNegativeInt
    """Bytes."""

    crc32c: str
    """Hex; no data format detects a flipped bit by itself."""


class Identity(Frozen):
    """What an artifact is, known before it is made: two attempts with one identity are interchangeable."""

    kind: Literal["rollouts", "rewards", "policy", "evaluated", "report", "scores"]
    fingerprint: str
    """Digest of all that changes its numbers."""

    epoch: int
    policy: str = ""
    """sha256 of the weights it came from; empty: the pretrained model."""


class StoredObject(Frozen):
    """Where a bucket keeps a data file."""

    object: str
    """Name in the bucket."""

    generation: Generation
    """Which writing of that name: a reader never gets another one's bytes."""


class Manifest(Frozen):
    """Identity, facts and files of a committed artifact."""

    schema_version: int = SCHEMA_VERSION
    identity: Identity
    facts: dict[str, Any] = Field(default_factory=dict)
    """Small numbers and texts: for lineage pages, and for the step that comes next."""

    files: dict[FileName, FileEntry]

    objects: dict[str, StoredObject] = Field(default_factory=dict)
    """In a bucket, where each file lies; nothing on disk, where it lies beside the manifest."""

    @property
    def checksum(self) -> str:
        """sha256 over identity and files: names exactly these bytes, wherever they lie."""
        body = self.model_dump_json(include={"identity", "files"})
        return sha256(body.encode()).hexdigest()


def file_entry(manifest: Manifest, file: str, where: str) -> FileEntry:
    """A file's entry.

    Raises:
        ArtifactError: the artifact holds no such file; the text lists those it holds.
    """
    try:
        return manifest.files[file]
    except KeyError:
        raise ArtifactError(f"{where} holds no {file}; it holds {', '.join(manifest.files)}") from None


def adopt(existing: Manifest, identity: Identity, where: str) -> Manifest:
    """The artifact that is there already, in place of one of the same identity.

    Raises:
        ArtifactError: it is another artifact.
    """
    if existing.identity != identity:
        raise ArtifactError(
            f"{where} is another artifact: it is {existing.identity.model_dump()}, "
            f"and {identity.model_dump()} was to be written; use another run name, or delete the folder"
        )
    return existing


def describe_files(folder: Path) -> dict[str, FileEntry]:
    """Size and checksum of every file below `folder`, by path relative to it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): FileEntry(size=path.stat().st_size, crc32c=crc32c(path)) for path in files
    }


def parse_manifest(text: str | bytes, where: str) -> Manifest:
    """Manifest from its JSON text.

    Raises:
        ArtifactError: it is damaged, or of another schema version.
    """
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise ArtifactError(f"{where} is no manifest of this project ({first_problem(error)})") from None
    if manifest.schema_version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{where} has schema version {manifest.schema_version}; this version reads {SCHEMA_VERSION}"
        )
    return manifest


def verify_file(path: Path, entry: FileEntry) -> None:
    """Compare a file with its manifest entry.

    Raises:
        ArtifactError: naming the file, what was expected and what was found.
    """
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; expected {entry.size} bytes with crc32c {entry.crc32c}")
    if (size := path.stat().st_size) != entry.size:
        raise ArtifactError(f"{path} has {size} bytes; expected {entry.size} with crc32c {entry.crc32c} (truncated?)")
    if (checksum := crc32c(path)) != entry.crc32c:
        raise ArtifactError(f"{path} was altered: crc32c {checksum}, expected {entry.crc32c}")


def is_whole(path: Path, entry: FileEntry) -> bool:
    """Whether a file is there as its manifest entry says."""
    try:
        verify_file(path, entry)
    except ArtifactError:
        return False
    return True


def crc32c(path: Path) -> str:
    """Checksum of a file, hex."""
    checksum = google_crc32c.Checksum()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            checksum.update(block)
    return checksum.hexdigest().decode()
