"""Sockets with a deadline for everything that is read and sent, not for one read.

The timeout of a socket bounds one read. A peer that sends a byte per second never exceeds it, and keeps its connection
for hours. Neither urllib3 nor http.server has a timeout for a whole request.
"""

from __future__ import annotations

import math
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

_LEAST_SECONDS = 1e-3  # a timeout of 0 would make the socket non-blocking

if TYPE_CHECKING:
    _Base = socket.socket
else:
    _Base = object


class _WithDeadline(_Base):
    """Gives each read and each write the time that is left.

    Raises:
        TimeoutError: by every method that reads or writes after the deadline.
    """

    deadline: float = math.inf
    """On the clock of time.monotonic."""

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        self._limit()
        return super().recv_into(*arguments, **options)

    def send(self, *arguments: Any, **options: Any) -> int:
        self._limit()
        return super().send(*arguments, **options)

    def sendall(self, *arguments: Any, **options: Any) -> None:
        self._limit()
        super().sendall(*arguments, **options)

    def _limit(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        if math.isfinite(left):
            self.settimeout(max(left, _LEAST_SECONDS))


class DeadlineSocket(_WithDeadline, socket.socket):
    """A socket with a deadline."""

    @classmethod
    def of(cls, connected: socket.socket) -> DeadlineSocket:
        """A connected socket as one with a deadline; the given object is closed by it."""
        timeout = connected.gettimeout()
        made = cls(fileno=connected.detach())
        made.settimeout(timeout)
        return made


class DeadlineTlsSocket(_WithDeadline, ssl.SSLSocket):
    """A TLS socket with a deadline, made by a context of `with_deadlines`."""


def with_deadlines(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same context; the sockets that it wraps are DeadlineTlsSockets."""
    context.sslsocket_class = DeadlineTlsSocket
    return context
