"""Whether a server answers, what the status of a failed request means for the user, and how an error is printed."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies

from reward_finetuning.config.display import redacted
from reward_finetuning.config.errors import RetryableError, UserError

_RETRYABLE_4XX = frozenset({408, 425, 429})
"""Request Timeout, Too Early and Too Many Requests: RFC 9110 and RFC 6585 define them as temporary."""

_PERMANENT_5XX = frozenset({501, 505})
"""Not Implemented and HTTP Version Not Supported: the same server gives the same answer again."""

_CONNECTION_SECONDS = 3.0


def accepts_connections(url: str) -> bool:
    """Whether the server of an http or https URL accepts connections.

    It takes seconds, where a request with its retries would wait for minutes.
    """
    server = urlsplit(url)
    port = server.port or (80 if server.scheme == "http" else 443)
    try:
        socket.create_connection((server.hostname or "", port), timeout=_CONNECTION_SECONDS).close()
    except OSError:
        return False
    return True


def hub_is_reachable() -> bool:
    """Whether the Hugging Face hub accepts connections; a proxy that the environment names is taken as reachable."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    return bool(getproxies().keys() & {"https", "http", "all"}) or accepts_connections(constants.ENDPOINT)


def is_retryable(status: int) -> bool:
    """Whether the same request may succeed later.

    Args:
        status: HTTP status of a response that is not 2xx.
    """
    return status in _RETRYABLE_4XX or (status >= 500 and status not in _PERMANENT_5XX)


def error_class(status: int) -> type[UserError] | type[RetryableError]:
    """The class of error that a response with this HTTP status is raised as."""
    return RetryableError if is_retryable(status) else UserError


def one_line(error: BaseException | str, limit: int = 300) -> str:
    """The text of an error as one printable line.

    Line breaks become spaces. Control characters are escaped: text of a server or a file must not move the cursor of a
    terminal or begin a new line of a log. An exception without text is printed as its class.

    Args:
        error: an exception, or a text from outside.
        limit: characters that are kept; "..." follows where text was cut off.
    """
    line = redacted(" ".join(str(error).split()))
    if not line and isinstance(error, BaseException):
        line = type(error).__name__
    line = "".join(sign if sign.isprintable() else _escaped(sign) for sign in line[: limit + 1])
    return line if len(line) <= limit else f"{line[:limit]}..."


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode()
