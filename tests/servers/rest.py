"""An HTTP server on loopback whose routes are the methods of a class; what can go wrong on the way, on request."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from servers.loopback import LoopbackServer

JsonObject = dict[str, Any]
Query = dict[str, str]
"""Parameters of a request's URL."""


class Multipart(NamedTuple):
    """A body that is no JSON."""

    content_type: str
    data: bytes


class PlainText(str):
    """An answer that is no JSON."""


class RestError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    server: RestServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content_type = self.headers.get("Content-Type", "")
        body = Multipart(content_type, data) if "multipart" in content_type else json.loads(data or b"null")
        try:
            status, text = 200, self.server.answer(self.command, self.path, self.headers["Authorization"], body)
        except RestError as error:
            status, text = error.status, json.dumps(self.server.error(error.status, str(error)))
        if self.server.lose_next_answer_to == self.command:
            self.server.lose_next_answer_to = None
            self.close_connection = True
            return
        answer = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_POST(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def do_PATCH(self) -> None:
        self.do_GET()


class RestServer(LoopbackServer):
    """Serves `routes`: (method, path pattern) -> name of a method (groups, query, body) -> JSON object.

    The body of a request is a JSON object, None if there is none, or Multipart.
    """

    def __init__(self, routes: Mapping[tuple[str, str], str]) -> None:
        super().__init__(Handler)
        self._routes = routes
        self.requests: list[tuple[str, str, str | None]] = []  # (method, path, Authorization)
        self.token: str | None = None  # required of every request
        self.failures: list[tuple[int, str]] = []  # (status, message) of the next answers
        self.refuse_next: str | None = None  # method: answered with 503
        self.lose_next_answer_to: str | None = None  # method: done, but the connection breaks before the answer
        self.lock = threading.RLock()

    def error(self, status: int, message: str) -> JsonObject:
        """The body of an error."""
        return {"code": status, "message": message}

    def answer(self, method: str, url: str, authorization: str | None, body: JsonObject | Multipart | None) -> str:
        """Do what a request asks for; returns the text of the answer."""
        parts = urlsplit(url)
        self.requests.append((method, parts.path, authorization))
        if self.failures:
            raise RestError(*self.failures.pop(0))
        if self.refuse_next == method:
            self.refuse_next = None
            raise RestError(503, "try again")
        if self.token and authorization != f"Bearer {self.token}":
            raise RestError(401, "Unauthenticated: the token is missing or unknown")
        for (verb, pattern), name in self._routes.items():
            match = re.fullmatch(pattern, parts.path)
            if match and verb == method:
                with self.lock:
                    answer = getattr(self, name)(*match.groups(), query=dict(parse_qsl(parts.query)), body=body)
                    return answer if isinstance(answer, PlainText) else json.dumps(answer)
        raise RestError(404, f"no route {method} {parts.path}")


def now() -> str:
    """As JSON of protocol buffers has it."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
