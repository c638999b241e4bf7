"""Google Cloud Storage's JSON API on loopback, in memory, with preconditions enforced and faults on request.

In a test: `with GcsServer() as server: monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)`. By hand:

    PYTHONPATH=tests python -m servers.gcs 4443
"""

from __future__ import annotations

import json
import re
import sys
import urllib.parse
from collections.abc import Mapping

from servers.buckets import BucketHandler, BucketServer, Response
from servers.faults import Request
from servers.gcs_objects import NO_OBJECT, GcsError, Metadata, ObjectKey, Objects, Query, Resource, Session

ROUTES = (
    ("upload", re.compile(r"(?:/resumable)?/upload/storage/v1/b/([^/]+)/o")),
    ("object", re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/(.+)")),
    ("list", re.compile(r"/storage/v1/b/([^/]+)/o")),
)
CONTENT_RANGE = re.compile(r"bytes (?:\*|(\d+)-\d+)/(\*|\d+)")


class Handler(BucketHandler):
    server: GcsServer

    def serve(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        path = urllib.parse.unquote(url.path)
        body = self.body()
        route, match = next(((route, match) for route, form in ROUTES if (match := form.fullmatch(path))), ("", None))
        if match is None:
            self.server.receive(Request("unknown", path, dict(self.headers)))
            return self.refuse(404, f"no such path: {path}")
        if route == "upload":
            kind = "chunk" if "upload_id" in query else "upload"
            metadata, body = self.parts(query, body)
        else:
            metadata = {"name": match.group(2) if route == "object" else query.get("prefix", "")}
            kind = self.kind(query) if route == "object" else route
        if not self.handle_request(kind, metadata["name"]):
            return None
        try:
            with self.server.lock:
                response = self.response(kind, ObjectKey(match.group(1), metadata["name"]), metadata, query, body)
        except GcsError as error:
            return self.refuse(error.status, error.message)
        return self.send(response)

    def kind(self, query: Query) -> str:
        """Kind of a request for one object."""
        if self.command == "DELETE":
            return "delete"
        return "read" if query.get("alt") == "media" else "metadata"

    def parts(self, query: Query, body: bytes) -> tuple[Metadata, bytes]:
        """Metadata and bytes of an upload."""
        metadata: Metadata = {"name": query.get("name", "")}
        if "upload_id" in query:
            session = self.server.objects.sessions.get(query["upload_id"])
            return session.metadata if session else metadata, body
        if query["uploadType"] == "resumable":
            return {**metadata, **json.loads(body or b"{}")}, b""
        if query["uploadType"] == "media":
            return metadata, body
        boundary = b"--" + self.headers["Content-Type"].partition("boundary=")[2].strip("\"'; ").encode()
        _, document, data, _ = body.split(boundary)
        metadata = {**metadata, **json.loads(document.partition(b"\r\n\r\n")[2])}
        return metadata, data.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")

    def response(self, kind: str, key: ObjectKey, metadata: Metadata, query: Query, body: bytes) -> Response:
        """Do what the request of a kind asks for."""
        match kind:
            case "upload":
                return self.upload(key, metadata, query, body)
            case "chunk":
                return self.chunk(query, body)
            case "read":
                return self.read(key, query)
            case "metadata":
                return as_json(self.resource(key, query))
            case "delete":
                return self.remove(key, query)
            case _:  # list
                pages = {"maxResults": str(self.server.page_size)} if self.server.page_size else {}
                return as_json(self.server.objects.page(key.bucket, {**query, **pages}))

    def upload(self, key: ObjectKey, metadata: Metadata, query: Query, data: bytes) -> Response:
        objects = self.server.objects
        if query["uploadType"] != "resumable":
            return as_json(objects.write(key, metadata, query, self.damaged(data)))
        objects.require(key, query)
        upload_id = f"session-{len(objects.sessions)}"
        objects.sessions[upload_id] = Session(key, metadata, query)
        location = f"/upload/storage/v1/b/{key.bucket}/o?uploadType=resumable&upload_id={upload_id}"
        return as_json({}, headers={"Location": f"http://{self.headers['Host']}{location}"})

    def chunk(self, query: Query, data: bytes) -> Response:
        session = self.server.objects.sessions[query["upload_id"]]
        content_range = CONTENT_RANGE.fullmatch(self.headers.get("Content-Range", "bytes 0-0/*"))
        if content_range is None:
            raise GcsError(400, f"Content-Range: {self.headers['Content-Range']}")
        first, total = content_range.groups()
        if first is not None:
            if int(first) > len(session.data):
                raise GcsError(400, "a chunk is missing")
            session.data = session.data[: int(first)] + data
        if total == "*" or len(session.data) < int(total):
            return as_json({}, 308, {"Range": f"bytes=0-{len(session.data) - 1}"} if session.data else {})
        metadata = session.metadata
        if checksum := re.search(r"crc32c=([^,]+)", self.headers.get("X-Goog-Hash", "")):
            metadata = {**metadata, "crc32c": checksum.group(1)}
        return as_json(self.server.objects.write(session.key, metadata, session.query, self.damaged(session.data)))

    def resource(self, key: ObjectKey, query: Query) -> Resource:
        if (resource := self.server.objects.require(key, query)) is None:
            raise GcsError(404, f"{NO_OBJECT}: {'/'.join(key)}")
        return resource

    def read(self, key: ObjectKey, query: Query) -> Response:
        resource = self.resource(key, query)
        data = self.server.objects.data[key]
        headers = {
            "X-Goog-Hash": f"crc32c={resource['crc32c']},md5={resource['md5Hash']}",
            "X-Goog-Generation": resource["generation"],
            "X-Goog-Metageneration": resource["metageneration"],
        }
        byte_range = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if byte_range is None:
            return Response(self.damaged(data), 200, headers)
        first = int(byte_range.group(1))
        last = min(int(byte_range.group(2) or len(data)), len(data) - 1)
        if first >= len(data):
            raise GcsError(416, "out of range")
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return Response(self.damaged(data[first : last + 1]), 206, headers)

    def remove(self, key: ObjectKey, query: Query) -> Response:
        self.resource(key, query)
        del self.server.objects.resources[key], self.server.objects.data[key]
        return Response(b"", 204)

    def refuse(self, status: int, message: str) -> None:
        """See BucketHandler."""
        self.send(as_json({"error": {"code": status, "message": message, "errors": [{"message": message}]}}, status))


def as_json(document: Mapping[str, object], status: int = 200, headers: Mapping[str, str] = {}) -> Response:
    """A document as an answer."""
    return Response(json.dumps(document).encode(), status, {**headers, "Content-Type": "application/json"})


class GcsServer(BucketServer):
    """The server; see BucketServer."""

    scheme = "gs"

    def __init__(self, *buckets: str, port: int = 0) -> None:
        super().__init__(Handler, port)
        self.objects = Objects(set(buckets or ["bucket"]))

    @property
    def environment(self) -> dict[str, str]:
        """See BucketServer."""
        return {"STORAGE_EMULATOR_HOST": self.url}

    def names(self) -> list[str]:
        """See BucketServer."""
        return self.objects.names("bucket")

    def data(self, name: str) -> bytes:
        """See BucketServer."""
        return self.objects.data[ObjectKey("bucket", name)]

    def generation(self, name: str) -> int | str:
        """See BucketServer."""
        return int(self.objects.resources[ObjectKey("bucket", name)]["generation"])

    def put(self, name: str, data: bytes) -> None:
        """See BucketServer."""
        with self.lock:
            self.objects.write(ObjectKey("bucket", name), {"name": name}, {}, data)

    def remove(self, name: str) -> None:
        """See BucketServer."""
        with self.lock:
            del self.objects.resources[ObjectKey("bucket", name)]


if __name__ == "__main__":
    server = GcsServer(port=int(sys.argv[1]))
    print(f"export STORAGE_EMULATOR_HOST={server.url}   # the bucket is gs://bucket", flush=True)
    server.serve_forever()
