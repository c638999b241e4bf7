"""Google Cloud Storage's JSON API on loopback, in memory, with preconditions enforced and faults on request.

In a test: `with GcsServer() as server: monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)`. By hand:

    PYTHONPATH=tests python -m servers.gcs 4443
"""

from __future__ import annotations

import json
import re
import socket
import struct
import sys
import threading
import time
import urllib.parse
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple, Self

from servers.gcs_faults import Action, Fault, Request
from servers.gcs_objects import NO_OBJECT, GcsError, Metadata, ObjectKey, Objects, Query, Resource, Session

ROUTES = (
    ("upload", re.compile(r"(?:/resumable)?/upload/storage/v1/b/([^/]+)/o")),
    ("object", re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/(.+)")),
    ("list", re.compile(r"/storage/v1/b/([^/]+)/o")),
)
CONTENT_RANGE = re.compile(r"bytes (?:\*|(\d+)-\d+)/(\*|\d+)")


class Response(NamedTuple):
    body: bytes | Mapping[str, object]
    status: int = 200
    headers: Mapping[str, str] = {}


class Handler(BaseHTTPRequestHandler):
    server: GcsServer
    protocol_version = "HTTP/1.1"
    fault: Action | None = None  # of the request that is answered

    def log_message(self, *_: object) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
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
        self.fault = self.server.receive(Request(kind, metadata["name"], dict(self.headers)))
        if isinstance(self.fault, float):
            time.sleep(self.fault)
        if isinstance(self.fault, int):
            return self.refuse(self.fault, "injected")
        if self.fault == "reset":
            return self.reset()
        try:
            with self.server.lock:
                response = self.response(kind, ObjectKey(match.group(1), metadata["name"]), metadata, query, body)
        except GcsError as error:
            return self.refuse(error.status, error.message)
        return self.reset() if self.fault == "lost" else self.send(response)

    def do_POST(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def kind(self, query: Query) -> str:
        """Kind of a request for one object."""
        if self.command == "DELETE":
            return "delete"
        return "read" if query.get("alt") == "media" else "metadata"

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

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
                return Response(self.resource(key, query))
            case "delete":
                return self.remove(key, query)
            case _:  # list
                return Response(self.server.objects.page(key.bucket, query))

    def upload(self, key: ObjectKey, metadata: Metadata, query: Query, data: bytes) -> Response:
        objects = self.server.objects
        if query["uploadType"] != "resumable":
            return Response(objects.write(key, metadata, query, self.damaged(data)))
        objects.require(key, query)
        upload_id = f"session-{len(objects.sessions)}"
        objects.sessions[upload_id] = Session(key, metadata, query)
        location = f"/upload/storage/v1/b/{key.bucket}/o?uploadType=resumable&upload_id={upload_id}"
        return Response({}, headers={"Location": f"http://{self.headers['Host']}{location}"})

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
            return Response({}, 308, {"Range": f"bytes=0-{len(session.data) - 1}"} if session.data else {})
        metadata = session.metadata
        if checksum := re.search(r"crc32c=([^,]+)", self.headers.get("X-Goog-Hash", "")):
            metadata = {**metadata, "crc32c": checksum.group(1)}
        return Response(self.server.objects.write(session.key, metadata, session.query, self.damaged(session.data)))

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

    def damaged(self, data: bytes) -> bytes:
        """The data, with one bit flipped if the fault is "corrupt"."""
        return bytes([data[0] ^ 1]) + data[1:] if self.fault == "corrupt" and data else data

    def send(self, response: Response) -> None:
        body = response.body
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/octet-stream" if data is body else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if self.fault == "truncate" else data)
        if self.fault == "truncate":
            self.wfile.flush()
            self.reset()

    def refuse(self, status: int, message: str) -> None:
        self.send(Response({"error": {"code": status, "message": message, "errors": [{"message": message}]}}, status))

    def reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


class GcsServer(ThreadingHTTPServer):
    """The server; `faults` may be added at any time, `requests` are those that arrived."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *buckets: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.objects = Objects(set(buckets or ["bucket"]))
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.lock = threading.RLock()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """Print nothing: the faults make clients close their connections."""

    def receive(self, request: Request) -> Action | None:
        """Record a request; returns the action of the fault that happens to it, None if there is none."""
        with self.lock:
            self.requests.append(request)
            return next((fault.action for fault in self.faults if fault.hits(request.kind, request.name)), None)

    def names(self, bucket: str = "bucket") -> list[str]:
        """Names of all objects."""
        return self.objects.names(bucket)

    def put(self, name: str, data: bytes, bucket: str = "bucket") -> Resource:
        """Write an object, or replace it."""
        with self.lock:
            return self.objects.write(ObjectKey(bucket, name), {"name": name}, {}, data)

    def put_folder(self, folder: Path, prefix: str) -> None:
        """Write every file below a folder."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def downloads(self) -> list[str]:
        """Names of the objects that were read, sorted."""
        return sorted(request.name for request in self.requests if request.kind == "read")


if __name__ == "__main__":
    server = GcsServer(port=int(sys.argv[1]))
    print(f"export STORAGE_EMULATOR_HOST={server.url}   # the bucket is gs://bucket", flush=True)
    server.serve_forever()
