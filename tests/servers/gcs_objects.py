"""Buckets in memory: generations, preconditions, checksums, listings by page and delimiter."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, NotRequired, TypedDict

import google_crc32c

MOMENT = "2026-01-01T00:00:00.000Z"
NO_BUCKET, NO_OBJECT = "The specified bucket does not exist.", "No such object"
NOT_WHOLE = "Provided CRC32C doesn't match calculated CRC32C"

Query = dict[str, str]
"""Parameters of a request's URL."""


class ObjectKey(NamedTuple):
    """Where an object is."""

    bucket: str
    name: str


class Metadata(TypedDict):
    """The fields of an upload's JSON document that the server reads."""

    name: str
    contentType: NotRequired[str]
    crc32c: NotRequired[str]
    metadata: NotRequired[dict[str, str]]


class Resource(TypedDict):
    """An object as the API describes it; integers are decimal strings."""

    kind: str
    bucket: str
    name: str
    generation: str
    metageneration: str
    size: str
    crc32c: str
    md5Hash: str
    contentType: str
    metadata: dict[str, str]
    timeCreated: str
    updated: str


class Page(TypedDict):
    """One page of a listing."""

    items: list[Resource]
    prefixes: list[str]
    nextPageToken: NotRequired[str]


@dataclass
class Session:
    """A resumable upload."""

    key: ObjectKey
    metadata: Metadata
    query: Query  # of the request that began it: its preconditions hold for the object
    data: bytes = b""


class GcsError(Exception):
    """A request that the server answers with an HTTP error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass
class Objects:
    """Buckets and what is in them."""

    buckets: set[str]
    resources: dict[ObjectKey, Resource] = field(default_factory=dict)
    data: dict[ObjectKey, bytes] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)  # by upload id
    generations: Iterator[int] = field(default_factory=lambda: itertools.count(1000))

    def require(self, key: ObjectKey, query: Query) -> Resource | None:
        """Check bucket and precondition; returns the resource, None if the object or this generation does not exist."""
        if key.bucket not in self.buckets:
            raise GcsError(404, NO_BUCKET)
        resource = self.resources.get(key)
        generation = resource["generation"] if resource else "0"
        if query.get("ifGenerationMatch", generation) != generation:
            raise GcsError(412, "conditionNotMet")
        if query.get("generation", generation) != generation:
            return None
        return resource

    def write(self, key: ObjectKey, metadata: Metadata, query: Query, data: bytes) -> Resource:
        """Write an object in a new generation, if precondition and checksum hold."""
        self.require(key, query)
        crc32c = base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
        if metadata.get("crc32c", crc32c) != crc32c:
            raise GcsError(400, NOT_WHOLE)
        self.data[key] = data
        self.resources[key] = {
            "kind": "storage#object",
            "bucket": key.bucket,
            "name": key.name,
            "generation": str(next(self.generations)),
            "metageneration": "1",
            "size": str(len(data)),
            "crc32c": crc32c,
            "md5Hash": base64.b64encode(hashlib.md5(data).digest()).decode(),
            "contentType": metadata.get("contentType", "application/octet-stream"),
            "metadata": metadata.get("metadata", {}),
            "timeCreated": MOMENT,
            "updated": MOMENT,
        }
        return self.resources[key]

    def names(self, bucket: str) -> list[str]:
        """Names of a bucket's objects, sorted."""
        return sorted(key.name for key in self.resources if key.bucket == bucket)

    def page(self, bucket: str, query: Query) -> Page:
        """List objects and folders after `pageToken`, at most `maxResults` of both together."""
        if bucket not in self.buckets:
            raise GcsError(404, NO_BUCKET)
        prefix = query.get("prefix", "")
        delimiter = query.get("delimiter")
        max_results = int(query.get("maxResults", 1000))
        last = first = query.get("pageToken", "")
        page: Page = {"items": [], "prefixes": []}
        for name in self.names(bucket):
            if not name.startswith(prefix):
                continue
            rest = name.removeprefix(prefix)
            folder = prefix + rest.partition(delimiter)[0] + delimiter if delimiter and delimiter in rest else None
            if (folder or name) <= first or folder in page["prefixes"]:
                continue
            if len(page["items"]) + len(page["prefixes"]) == max_results:
                return {**page, "nextPageToken": last}
            last = folder or name
            if folder:
                page["prefixes"].append(folder)
            else:
                page["items"].append(self.resources[ObjectKey(bucket, name)])
        return page
