"""What the servers of buckets have in common: HTTP on loopback, a record of requests, faults on request."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import NamedTuple

from servers.faults import Action, Fault, Request
from servers.loopback import LoopbackServer


class Response(NamedTuple):
    body: bytes
    status: int = 200
    headers: Mapping[str, str] = {}


class BucketHandler(BaseHTTPRequestHandler):
    """Makes the faults; a subclass says what a request is, and answers it."""

    server: BucketServer
    protocol_version = "HTTP/1.1"
    fault: Action | None = None  # of the request that is answered

    def log_message(self, *_: object) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        self.serve()

    def do_HEAD(self) -> None:
        self.serve()

    def do_POST(self) -> None:
        self.serve()

    def do_PUT(self) -> None:
        self.serve()

    def do_DELETE(self) -> None:
        self.serve()

    def serve(self) -> None:
        """Answer a request of any method."""
        raise NotImplementedError

    def handle_request(self, kind: str, name: str) -> bool:
        """Record a request and make its fault, as far as it comes before an answer; returns whether to answer."""
        self.fault = self.server.receive(Request(kind, name, dict(self.headers)))
        if isinstance(self.fault, float):
            time.sleep(self.fault)
        elif isinstance(self.fault, int):
            self.refuse(self.fault, "injected")
            return False
        elif self.fault == "reset":
            self.reset()
            return False
        return True

    def refuse(self, status: int, message: str) -> None:
        """Send an error as the service does."""
        raise NotImplementedError

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def damaged(self, data: bytes) -> bytes:
        """The data, with one bit flipped if the fault is "corrupt"."""
        return bytes([data[0] ^ 1]) + data[1:] if self.fault == "corrupt" and data else data

    def send(self, response: Response) -> None:
        """Send an answer; half of it if the fault is "truncate", none if it is "lost"."""
        if self.fault == "lost":
            self.reset()
            return
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in response.headers:
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(response.body[: len(response.body) // 2] if self.fault == "truncate" else response.body)
        if self.fault == "truncate":
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


class BucketServer(LoopbackServer):
    """The server; `faults` may be added at any time, `requests` are those that arrived."""

    request_queue_size = 64
    scheme = ""

    def __init__(self, handler: type[BucketHandler], port: int = 0) -> None:
        super().__init__(handler, port)
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.page_size: int | None = None  # of listings; the service's own, if None
        self.lock = threading.RLock()
        self.uri = f"{self.scheme}://bucket"

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which a client comes here."""
        raise NotImplementedError

    def handle_error(self, *_: object) -> None:
        """Print nothing: the faults make clients close their connections."""

    def receive(self, request: Request) -> Action | None:
        """Record a request; returns the action of the fault that happens to it, None if there is none."""
        with self.lock:
            self.requests.append(request)
            return next((fault.action for fault in self.faults if fault.hits(request.kind, request.name)), None)

    def names(self) -> list[str]:
        """Names of all objects, sorted."""
        raise NotImplementedError

    def data(self, name: str) -> bytes:
        """Bytes of an object."""
        raise NotImplementedError

    def generation(self, name: str) -> int | str:
        """Which writing of an object is there."""
        raise NotImplementedError

    def put(self, name: str, data: bytes) -> None:
        """Write an object, or replace it."""
        raise NotImplementedError

    def remove(self, name: str) -> None:
        """Delete an object."""
        raise NotImplementedError

    def put_folder(self, folder: Path, prefix: str) -> None:
        """Write every file below a folder."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def downloads(self) -> list[str]:
        """Names of the objects that were read, sorted."""
        return sorted(request.name for request in self.requests if request.kind == "read")
