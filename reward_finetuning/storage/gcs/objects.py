"""Objects of a bucket: small ones read and written on a condition, all of them listed and deleted."""

from __future__ import annotations

import uuid
from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from reward_finetuning.storage.gcs.client import WORKERS, client, request_options, retry_damaged
from reward_finetuning.storage.gcs.errors import translation
from reward_finetuning.storage.manifest import FileEntry

_WRITING = "writing"


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as a listing has it."""

    name: str
    generation: int
    entry: FileEntry


class Bucket:
    """A bucket; every method raises UserError or RetryableError as described in errors.translation."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._seen = False

    def read(self, name: str) -> tuple[bytes, int] | None:
        """Bytes and generation of a small object; None where there is none."""
        from google.api_core.exceptions import NotFound

        def read() -> tuple[bytes, int]:
            blob = self.blob(name)
            data = blob.download_as_bytes(checksum="crc32c", **request_options())
            return data, int(blob.generation)

        with translation(self.name):
            try:
                return retry_damaged(read)
            except NotFound:
                self.require()
                return None

    def find(self, name: str) -> Stored | None:
        """An object as a listing would have it; None where there is none."""
        from google.api_core.exceptions import NotFound

        with translation(self.name):
            blob = self.blob(name)
            try:
                blob.reload(**request_options())
            except NotFound:
                self.require()
                return None
            return as_stored(blob)

    def put(self, name: str, data: bytes, *, generation: int | None) -> bool:
        """Write an object if its generation is still `generation`; False where it is another one.

        An answer may be lost after the object was written; the client then tries again and is refused because of its
        own object. So each writing carries a token. The content would not do: two writers that count from 1 to 2 write
        the same.

        Args:
            name: of the object.
            data: its bytes.
            generation: 0: it must not exist yet; None: anything is overwritten.
        """
        from google.api_core.exceptions import PreconditionFailed

        token = uuid.uuid4().hex

        def write() -> None:
            blob = self.blob(name)
            blob.metadata = {_WRITING: token}
            condition = {} if generation is None else {"if_generation_match": generation}
            options = {"content_type": "application/json", "checksum": "crc32c"}
            blob.upload_from_string(data, **options, **condition, **request_options())

        with translation(self.name):
            try:
                retry_damaged(write)
            except PreconditionFailed:
                return self._token(name) == token
        return True

    def below(self, prefix: str) -> list[Stored]:
        """All objects whose names begin with `prefix`."""
        with translation(self.name):
            return [as_stored(blob) for blob in client().list_blobs(self.name, prefix=prefix, **request_options())]

    def children(self, folder: str) -> list[str]:
        """Names of objects and folders directly below `folder`, sorted."""
        prefix = f"{folder}/" if folder else ""
        with translation(self.name):
            listing = client().list_blobs(self.name, prefix=prefix, delimiter="/", **request_options())
            names = [blob.name for blob in listing]  # the folders are known when all pages were read
            return sorted(
                name.removeprefix(prefix).rstrip("/") for name in {*names, *listing.prefixes} if name != prefix
            )

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects, in parallel; those that are gone already are no error."""
        from concurrent.futures import ThreadPoolExecutor

        with translation(self.name), ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(self._delete, names))

    def _delete(self, name: str) -> None:
        from google.api_core.exceptions import NotFound

        try:
            self.blob(name).delete(**request_options())
        except NotFound:
            self.require()

    def _token(self, name: str) -> str | None:
        from google.api_core.exceptions import NotFound

        blob = self.blob(name)
        try:
            blob.reload(**request_options())
        except NotFound:
            return None
        return (blob.metadata or {}).get(_WRITING)

    def require(self) -> None:
        """Tell an object that is missing from a bucket that is."""
        if not self._seen:
            next(iter(client().list_blobs(self.name, max_results=1, **request_options())), None)
            self._seen = True

    def blob(self, name: str, generation: int | None = None) -> Any:
        """The client's object of that name."""
        return client().bucket(self.name).blob(name, generation=generation)


def as_stored(blob: Any) -> Stored:
    """What the server has said of an object."""
    crc32c = b64decode(blob.crc32c).hex()
    return Stored(blob.name, int(blob.generation), FileEntry(size=blob.size, crc32c=crc32c))
