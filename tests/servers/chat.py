"""A server of the chat completions protocol on loopback: it sees the pictures, and answers as it is told to."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from servers.loopback import LoopbackServer

Picture = NDArray[np.uint8]
Judge = Callable[[str, list[Picture]], str]
"""(question, pictures) -> text of the answer."""

_KEYS = {"model", "messages", "max_tokens", "max_completion_tokens", "temperature"}


@dataclass
class Fault:
    """An answer of this status in the place of a completion."""

    status: int
    body: bytes = b'{"error": {"message": "busy"}}'
    headers: dict[str, str] = field(default_factory=dict)


class ChatServer(LoopbackServer):
    """Serves http://127.0.0.1:PORT/v1/chat/completions; a request that breaks the protocol is answered with 400.

    faults: answers of the next requests.
    seen: bodies of the requests that were answered with a completion.
    """

    def __init__(self, judge: Judge, key: str = "") -> None:
        super().__init__(_Handler)
        self.url += "/v1"
        self.judge, self.key = judge, key
        self.faults: list[Fault] = []
        self.seen: list[dict[str, Any]] = []


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.faults:
            fault = self.server.faults.pop(0)
            self._answer(fault.status, fault.body, fault.headers)
            return
        if self.server.key and self.headers["Authorization"] != f"Bearer {self.server.key}":
            self._error(401, f"Incorrect API key provided: {self.headers['Authorization']}")
            return
        try:
            assert self.path == "/v1/chat/completions", self.path
            request = json.loads(body)
            assert request.keys() <= _KEYS, request.keys()
            (message,) = request["messages"]
            assert message["role"] == "user"
            text, *images = message["content"]
            answer = self.server.judge(text["text"], [_picture(image) for image in images])
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            self._error(400, f"{type(error).__name__}: {error}")
            return
        self.server.seen.append(request)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer}}
        usage = {"prompt_tokens": 100 * len(images), "completion_tokens": 10, "total_tokens": 100 * len(images) + 10}
        completion = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": request["model"]}
        self._answer(200, json.dumps({**completion, "choices": [choice], "usage": usage}).encode(), {})

    def _error(self, status: int, message: str) -> None:
        error = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
        self._answer(status, json.dumps(error).encode(), {})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def _picture(part: dict[str, Any]) -> Picture:
    assert part["type"] == "image_url"
    header, data = part["image_url"]["url"].split(",")
    assert header == "data:image/png;base64", header
    return np.asarray(Image.open(BytesIO(b64decode(data, validate=True))))
