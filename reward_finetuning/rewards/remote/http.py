"""A scorer that a server gives: for reward models that a team serves already, or whose packages do not fit ours.

The messages are those of wire.py; `rft serve-rewards` serves any of our scorers with them. Proxies are not used.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError, InvalidHeader, MaxRetryError, ReadTimeoutError
from urllib3.util.retry import Retry

from reward_finetuning.config.errors import RetryableError, UserError
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards.function import differing
from reward_finetuning.rewards.protocol import Scorer
from reward_finetuning.rewards.remote.exchange import Answer, exchange
from reward_finetuning.server_errors import is_retryable, one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BACKOFF_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 60.0

OF_THE_CLIENT = ("url", "groupwise", "timeout_seconds", "retries", "token_env")
"""Settings of whoever sends requests."""

_HINTS = {
    401: "; token_env names the environment variable that holds the server's token",
    404: "; the url is the part before /v1",
    413: "; lower reward.batch_size",
}

T = TypeVar("T")


class TemporaryError(Exception):
    """Raised for an answer that another try may not get."""


def check(settings: ScorerConfig) -> None:
    """Refuse an address that cannot be one, and settings that are the server's; nothing is sent.

    Raises:
        UserError: saying what was given and what would be right.
    """
    check_address(settings)
    own = {name: getattr(settings, name) for name in OF_THE_CLIENT}
    if given := differing(settings, ScorerConfig.model_validate(own)):
        raise UserError(f"the scorer at {settings.url} has its {', '.join(given)} where it is served, not here")


def check_address(settings: ScorerConfig) -> None:
    """Refuse an address that cannot be one; nothing is sent.

    Raises:
        UserError: saying what was given and what would be right.
    """
    url = urlsplit(settings.url or "")
    try:
        whole = url.scheme in {"http", "https"} and url.hostname and url.port != 0 and not (url.query or url.fragment)
    except ValueError:  # a port that is no number
        whole = False
    if not whole:
        raise UserError(f"a served scorer's url is written http://HOST:PORT or https://HOST, got {settings.url!r}")


def digest(settings: ScorerConfig) -> str:
    """The digest of the server's weights, as the server gives it.

    Raises:
        UserError: what answers is no scorer.
        RetryableError: nothing answers.
    """
    from reward_finetuning.rewards.remote.wire import SCORER, WireError, decode_description

    try:
        return ask(settings, "GET", SCORER, b"", decode_description)[1]
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

        return np.asarray(ask(self.settings, "POST", SCORE, encode_request(images, prompts), self._scores))

    def _scores(self, body: bytes) -> list[float]:
        from reward_finetuning.rewards.remote.wire import WireError, decode_scores

        try:
            scores, digest = decode_scores(body)
        except WireError as error:  # it spoke the protocol when this was loaded: a gateway's page, or half an answer
            raise TemporaryError(str(error)) from None
        if digest is not None and digest != self.digest:
            raise UserError(
                f"the scorer at {self.settings.url} was exchanged: its digest is {digest!r}, it was {self.digest!r}; "
                "serve the one that the run began with, or begin another run"
            )
        return scores


def retry_policy(retries: int) -> Retry:
    """How often and after which pauses a request is sent again.

    The pauses double; a random part keeps clients that failed together from coming back together. A server's
    Retry-After is respected up to LONGEST_PAUSE_SECONDS.
    """
    return Retry(
        retries,
        allowed_methods=None,  # POST too: a score is only read
        backoff_factor=BACKOFF_SECONDS,
        backoff_jitter=BACKOFF_SECONDS,
        backoff_max=LONGEST_PAUSE_SECONDS,
        retry_after_max=int(LONGEST_PAUSE_SECONDS),
    )


def ask(
    settings: ScorerConfig,
    method: str,
    path: str,
    body: bytes,
    read: Callable[[bytes], T],
    hints: Mapping[int, str] = _HINTS,
) -> T:
    """What `read` makes of the answer; asked for again while the failures are temporary.

    Args:
        settings: with address, token, timeout and number of retries.
        method: of HTTP.
        path: below the address.
        body: of the request.
        read: of the body of the answer; raises TemporaryError if another try may get a better one.
        hints: what is added to the message, by the status of an answer that is not retried.

    Raises:
        UserError: the answer has a status that no retry changes.
        RetryableError: every try failed.
    """
    secret, policy = token(settings), retry_policy(settings.retries)
    while True:
        answer = None
        try:
            answer = exchange(settings.url or "", method, path, body, settings.timeout_seconds, secret)
            return read(_content(f"{settings.url}{path}", answer, hints, secret))
        except TemporaryError as error:
            failure: Exception = error
        except HTTPError as error:
            failure = error
        try:
            policy = policy.increment(method, path, error=failure)
        except MaxRetryError:
            raise RetryableError(
                f"the scorer at {settings.url} failed {settings.retries + 1} times, the last time: "
                f"{_reason(failure, settings)}; is the server up, and is timeout_seconds long enough for "
                "reward.batch_size pictures?"
            ) from failure
        _pause(policy, answer)


def token(settings: ScorerConfig) -> str | None:
    """The token in the environment variable that the settings name; None if they name none.

    Raises:
        UserError: the variable is not set.
    """
    if settings.token_env is None:
        return None
    if value := os.environ.get(settings.token_env):
        return value
    raise UserError(
        f"the scorer at {settings.url} wants the token in ${settings.token_env}, which is not set here; set it, or "
        "remove token_env"
    )


def _content(where: str, answer: Answer, hints: Mapping[int, str], secret: str | None) -> bytes:
    """The body of an answer of status 200. A token that a server repeats in its error is removed from the message.

    Raises:
        TemporaryError: a status that is worth a retry.
        UserError: a status that no retry changes.
    """
    if answer.status == 200:
        return answer.body
    text = f"{answer.status} {answer.reason}: {answer.body.decode(errors='replace')}"
    text = one_line(text.replace(secret, "***") if secret else text)
    if is_retryable(answer.status) and b"insufficient_quota" not in answer.body:  # OpenAI's 429 for an empty account
        raise TemporaryError(f"it answered {text}")
    hint = hints.get(answer.status, "")
    if location := answer.headers.get("Location"):
        hint = f"; give the final address, it points at {one_line(location)}"
    raise UserError(f"{where} answered {text}{hint}")


def _pause(policy: Retry, answer: Answer | None) -> None:
    wait = answer.headers.get("Retry-After", "") if answer is not None else ""
    try:
        seconds = policy.parse_retry_after(wait) if wait else 0.0
    except InvalidHeader:
        seconds = 0.0
    time.sleep(max(seconds, policy.get_backoff_time()))


def _reason(failure: Exception, settings: ScorerConfig) -> str:
    """The error below the library's, in one line."""
    if isinstance(failure, TemporaryError):
        return str(failure)
    inner = failure.__cause__ or next((each for each in failure.args if isinstance(each, Exception)), failure)
    if isinstance(failure, ReadTimeoutError) or isinstance(inner, TimeoutError):
        return f"no whole answer within {settings.timeout_seconds:g} s"
    return f"{type(inner).__name__}: {one_line(inner)}"
