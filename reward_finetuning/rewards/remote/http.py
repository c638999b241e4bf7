"""A scorer that a server gives: for reward models that a team serves already, or whose packages do not fit ours.

The words are wire.py's; `rft serve-rewards` speaks them for any of our scorers. Proxies are not used.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from threading import Event, Timer
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from reward_finetuning.config.errors import RetryableError, UserError
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards.function import differing
from reward_finetuning.rewards.protocol import Scorer
from reward_finetuning.server_errors import is_retryable, one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 60.0
MAX_ANSWER_BYTES = 16 * 2**20

T = TypeVar("T")


class _PassingError(Exception):
    """A failure that another try may not meet."""

    def __init__(self, text: str, wait_seconds: float = 0.0) -> None:
        super().__init__(text)
        self.wait_seconds = wait_seconds


def check(settings: ScorerConfig) -> None:
    """Refuse an address that cannot be one, and settings that are the server's; nothing is sent."""
    url = urlsplit(settings.url or "")
    try:
        whole = url.scheme in {"http", "https"} and url.hostname and url.port != 0 and not (url.query or url.fragment)
    except ValueError:  # a port that is no number
        whole = False
    if not whole:
        raise UserError(f"a served scorer's url is written http://HOST:PORT or https://HOST, got {settings.url!r}")
    own = {"url": settings.url, "timeout_seconds": settings.timeout_seconds, "retries": settings.retries}
    if given := differing(settings, ScorerConfig.model_validate(own)):
        raise UserError(f"the scorer at {settings.url} has its {', '.join(given)} where it is served, not here")


def digest(settings: ScorerConfig) -> str:
    """What the server says of its weights.

    Raises:
        UserError: what answers is no scorer.
        RetryableError: nothing answers.
    """
    from reward_finetuning.rewards.remote.wire import SCORER, WireError, decode_description

    try:
        return _ask(settings, "GET", SCORER, b"", decode_description)[1]
    except WireError as error:
        raise UserError(f"what answers at {settings.url}{SCORER} is no scorer of this protocol: {error}") from None


def load(settings: ScorerConfig) -> Scorer:
    """A scorer that asks the server."""
    return _ServedScorer(settings, digest(settings))


@dataclass(frozen=True, slots=True)
class _ServedScorer:
    settings: ScorerConfig
    digest: str

    def __call__(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        import numpy as np

        from reward_finetuning.rewards.remote.wire import SCORE, encode_request

        return np.asarray(_ask(self.settings, "POST", SCORE, encode_request(images, prompts), self._scores))

    def _scores(self, answer: bytes) -> list[float]:
        from reward_finetuning.rewards.remote.wire import WireError, decode_scores

        try:
            scores, digest = decode_scores(answer)
        except WireError as error:  # it spoke the protocol when this was loaded: a gateway's page, or half an answer
            raise _PassingError(str(error)) from None
        if digest is not None and digest != self.digest:
            raise UserError(
                f"the scorer at {self.settings.url} was exchanged: its digest is {digest!r}, it was {self.digest!r}; "
                "serve the one that the run began with, or begin another run"
            )
        return scores


def _ask(settings: ScorerConfig, method: str, path: str, body: bytes, read: Callable[[bytes], T]) -> T:
    """What `read` makes of the answer, asked for again with growing pauses while failures look like passing ones."""
    for attempt in range(settings.retries + 1):
        try:
            return read(_exchange(settings, method, path, body))
        except _PassingError as error:
            last = error
        if attempt < settings.retries:
            time.sleep(_pause_seconds(attempt, last.wait_seconds))
    raise RetryableError(
        f"the scorer at {settings.url} failed {settings.retries + 1} times, the last time: {last}; "
        "is the server up, and is timeout_seconds long enough for reward.batch_size pictures?"
    )


def _pause_seconds(attempt: int, asked_for: float) -> float:
    """Doubling, and never the same for two clients, lest all come back at once."""
    grown = FIRST_PAUSE_SECONDS * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311 no secret
    return min(LONGEST_PAUSE_SECONDS, max(grown, asked_for))


def _exchange(settings: ScorerConfig, method: str, path: str, body: bytes) -> bytes:
    """One request and its answer, within timeout_seconds of being connected.

    Raises:
        _PassingError: no answer, half of one, or one that says to come back.
        UserError: an answer that no retry changes.
    """
    url = urlsplit(settings.url or "")
    kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=settings.timeout_seconds)
    late, watchdog = Event(), None
    try:
        connection.connect()
        watchdog = Timer(settings.timeout_seconds, partial(_hang_up, connection, connection.sock, late))
        watchdog.daemon = True
        watchdog.start()
        connection.request(method, url.path.rstrip("/") + path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = _read(response)
    except ssl.SSLCertVerificationError as error:
        raise UserError(f"{settings.url} has no certificate that is trusted here: {error.verify_message}") from None
    except (OSError, HTTPException) as error:
        if late.is_set() or isinstance(error, TimeoutError):
            raise _PassingError(f"no whole answer within {settings.timeout_seconds:g} s") from None
        raise _PassingError(f"{type(error).__name__}: {error}") from None
    finally:
        if watchdog is not None:
            watchdog.cancel()
        connection.close()
    if late.is_set():
        raise _PassingError(f"no whole answer within {settings.timeout_seconds:g} s")
    return _judged(f"{settings.url}{path}", response, answer)


def _hang_up(connection: HTTPConnection, sock: object, late: Event) -> None:
    """A socket's timeout is for one read: a server that drips a byte a minute would never meet it."""
    import socket

    late.set()
    if isinstance(sock, socket.socket):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            connection.close()


def _read(response: HTTPResponse) -> bytes:
    answer = response.read(MAX_ANSWER_BYTES + 1)
    if response.length and len(answer) <= MAX_ANSWER_BYTES:
        raise IncompleteRead(answer, response.length)
    return answer


def _judged(where: str, response: HTTPResponse, answer: bytes) -> bytes:
    if len(answer) > MAX_ANSWER_BYTES:
        raise UserError(f"{where} answered more than {MAX_ANSWER_BYTES} bytes: that is no list of scores")
    if response.status == 200:
        return answer
    said = one_line(f"{response.status} {response.reason}: {answer[:300].decode(errors='replace')}")
    if is_retryable(response.status):
        wait = response.headers.get("Retry-After", "")
        raise _PassingError(f"it answered {said}", float(wait) if wait.isdecimal() else 0.0)
    hint = {413: "; lower reward.batch_size", 404: "; the url is the part before /v1"}.get(response.status, "")
    if location := response.headers.get("Location"):
        hint = f"; give the final address, it points at {location}"
    raise UserError(f"{where} answered {said}{hint}")
