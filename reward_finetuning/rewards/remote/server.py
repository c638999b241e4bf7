"""A small server for one scorer, with the messages of wire.py: standard library, one process, one scorer at a time.

It may be reached by anyone: what a request can cost in memory, time and connections is bounded before the request is
read, and nothing that it reads can run code. A token and TLS are options. Why no ASGI server: see docs/decisions/0008.
"""

from __future__ import annotations

import hmac
import json
import signal
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.config.errors import TrainingError, UserError
from reward_finetuning.rewards.checked import one_score_each
from reward_finetuning.rewards.protocol import Scorer
from reward_finetuning.rewards.remote.admission import Admission, Connection, NoRoomError
from reward_finetuning.rewards.remote.deadlines import DeadlineSocket, DeadlineTlsSocket, with_deadlines
from reward_finetuning.rewards.remote.turns import Turns
from reward_finetuning.rewards.remote.wire import (
    HEALTH,
    MAX_PIXELS,
    SCORE,
    SCORER,
    Request,
    WireError,
    encode_scores,
    parse_request,
)
from reward_finetuning.server_errors import one_line

MAX_BODY_BYTES = 4 * MAX_PIXELS
"""Three bytes per pixel in base64: pictures that do not compress at all."""

MAX_WAITING = 32
"""Requests in hand, the one that is scored included."""

MAX_DECODED = 2
"""Requests whose pictures are in memory: one is scored while the next is decoded."""

PIXELS_PER_SECOND = 2**23
"""What a request is estimated to cost, for its turn."""

REQUEST_SECONDS = 20.0
"""From the connection until the request is whole; and again for the answer."""

DRAIN_SECONDS = 18.0
"""From SIGTERM until the server returns, whatever is still in hand; Kubernetes kills after 30 seconds."""

_BLOCK = 2**18  # bytes of a body that are read at once


@dataclass(frozen=True, slots=True)
class Served:
    """What is served, and to whom."""

    name: str
    digest: str
    scorer: Scorer
    token: str | None = None
    """Wanted as the bearer token of every request but health checks; None: anyone may ask."""

    tls: ssl.SSLContext | None = None


class _ScorerError(Exception):
    """The scorer failed on a request; one request must not end the service."""


class ScoringServer(ThreadingHTTPServer):
    """Serves one scorer until it is shut down; requests in hand are finished."""

    daemon_threads = True  # `drain` waits for them, not for ever
    block_on_close = False
    request_queue_size = 128

    def __init__(self, host: str, port: int, served: Served) -> None:
        super().__init__((host, port), _Handler)
        self.served = served
        self.admission = Admission()
        self.waiting = threading.BoundedSemaphore(MAX_WAITING)
        self.decoded = threading.BoundedSemaphore(MAX_DECODED)
        self.turns, self.one_scores = Turns(), threading.Lock()
        if served.tls is not None:
            with_deadlines(served.tls)

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection. A TLS handshake happens at the first read, in the connection's own thread."""
        accepted, address = super().get_request()
        if self.served.tls is None:
            return DeadlineSocket.of(accepted), address
        wrapped = self.served.tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def serve_until_signal(self) -> int:
        """Serve until SIGTERM or SIGINT, then finish the requests that have arrived, for at most DRAIN_SECONDS.

        Returns:
            How many requests were not answered.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            # shutdown() waits for the loop that this very thread runs, so another has to call it.
            signal.signal(number, lambda *_: threading.Thread(target=self.shutdown).start())
        self.serve_forever(poll_interval=0.1)
        self.server_close()
        return self.admission.drain(DRAIN_SECONDS)

    def handle_error(self, request: object, client_address: object) -> None:
        """Print one line; the service continues. A client that leaves is no news."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            print(f"{type(error).__name__}: {one_line(error)}", file=sys.stderr, flush=True)


