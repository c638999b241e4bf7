"""Google's client, and how patient it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from reward_finetuning.server_errors import accepts_connections

T = TypeVar("T")

WORKERS = 8
"""Transfers at once; the client's pool has 10 connections."""

TRIES = 3
"""For what arrived damaged, which the client does not try again by itself."""


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


def client() -> Any:
    """This process's google.cloud.storage.Client; STORAGE_EMULATOR_HOST works as everywhere."""
    return _client(os.getpid(), os.environ.get("STORAGE_EMULATOR_HOST"))


@lru_cache(maxsize=8)
def _client(_process: int, _emulator: str | None) -> Any:
    """A connection belongs to one process and one server."""
    # Else it asks for the bucket's metadata beside our requests, for traces that nobody reads, in a thread each time.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    from google.cloud import storage

    return storage.Client(project=None)  # no request of ours needs one


def is_reachable() -> bool:
    """Whether the storage service accepts connections."""
    return accepts_connections(os.environ.get("STORAGE_EMULATOR_HOST") or "https://storage.googleapis.com")


def request_options() -> dict[str, Any]:
    """Arguments of every request: timeout, and retries with their deadline."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    retry = DEFAULT_RETRY.with_timeout(PATIENCE.total_seconds).with_delay(initial=PATIENCE.first_pause_seconds)
    return {"timeout": PATIENCE.request_seconds, "retry": retry}


def retry_damaged(act: Callable[[], T]) -> T:
    """The result of a request, which is repeated if its data is damaged in transit, in either direction."""
    from google.api_core.exceptions import BadRequest
    from google.cloud.storage.exceptions import DataCorruption

    for _ in range(TRIES - 1):
        try:
            return act()
        except (BadRequest, DataCorruption):
            continue
    return act()
