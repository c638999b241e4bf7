"""Buckets in memory: generations, preconditions, checksums, listings by page and delimiter."""

import base64
import hashlib
import itertools
from dataclasses import dataclass, field

import google_crc32c

MOMENT = "2026-01-01T00:00:00.000Z"
NO_BUCKET, NO_OBJECT = "The specified bucket does not exist.", "No such object"
NOT_WHOLE = "Provided CRC32C doesn't match calculated CRC32C"


class RefusedError(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status, self.message = status, message


@dataclass
class Objects:
    """Buckets and what is in them."""

    buckets: set
    resources: dict = field(default_factory=dict)  # (bucket, name) -> JSON resource
    data: dict = field(default_factory=dict)  # (bucket, name) -> bytes
    sessions: dict = field(default_factory=dict)  # upload id -> [bucket, metadata, query, bytes]
    generations: object = field(default_factory=lambda: itertools.count(1000))

    def require(self, key, query):
        """Check bucket, object, generation and precondition; returns the resource, None where there is none."""
        if key[0] not in self.buckets:
            raise RefusedError(404, NO_BUCKET)
        resource = self.resources.get(key)
        expected, generation = query.get("ifGenerationMatch"), resource["generation"] if resource else "0"
        if expected is not None and expected != generation:
            raise RefusedError(412, "conditionNotMet")
        if query.get("generation", generation) != generation:
            return None
        return resource

    def write(self, bucket, metadata, query, data):
        key = (bucket, metadata["name"])
        self.require(key, query)
        crc32c = base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
        if metadata.get("crc32c", crc32c) != crc32c:
            raise RefusedError(400, NOT_WHOLE)
        self.data[key] = data
        self.resources[key] = {
            "kind": "storage#object",
            "bucket": bucket,
            "name": metadata["name"],
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

    def page(self, bucket, query):
        if bucket not in self.buckets:
            raise RefusedError(404, NO_BUCKET)
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        first, most = query.get("pageToken", ""), int(query.get("maxResults", 1000))
        items, prefixes, last = [], [], first
        for name in sorted(name for where, name in self.resources if where == bucket and name.startswith(prefix)):
            rest = name.removeprefix(prefix)
            folder = prefix + rest.partition(delimiter)[0] + delimiter if delimiter and delimiter in rest else None
            if (folder or name) <= first or (folder and folder in prefixes):
                continue
            if len(items) + len(prefixes) == most:
                return {"items": items, "prefixes": prefixes, "nextPageToken": last}
            last = folder or name
            prefixes += [folder] if folder else []
            items += [] if folder else [self.resources[bucket, name]]
        return {"items": items, "prefixes": prefixes}