class _Handler(BaseHTTPRequestHandler):
    server: ScoringServer
    connection: DeadlineSocket | DeadlineTlsSocket
    protocol_version = "HTTP/1.1"
    admitted: Connection

    def handle(self) -> None:
        self.connection.deadline = time.monotonic() + REQUEST_SECONDS
        with self.server.admission.connected(self.connection) as self.admitted:
            super().handle()

    def do_GET(self) -> None:
        served = self.server.served
        if self.path == HEALTH:
            self._answer(200, b'{"status": "ok"}')
        elif not self._is_authorized():
            self._refuse(401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        elif self.path == SCORER:
            self._answer(200, json.dumps({"name": served.name, "digest": served.digest}).encode())
        else:
            self._refuse(404, f"ask for {HEALTH}, {SCORER} or {SCORE}")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not self._is_authorized():
            self._refuse(401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        elif self.path != SCORE:
            self._refuse(404, f"pictures go to {SCORE}")
        elif not (length.isascii() and length.isdecimal()):
            self._refuse(411, "Content-Length is needed")
        elif len(length) > 15 or int(length) > MAX_BODY_BYTES:
            self._refuse(413, f"{length} bytes; at most {MAX_BODY_BYTES} are read, send fewer pictures at once")
        else:
            self._score(int(length))

    def _score(self, length: int) -> None:
        try:
            request = parse_request(self._body(length))
            with self._in_hand():
                scores = self._scores_of(request)
        except NoRoomError as error:
            self._refuse(503, str(error), {"Retry-After": "1"})
        except WireError as error:
            self._refuse(400, str(error))
        except _ScorerError as error:
            cause = error.__cause__
            assert cause is not None
            permanent = isinstance(cause, UserError | TrainingError)
            self._refuse(422 if permanent else 500, str(cause) if permanent else f"{type(cause).__name__}: {cause}")
        else:
            self._answer(200, encode_scores(scores, self.server.served.digest))

    def _scores_of(self, request: Request) -> NDArray[np.float64]:
        """Scores [B] of a request, when it has its turn.

        Raises:
            WireError: the request cannot be read.
            _ScorerError: the scorer fails, from its error.
        """
        served, decoded = self.server.served, self.server.decoded
        with self.server.turns.turn(request.num_pixels / PIXELS_PER_SECOND):
            decoded.acquire()
            try:
                images = request.pictures()
            except BaseException:
                decoded.release()
                raise
        try:
            with self.server.one_scores:
                scores = served.scorer(images, list(request.prompts))
            return one_score_each(served.name, scores, len(request.prompts))
        except Exception as error:
            raise _ScorerError from error
        finally:
            decoded.release()

    def _body(self, length: int) -> bytearray:
        """The request's body, whole.

        Raises:
            NoRoomError: the server holds too much already.
            WireError: the client ends the body early.
        """
        body = bytearray()
        while len(body) < length:
            block = self.rfile.read1(min(_BLOCK, length - len(body)))
            if not block:
                raise WireError(f"{len(body)} bytes of {length} arrived")
            self.server.admission.hold(self.admitted, len(block))
            body += block
        self.server.admission.arrived(self.admitted)
        return body

    @contextmanager
    def _in_hand(self) -> Iterator[None]:
        """Room to wait for the scorer."""
        if not self.server.waiting.acquire(blocking=False):
            raise NoRoomError(f"{MAX_WAITING} requests are in hand")
        try:
            yield
        finally:
            self.server.waiting.release()

    def _is_authorized(self) -> bool:
        token = self.server.served.token
        if token is None:
            return True
        given = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        return hmac.compare_digest(given.encode(errors="replace"), token.encode())

    def _refuse(self, status: int, why: str, headers: Mapping[str, str] | None = None) -> None:
        print(one_line(f"{self.command} {self.path} -> {status}: {why}"), file=sys.stderr, flush=True)
        self._answer(status, json.dumps({"error": one_line(why)}).encode(), headers)

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.connection.deadline = time.monotonic() + REQUEST_SECONDS
        self.send_response(status)
        common = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        for key, value in {**common, **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: Any, **__: Any) -> None:
        """Refusals are logged where they are made; a line for every health probe would hide them."""
