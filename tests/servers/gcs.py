"""Google Cloud Storage's JSON API on loopback, in memory, with preconditions enforced and faults on request.

In a test: `with GcsServer() as server: monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)`. By hand:

    PYTHONPATH=tests python -m servers.gcs 4443
"""

import json
import re
import socket
import struct
import sys
import threading
import time
import urllib.parse
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from servers.gcs_objects import NO_OBJECT, Objects, RefusedError

ROUTES = (
    ("upload", re.compile(r"(?:/resumable)?/upload/storage/v1/b/([^/]+)/o")),
    ("object", re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/(.+)")),
    ("list", re.compile(r"/storage/v1/b/([^/]+)/o")),
)


@dataclass
class Fault:
    """What goes wrong with the next requests that match.

    kind: "upload" (small, or the start of a resumable one), "chunk", "read", "metadata", "list", "delete"; "" is any.
    action: an HTTP status; "reset" (before anything is done), "lost" (done, then reset), "corrupt", "truncate"; or a
    number of seconds to wait, as a float.
    """

    action: object
    kind: str = ""
    name: str = ""  # pattern of the object's name
    times: int = 1
    after: int = 0  # requests that match and pass first

    def hits(self, kind, name):
        if self.times <= 0 or self.kind not in {"", kind} or not re.search(self.name, name or ""):
            return False
        self.after, passed = self.after - 1, self.after > 0
        self.times -= not passed
        return not passed


@dataclass
class Request:
    kind: str
    name: str
    headers: dict


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fault = None

    def log_message(self, *_):
        pass

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query, path = dict(urllib.parse.parse_qsl(url.query)), urllib.parse.unquote(url.path)
        body = self.body()
        route, match = next(((kind, found) for kind, form in ROUTES if (found := form.fullmatch(path))), ("", None))
        if match is None:
            self.server.met(Request("unknown", path, dict(self.headers)))
            return self.refuse(404, f"no such path: {path}")
        bucket, name = match.group(1), match.group(2) if route == "object" else query.get("prefix", "")
        kind = route
        if route == "object":
            kind = "delete" if self.command == "DELETE" else "read" if query.get("alt") == "media" else "metadata"
        if route == "upload":
            kind = "chunk" if "upload_id" in query else "upload"
            metadata, body = self.parts(query, body)
            name = metadata["name"]
        self.fault = self.server.met(Request(kind, name, dict(self.headers)))
        if isinstance(self.fault, float):
            time.sleep(self.fault)
        if isinstance(self.fault, int):
            return self.refuse(self.fault, "injected")
        if self.fault == "reset":
            return self.reset()
        try:
            with self.server.lock:
                answer = {
                    "upload": lambda: self.upload(bucket, metadata, query, body),
                    "chunk": lambda: self.chunk(query, body),
                    "read": lambda: self.read((bucket, name), query),
                    "metadata": lambda: self.metadata((bucket, name), query),
                    "list": lambda: (200, {}, self.server.objects.page(bucket, query)),
                    "delete": lambda: self.remove((bucket, name), query),
                }[kind]()
        except RefusedError as refused:
            return self.refuse(refused.status, refused.message)
        return self.reset() if self.fault == "lost" else self.answer(*answer)

    def do_POST(self):
        self.do_GET()

    def do_PUT(self):
        self.do_GET()

    def do_DELETE(self):
        self.do_GET()

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def parts(self, query, body):
        """Metadata and bytes of an upload."""
        if "upload_id" in query:
            return self.server.objects.sessions.get(query["upload_id"], [None, {"name": ""}])[1], body
        if query["uploadType"] == "resumable":
            return {"name": query.get("name")} | json.loads(body or b"{}"), b""
        if query["uploadType"] == "media":
            return {"name": query["name"]}, body
        boundary = b"--" + self.headers["Content-Type"].partition("boundary=")[2].strip("\"'; ").encode()
        _, metadata, data, _ = body.split(boundary)
        metadata = {"name": query.get("name")} | json.loads(metadata.partition(b"\r\n\r\n")[2])
        return metadata, data.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")

    def upload(self, bucket, metadata, query, data):
        objects = self.server.objects
        if query["uploadType"] != "resumable":
            return 200, {}, objects.write(bucket, metadata, query, self.damaged(data))
        objects.require((bucket, metadata["name"]), query)
        session = f"session-{len(objects.sessions)}"
        objects.sessions[session] = [bucket, metadata, query, b""]
        where = f"/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={session}"
        return 200, {"Location": f"http://{self.headers['Host']}{where}"}, {}

    def chunk(self, query, data):
        objects = self.server.objects
        session = objects.sessions[query["upload_id"]]
        first, total = re.fullmatch(
            r"bytes (?:\*|(\d+)-\d+)/(\*|\d+)", self.headers.get("Content-Range", "bytes 0-0/*")
        ).groups()
        if first is not None:
            if int(first) > len(session[3]):
                raise RefusedError(400, "a chunk is missing")
            session[3] = session[3][: int(first)] + data
        if total == "*" or len(session[3]) < int(total):
            return 308, {"Range": f"bytes=0-{len(session[3]) - 1}"} if session[3] else {}, {}
        bucket, metadata, begun, whole = session
        if found := re.search(r"crc32c=([^,]+)", self.headers.get("X-Goog-Hash", "")):
            metadata = metadata | {"crc32c": found.group(1)}
        return 200, {}, objects.write(bucket, metadata, begun, self.damaged(whole))

    def metadata(self, key, query):
        if (resource := self.server.objects.require(key, query)) is None:
            raise RefusedError(404, f"{NO_OBJECT}: {'/'.join(key)}")
        return 200, {}, resource

    def read(self, key, query):
        _, _, resource = self.metadata(key, query)
        data, status = self.server.objects.data[key], 200
        headers = {
            "X-Goog-Hash": f"crc32c={resource['crc32c']},md5={resource['md5Hash']}",
            "X-Goog-Generation": resource["generation"],
            "X-Goog-Metageneration": resource["metageneration"],
        }
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(asked.group(1)), min(int(asked.group(2) or len(data)), len(data) - 1)
            if first >= len(data):
                raise RefusedError(416, "out of range")
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            data, status = data[first : last + 1], 206
        return status, headers, self.damaged(data)

    def remove(self, key, query):
        self.metadata(key, query)
        del self.server.objects.resources[key], self.server.objects.data[key]
        return 204, {}, b""

    def damaged(self, data):
        return bytes([data[0] ^ 1]) + data[1:] if self.fault == "corrupt" and data else data

    def answer(self, status, headers, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/octet-stream" if data is body else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if self.fault == "truncate" else data)
        if self.fault == "truncate":
            self.wfile.flush()
            self.reset()

    def refuse(self, status, message):
        self.answer(status, {}, {"error": {"code": status, "message": message, "errors": [{"message": message}]}})

    def reset(self):
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


class GcsServer(ThreadingHTTPServer):
    """The server; `faults` may be added at any time, `requests` is what came."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *buckets, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.objects = Objects(set(buckets or ["bucket"]))
        self.faults, self.requests = [], []
        self.lock = threading.RLock()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, *_):
        """A client that went away, as the faults make it do, is nothing to tell."""

    def met(self, request):
        """Note a request; returns what goes wrong with it."""
        with self.lock:
            self.requests.append(request)
            return next((fault.action for fault in self.faults if fault.hits(request.kind, request.name)), None)

    def names(self, bucket="bucket"):
        """Names of all objects."""
        return sorted(name for where, name in self.objects.resources if where == bucket)

    def put(self, name, data, bucket="bucket"):
        """Write an object, whatever is there."""
        with self.lock:
            return self.objects.write(bucket, {"name": name}, {}, data)

    def put_folder(self, folder, prefix):
        """Write every file below a folder."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def downloads(self):
        """Names of the objects that were read, sorted."""
        return sorted(request.name for request in self.requests if request.kind == "read")


if __name__ == "__main__":
    given = GcsServer(port=int(sys.argv[1]))
    print(f"export STORAGE_EMULATOR_HOST={given.url}   # the bucket is gs://bucket", flush=True)
    given.serve_forever()
