"""Whose turn it is: cheap requests go before expensive ones, which are never put off for ever."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock with a queue. Its order is the time at which a request would be done if it had begun on arrival.

    So a request overtakes those that cost more, as long as they have not waited for longer than the difference.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: list[tuple[float, int]] = []
        self._numbers = itertools.count()
        self._taken = False

    @contextmanager
    def turn(self, seconds: float) -> Iterator[None]:
        """Hold the lock.

        Args:
            seconds: that the request is estimated to take.
        """
        place = (time.monotonic() + seconds, next(self._numbers))
        with self._changed:
            heapq.heappush(self._queue, place)
            while self._taken or self._queue[0] != place:
                self._changed.wait()
            heapq.heappop(self._queue)
            self._taken = True
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()
