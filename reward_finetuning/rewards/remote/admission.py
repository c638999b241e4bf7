"""Which connections a server keeps: bounded in number and in bytes, so that no client can shut out the others.

When there is no room, the connection goes whose request has been arriving for the longest time. A client that sends its
request at once is never that one.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

MAX_CONNECTIONS = 256
"""Each has a thread, which waits in a read for most of its time."""

MAX_BODY_MEMORY = 320 * 2**20
"""Bytes of all requests that have arrived, wholly or in part, and are not answered yet."""


class NoRoomError(Exception):
    """Requests that have arrived whole take all the room; another try may find some."""


@dataclass(eq=False, slots=True)
class Connection:
    """An open connection."""

    socket: socket.socket
    arriving: bool = True
    """Whether its request is not whole yet."""

    held_bytes: int = 0


class Admission:
    """The open connections of a server, the oldest first."""

    def __init__(self) -> None:
        self._connections: dict[Connection, None] = {}
        self._changed = threading.Condition()
        self._draining = False

    @contextmanager
    def connected(self, connected: socket.socket) -> Iterator[Connection]:
        """Count a connection while it is open."""
        connection = Connection(connected)
        with self._changed:
            self._connections[connection] = None
            if len(self._connections) > MAX_CONNECTIONS:
                self._drop_oldest(but=connection)
            if self._draining:
                _hang_up(connection)
        try:
            yield connection
        finally:
            with self._changed:
                del self._connections[connection]
                self._changed.notify_all()

    def hold(self, connection: Connection, num_bytes: int) -> None:
        """Count bytes of its request that have arrived.

        Raises:
            NoRoomError: there is no room for them, and nothing unfinished to drop.
        """
        with self._changed:
            connection.held_bytes += num_bytes
            while sum(each.held_bytes for each in self._connections) > MAX_BODY_MEMORY:
                if not self._drop_oldest(but=connection):
                    connection.held_bytes = 0
                    raise NoRoomError("requests in hand take all the memory")

    def arrived(self, connection: Connection) -> None:
        """Its request is whole: from now on it is never dropped."""
        with self._changed:
            connection.arriving = False

    def drain(self, seconds: float) -> int:
        """Wait until the requests that have arrived are answered; the others are dropped at once.

        Returns:
            How many were not answered within `seconds`; they are dropped too.
        """
        until = time.monotonic() + seconds
        with self._changed:
            self._draining = True
            for connection in self._connections:
                if connection.arriving:
                    _hang_up(connection)
            while (left := until - time.monotonic()) > 0 and self._connections:
                self._changed.wait(left)
            unanswered = [each for each in self._connections if not each.arriving]
            for connection in self._connections:
                _hang_up(connection)
        return len(unanswered)

    def _drop_oldest(self, *, but: Connection) -> bool:
        """Drop the connection whose request has been arriving the longest; False where there is none."""
        oldest = next((each for each in self._connections if each.arriving and each is not but), None)
        if oldest is None:
            return False
        oldest.arriving, oldest.held_bytes = False, 0
        _hang_up(oldest)
        return True


def _hang_up(connection: Connection) -> None:
    """Wake its thread: whatever it reads or writes next fails."""
    with suppress(OSError):
        # Not the method of a TLS socket, which takes the TLS state away from the thread that is reading.
        socket.socket.shutdown(connection.socket, socket.SHUT_RDWR)
