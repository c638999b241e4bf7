"""An HTTP server on loopback whose routes are the methods of a class; what can go wrong on the way, on request."""

import json
import re
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


class PlainText(str):
    """An answer that is no JSON."""


class RestError(Exception):
    """An answer other than 200."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class RestServer:
    """Serves `routes`: (method, path pattern) -> name of a method (groups, query, body) -> JSON object."""

    def __init__(self, routes):
        self._routes = routes
        self.requests = []  # (method, path, Authorization)
        self.token = None  # required of every request
        self.failures = []  # (status, message) of the next answers
        self.refuse_next = None  # method: answered with 503
        self.lose_next_answer_to = None  # method: done, but the connection breaks before the answer
        self.lock = threading.RLock()

    def __enter__(self):
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()

    def error(self, status, message):
        """The body of an error."""
        return {"code": status, "message": message}

    def _answer(self, method, url, authorization, body):
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

    def _handler(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _do(self):
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                kind = self.headers.get("Content-Type", "")
                body = (kind, raw) if "multipart" in kind else json.loads(raw or b"null")
                try:
                    status, told = 200, server._answer(self.command, self.path, self.headers["Authorization"], body)
                except RestError as error:
                    status, told = error.status, json.dumps(server.error(error.status, str(error)))
                if server.lose_next_answer_to == self.command:
                    server.lose_next_answer_to = None
                    self.close_connection = True
                    return
                answer = told.encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        for method in ("GET", "POST", "DELETE", "PATCH"):
            setattr(Handler, f"do_{method}", Handler._do)  # the names that http.server calls
        return Handler


def now():
    """As JSON of protocol buffers has it."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
