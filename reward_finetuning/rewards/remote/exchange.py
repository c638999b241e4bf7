"""One HTTP request and its answer, with a deadline for the whole of it and a bound on the answer's size."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import IncompleteRead, LocationValueError, SSLError

from reward_finetuning.config.errors import UserError
from reward_finetuning.rewards.remote.deadlines import DeadlineSocket, DeadlineTlsSocket, with_deadlines
from reward_finetuning.server_errors import one_line

if TYPE_CHECKING:
    import socket

    _Base = HTTPConnection
else:
    _Base = object

MAX_ANSWER_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer, whole."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


def exchange(url: str, method: str, path: str, body: bytes, seconds: float, token: str | None = None) -> Answer:
    """Send one request over a new connection.

    Args:
        url: of the server; what it has after the host comes before `path`.
        method: of HTTP.
        path: below `url`.
        body: JSON, or empty.
        seconds: to connect; and again, from then on, until the answer is whole.
        token: sent as the bearer token of the request.

    Raises:
        UserError: the host cannot be one, its certificate is not trusted, or the answer is larger than
            MAX_ANSWER_BYTES.
        urllib3.exceptions.HTTPError: there is no answer, or half of one.
    """
    place = urlsplit(url)
    headers = {"Content-Type": "application/json", "Connection": "close"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    try:
        with _pool(place.scheme, place.hostname or "", place.port) as pool:
            response = pool.urlopen(
                method,
                place.path.rstrip("/") + path,
                body,
                headers,
                retries=False,
                redirect=False,
                timeout=seconds,
                preload_content=False,
            )
            content = response.read(MAX_ANSWER_BYTES + 1, decode_content=False)
            if response.length_remaining and len(content) <= MAX_ANSWER_BYTES:
                raise IncompleteRead(len(content), response.length_remaining)
    except LocationValueError as error:
        raise UserError(f"{url} is no address of a server: {one_line(error)}") from None
    except SSLError as error:
        reason = error.args[0] if error.args else error
        if not isinstance(reason, ssl.SSLCertVerificationError):
            raise
        raise UserError(f"{url} has no certificate that is trusted here: {reason.verify_message}") from None
    if len(content) > MAX_ANSWER_BYTES:
        raise UserError(f"{url}{path} answered more than {MAX_ANSWER_BYTES} bytes: that is no list of scores")
    return Answer(response.status, response.reason or "", response.headers, content)


class _WithDeadline(_Base):
    """Begins the deadline of its socket when it is connected."""

    def _new_conn(self) -> socket.socket:
        return DeadlineSocket.of(super()._new_conn())

    def connect(self) -> None:
        super().connect()
        assert isinstance(self.sock, DeadlineSocket | DeadlineTlsSocket)
        assert isinstance(self.timeout, int | float)
        self.sock.deadline = time.monotonic() + self.timeout


class _HttpConnection(_WithDeadline, HTTPConnection):
    pass


class _HttpsConnection(_WithDeadline, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


def _pool(scheme: str, host: str, port: int | None) -> HTTPConnectionPool:
    if scheme == "https":
        return _HttpsPool(host, port, ssl_context=with_deadlines(ssl.create_default_context()))
    return _HttpPool(host, port)
