"""The operations on objects, by boto3. A generation is the ETag of an object, without its quotation marks."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import google_crc32c

from reward_finetuning.storage.buckets import patience
from reward_finetuning.storage.buckets.s3.client import client, request
from reward_finetuning.storage.buckets.s3.errors import is_temporary, outcomes, translation
from reward_finetuning.storage.buckets.s3.multipart import PART_BYTES, abort_uploads, content_md5, write_parts
from reward_finetuning.storage.buckets.service import (
    ABSENT,
    CRC32C,
    ConflictError,
    DamagedError,
    Listing,
    MissingError,
    Stored,
)
from reward_finetuning.storage.manifest import Generation

_BLOCK_BYTES = 1 << 20
_PARTIAL_CONTENT = 206


class S3Service:
    """A bucket of S3; see Service."""

    def __init__(self, uri: str, bucket: str) -> None:
        self.uri = uri
        self._bucket = bucket

    def translation(self) -> AbstractContextManager[None]:
        """See Service."""
        return translation(self.uri)

    def stat(self, name: str) -> Stored:
        """See Service."""
        with outcomes():
            answer = request("head_object", **self._target(name))
        return Stored(name, _generation(answer), answer["ContentLength"], _crc32c(answer), answer["Metadata"])

    def read(self, name: str) -> tuple[bytes, Generation]:
        """See Service."""

        def read() -> tuple[bytes, Generation]:
            answer = client().get_object(**self._target(name))
            data = answer["Body"].read()
            if (expected := _crc32c(answer)) not in {None, _checksum(data)}:
                raise DamagedError(f"its crc32c is not {expected}")
            return data, _generation(answer)

        with outcomes():
            return patience.retry(is_temporary)(read)()

    def download(self, stored: Stored, path: Path) -> str | None:
        """See Service; after a break it resumes with the byte that is missing, as long as bytes arrive."""
        from google.api_core.exceptions import RetryError

        with path.open("wb") as file:
            while True:
                before = file.tell()
                try:
                    return patience.retry(is_temporary)(self._download_rest)(stored, file)
                except RetryError:
                    if file.tell() <= before:
                        raise

    def write(
        self, name: str, source: bytes | Path, *, metadata: Mapping[str, str], condition: Generation | None
    ) -> Stored:
        """See Service."""
        arguments = _condition(condition)
        target = self._target(name)
        try:
            with outcomes():
                if isinstance(source, Path) and (size := source.stat().st_size) > PART_BYTES:
                    answer = write_parts(target, source, metadata, arguments)
                else:
                    data = source if isinstance(source, bytes) else source.read_bytes()
                    size, metadata = len(data), {CRC32C: _checksum(data), **metadata}
                    body = {"Body": data, "ContentMD5": content_md5(data), "Metadata": metadata}
                    answer = request("put_object", **target, **body, **arguments)
        except MissingError as error:  # what was to be replaced was deleted
            raise ConflictError from error
        return Stored(name, _generation(answer), size, metadata.get(CRC32C), metadata)

    def list(self, prefix: str, delimiter: str = "") -> Listing:
        """See Service."""
        objects: list[Stored] = []
        folders: list[str] = []
        for page in self._pages(Prefix=prefix, **({"Delimiter": delimiter} if delimiter else {})):
            objects += [Stored(each["Key"], _generation(each), each["Size"], None) for each in page.get("Contents", ())]
            folders += [each["Prefix"] for each in page.get("CommonPrefixes", ())]
        return Listing(objects, sorted(folders))

    def delete(self, name: str) -> None:
        """See Service."""
        with outcomes():
            request("delete_object", **self._target(name))

    def abort_uploads(self, prefix: str, matches: Callable[[str], object]) -> None:
        """See Service."""
        abort_uploads(self._bucket, prefix, matches)

    def require_bucket(self) -> None:
        """See Service."""
        request("list_objects_v2", Bucket=self._bucket, MaxKeys=1)

    def _download_rest(self, stored: Stored, file: IO[bytes]) -> str | None:
        """Append what a file lacks; returns the object's crc32c."""
        first = file.tell()
        asked = {"IfMatch": f'"{stored.generation}"'} | ({"Range": f"bytes={first}-"} if first else {})
        try:
            with outcomes():
                answer = request("get_object", **self._target(stored.name), **asked)
                if _generation(answer) != stored.generation:  # a store that ignores If-Match
                    raise MissingError
                if first and answer["ResponseMetadata"]["HTTPStatusCode"] != _PARTIAL_CONTENT:
                    file.seek(0)
                    file.truncate()
                for block in answer["Body"].iter_chunks(_BLOCK_BYTES):
                    file.write(block)
        except ConflictError as error:
            raise MissingError from error
        return _crc32c(answer)

    def _pages(self, **arguments: str) -> Iterator[Any]:
        token: dict[str, str] = {}
        while True:
            page = request("list_objects_v2", Bucket=self._bucket, **arguments, **token)
            yield page
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _target(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": name}


def _condition(generation: Generation | None) -> dict[str, str]:
    if generation is None:
        return {}
    return {"IfNoneMatch": "*"} if generation == ABSENT else {"IfMatch": f'"{generation}"'}


def _checksum(data: bytes) -> str:
    return str(google_crc32c.Checksum(data).hexdigest().decode())


def _generation(answer: Mapping[str, Any]) -> str:
    return str(answer["ETag"]).strip('"')


def _crc32c(answer: Mapping[str, Any]) -> str | None:
    """Of the whole object, hex, where the metadata or the store has it."""
    if (ours := answer["Metadata"].get(CRC32C)) is not None:
        return str(ours)
    of_store = answer.get("ChecksumCRC32C", "")
    is_whole = answer.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT" and "-" not in of_store
    return b64decode(of_store).hex() if of_store and is_whole else None
