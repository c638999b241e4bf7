"""The operations on objects, by Google's client."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from reward_finetuning.server_errors import one_line
from reward_finetuning.storage.buckets.gcs.client import client, request_options
from reward_finetuning.storage.buckets.gcs.errors import translation
from reward_finetuning.storage.buckets.service import ConflictError, DamagedError, Listing, MissingError, Stored
from reward_finetuning.storage.manifest import Generation


class GcsService:
    """A bucket of Google Cloud Storage; see Service."""

    def __init__(self, uri: str, bucket: str) -> None:
        self.uri = uri
        self._bucket = bucket

    def translation(self) -> AbstractContextManager[None]:
        """See Service."""
        return translation(self.uri)

    def stat(self, name: str) -> Stored:
        """See Service."""
        with _absence():
            return _reloaded(self._blob(name))

    def read(self, name: str) -> tuple[bytes, Generation]:
        """See Service."""
        blob = self._blob(name)
        with _absence(), _refusals():
            data = blob.download_as_bytes(checksum="crc32c", **request_options())
        return data, int(blob.generation)

    def download(self, stored: Stored, path: Path) -> str | None:
        """See Service."""
        blob = self._blob(stored.name, stored.generation)
        with _absence(), _refusals():
            blob.download_to_filename(str(path), checksum="crc32c", **request_options())
        return stored.crc32c

    def write(
        self, name: str, source: bytes | Path, *, metadata: Mapping[str, str], condition: Generation | None
    ) -> Stored:
        """See Service; above 8 MiB an upload is resumable."""
        blob = self._blob(name)
        blob.metadata = dict(metadata)
        options = {} if condition is None else {"if_generation_match": condition}
        options |= {"checksum": "crc32c", **request_options()}
        with _refusals():  # what is not found is the bucket
            if isinstance(source, bytes):
                blob.upload_from_string(source, content_type="application/json", **options)
            else:
                blob.upload_from_filename(str(source), **options)
        return _as_stored(blob)

    def list(self, prefix: str, delimiter: str = "") -> Listing:
        """See Service."""
        listing = client().list_blobs(self._bucket, prefix=prefix, delimiter=delimiter or None, **request_options())
        objects = [_as_stored(blob) for blob in listing]  # the folders are known when all pages were read
        return Listing(objects, sorted(listing.prefixes))

    def delete(self, name: str) -> None:
        """See Service."""
        with _absence():
            self._blob(name).delete(**request_options())

    def abort_uploads(self, prefix: str, matches: Callable[[str], object]) -> None:
        """Nothing: the service deletes unfinished uploads after a week, and bills nothing for them."""

    def require_bucket(self) -> None:
        """See Service."""
        next(iter(client().list_blobs(self._bucket, max_results=1, **request_options())), None)

    def _blob(self, name: str, generation: Generation | None = None) -> Any:
        return client().bucket(self._bucket).blob(name, generation=generation)


@contextmanager
def _absence() -> Iterator[None]:
    """A request for an object that is not there, as an error of Service."""
    from google.api_core.exceptions import NotFound

    try:
        yield
    except NotFound as error:
        raise MissingError from error


@contextmanager
def _refusals() -> Iterator[None]:
    """Other answers that concern the object alone, as errors of Service."""
    from google.api_core import exceptions as api
    from google.cloud.storage.exceptions import DataCorruption

    try:
        yield
    except api.PreconditionFailed as error:
        raise ConflictError from error
    except (api.BadRequest, DataCorruption) as error:  # 400: the checksum of the request is not that of its data
        raise DamagedError(one_line(error)) from error


def _reloaded(blob: Any) -> Stored:
    blob.reload(**request_options())
    return _as_stored(blob)


def _as_stored(blob: Any) -> Stored:
    crc32c = b64decode(blob.crc32c).hex()
    return Stored(blob.name, int(blob.generation), blob.size, crc32c, blob.metadata or {})
