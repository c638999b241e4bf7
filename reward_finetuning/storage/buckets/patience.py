"""How patient clients of storage services are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from reward_finetuning.storage.buckets.service import DamagedError

T = TypeVar("T")

WORKERS = 8
"""Transfers at once."""

TRIES = 3
"""For what arrived damaged, which the clients do not try again by themselves."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a bucket may keep us waiting."""

    request_seconds: float = 60.0
    """Silence after which a request is made again."""

    total_seconds: float = 300.0
    """How long one request is made again before the task fails, to be retried as a whole."""

    first_pause_seconds: float = 0.5
    """Between the first tries; it doubles."""


PATIENCE = Patience()


def retry(is_temporary: Callable[[BaseException], bool]) -> Any:
    """A decorator that repeats a request until PATIENCE ends; it then raises RetryError, whose `cause` says why.

    Args:
        is_temporary: whether a request that failed like this may succeed later.
    """
    from google.api_core.retry import Retry

    return Retry(
        predicate=is_temporary,
        initial=PATIENCE.first_pause_seconds,
        timeout=PATIENCE.total_seconds,
    )


def retry_damaged(act: Callable[[], T]) -> T:
    """The result of a request, which is repeated if its data is damaged in transit, in either direction."""
    for _ in range(TRIES - 1):
        try:
            return act()
        except DamagedError:
            continue
    return act()
