"""Servers that fail at random all along: Google Cloud Storage, and a proxy in front of a real MLflow server.

    PYTHONPATH=tests python -m chaos.servers --seed 1 --rate 0.1 --upstream http://127.0.0.1:5000 --log faults.txt

Prints the address of both, and appends a line to the log for each fault.
"""

from __future__ import annotations

import argparse
import http.client
import random
import socket
import struct
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from servers.faults import Action, Request
from servers.gcs import GcsServer

ANYWHERE: tuple[Action, ...] = (500, 503, 429, "reset", "lost", "truncate", 0.2, 1.0)
"""Refused; reset before or after the work was done; half an answer; slow."""

ON_DATA: tuple[Action, ...] = (*ANYWHERE, "corrupt")
"""Also a flipped bit, in what is uploaded or read."""

NEVER_MORE_THAN = 2
"""Faults in a row of one kind of request: what fails for ever is another test."""


class Dice:
    """Decides which request fails, and how; the same seed decides the same for the same order of requests."""

    def __init__(self, seed: int, rate: float, log: Path) -> None:
        self._random, self._rate, self._log = random.Random(seed), rate, log
        self._in_a_row: dict[str, int] = {}
        self._lock = threading.Lock()

    def throw(self, server: str, kind: str, actions: tuple[Action, ...]) -> Action | None:
        """The fault of a request; None if it has none."""
        with self._lock:
            key = f"{server} {kind}"
            row = self._in_a_row.get(key, 0)
            if row >= NEVER_MORE_THAN or self._random.random() >= self._rate:
                self._in_a_row[key] = 0
                return None
            self._in_a_row[key] = row + 1
            action = self._random.choice(actions)
            with self._log.open("a") as file:
                file.write(f"{server} {kind} {'slow' if isinstance(action, float) else action}\n")
            return action


class ChaosGcs(GcsServer):
    """A bucket behind a bad network."""

    def __init__(self, dice: Dice) -> None:
        super().__init__()
        self._dice = dice

    def receive(self, request: Request) -> Action | None:
        """See GcsServer."""
        has_data = request.kind in {"upload", "chunk", "read"}
        return self._dice.throw("gcs", request.kind, ON_DATA if has_data else ANYWHERE)


class Proxy(ThreadingHTTPServer):
    """Passes requests on to MLflow, and some of its answers back."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, dice: Dice, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.dice, self.upstream = dice, urllib.parse.urlsplit(upstream)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Print nothing: the faults make clients close their connections."""


class _Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.dice.throw("mlflow", self.command, ANYWHERE)
        if isinstance(fault, float):
            time.sleep(fault)
        if isinstance(fault, int):
            return self._answer(fault, {}, b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "injected"}')
        if fault == "reset":
            return self._reset()
        status, headers, content = self._forward(body)
        if fault == "lost":
            return self._reset()
        return self._answer(status, headers, content, half=fault == "truncate")

    def do_POST(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def do_PATCH(self) -> None:
        self.do_GET()

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        upstream = self.server.upstream
        connection = http.client.HTTPConnection(upstream.hostname or "", upstream.port, timeout=120)
        headers = {key: value for key, value in self.headers.items() if key.lower() not in {"host", "connection"}}
        connection.request(self.command, self.path, body, headers)
        response = connection.getresponse()
        kept = {"content-type", "content-encoding", "content-disposition", "etag"}
        content = response.read()
        connection.close()
        return response.status, {k: v for k, v in response.getheaders() if k.lower() in kept}, content

    def _answer(self, status: int, headers: dict[str, str], content: bytes, *, half: bool = False) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if half else content)
        if half:
            self.wfile.flush()
            self._reset()

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--log", type=Path, required=True)
    options = parser.parse_args()
    dice = Dice(options.seed, options.rate, options.log)
    gcs, proxy = ChaosGcs(dice), Proxy(dice, options.upstream)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    print(gcs.url, proxy.url, flush=True)
    gcs.serve_forever()


if __name__ == "__main__":
    main()
