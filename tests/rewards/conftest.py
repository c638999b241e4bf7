"""Real servers on loopback."""

import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from reward_finetuning.rewards import http
from reward_finetuning.rewards.server import ScoringServer, Served


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(http, "FIRST_PAUSE_SECONDS", 0.01)


@contextmanager
def running(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def scripted():
    """A server that does, request after request, what a list of functions of the handler says; the last one again."""

    @contextmanager
    def start(*script):
        seen = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                page = b"<html>welcome</html>"
                self.respond(200, page if self.path.startswith("/web") else b'{"name": "scripted", "digest": "d"}')

            def do_POST(self):
                seen.append(self.rfile.read(int(self.headers["Content-Length"])))
                script[min(len(seen), len(script)) - 1](self)

            def respond(self, status, body, **headers):
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(key.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        with running(server) as url:
            yield url, seen

    return start


@pytest.fixture
def serving():
    """One of our own servers, in this process."""

    @contextmanager
    def start(scorer, name="served", digest="d"):
        with running(ScoringServer("127.0.0.1", 0, Served(name, digest, scorer))) as url:
            yield url

    return start


@pytest.fixture
def rft_serve():
    """`rft serve-rewards` as a process; yields it and the address that it prints."""

    @contextmanager
    def start(*arguments, **options):
        command = [sys.executable, "-m", "pipelines.cli", "serve-rewards", *arguments, "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) as process:
            try:
                line = process.stdout.readline()
                yield process, next((word for word in line.split() if word.startswith("http")), line)
            finally:
                process.kill()

    return start
