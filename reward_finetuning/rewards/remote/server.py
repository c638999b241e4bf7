"""A small server for one scorer, in the words of wire.py: standard library, one process, one scorer at a time.

It has no passwords and no TLS: it listens on loopback unless told otherwise, and belongs behind a cluster's own network
rules. Nothing that it reads can run code.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from reward_finetuning.config.errors import TrainingError, UserError
from reward_finetuning.rewards.checked import one_score_each
from reward_finetuning.rewards.protocol import Scorer
from reward_finetuning.rewards.remote.wire import HEALTH, SCORE, SCORER, WireError, decode_request, encode_scores

MAX_BODY_BYTES = 256 * 2**20
MAX_WAITING = 8
"""Requests in hand, the one that is scored included; each holds its pictures in memory."""

SOCKET_TIMEOUT_SECONDS = 20.0
"""Longest silence of a client; also the longest that an idle one can delay the end."""


@dataclass(frozen=True, slots=True)
class Served:
    """What is served."""

    name: str
    digest: str
    scorer: Scorer


class ScoringServer(ThreadingHTTPServer):
    """Serves one scorer until it is shut down; requests in hand are finished."""

    daemon_threads = False
    request_queue_size = 64

    def __init__(self, host: str, port: int, served: Served) -> None:
        super().__init__((host, port), _Handler)
        self.served = served
        self.one_at_a_time = threading.Lock()
        self.room = threading.BoundedSemaphore(MAX_WAITING)

    def serve_until_told(self) -> None:
        """Serve until SIGTERM or SIGINT, finish what is in hand, and return."""
        for number in (signal.SIGTERM, signal.SIGINT):
            # shutdown() waits for the loop that this very thread runs, so another has to call it.
            signal.signal(number, lambda *_: threading.Thread(target=self.shutdown).start())
        self.serve_forever(poll_interval=0.1)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: ScoringServer
    protocol_version = "HTTP/1.1"
    timeout = SOCKET_TIMEOUT_SECONDS

    def do_GET(self) -> None:
        served = self.server.served
        if self.path == HEALTH:
            self._answer(200, b'{"status": "ok"}')
        elif self.path == SCORER:
            self._answer(200, json.dumps({"name": served.name, "digest": served.digest}).encode())
        else:
            self._refuse(404, f"ask for {HEALTH}, {SCORER} or {SCORE}")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.path != SCORE:
            self._refuse(404, f"pictures go to {SCORE}")
        elif not length.isdecimal():
            self._refuse(411, "Content-Length is needed")
        elif int(length) > MAX_BODY_BYTES:
            self._refuse(413, f"{length} bytes; at most {MAX_BODY_BYTES} are read, send fewer pictures at once")
        else:
            with self._room() as there_is:
                if there_is:
                    self._score(int(length))

    def _score(self, length: int) -> None:
        body = self.rfile.read(length)
        if len(body) < length:
            self._refuse(400, f"{len(body)} bytes of {length} arrived")
            return
        try:
            images, prompts = decode_request(body)
        except WireError as error:
            self._refuse(400, str(error))
            return
        served = self.server.served
        try:
            with self.server.one_at_a_time:
                scores = one_score_each(served.name, served.scorer(images, prompts), len(prompts))
        except (UserError, TrainingError) as error:
            self._refuse(422, str(error))
        except Exception as error:  # noqa: BLE001 one request must not end the service
            self._refuse(500, f"{type(error).__name__}: {error}")
        else:
            self._answer(200, encode_scores(scores, served.digest))

    @contextmanager
    def _room(self) -> Iterator[bool]:
        if not self.server.room.acquire(blocking=False):
            self._refuse(503, f"{MAX_WAITING} requests are in hand", {"Retry-After": "1"})
            yield False
            return
        try:
            yield True
        finally:
            self.server.room.release()

    def _refuse(self, status: int, why: str, headers: dict[str, str] | None = None) -> None:
        print(f"{self.command} {self.path} -> {status}: {why}", file=sys.stderr, flush=True)
        self._answer(status, json.dumps({"error": why}).encode(), headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        known = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        for key, value in {**known, **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: Any, **__: Any) -> None:
        """Refusals are logged where they are made; a line for every health probe would hide them."""
