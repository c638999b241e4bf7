"""Google's client."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from reward_finetuning.storage.buckets import patience

FILES = ("GOOGLE_APPLICATION_CREDENTIALS",)
ENVIRONMENT = (*FILES, "GOOGLE_CLOUD_PROJECT", "STORAGE_EMULATOR_HOST")
"""Variables that select server and account."""


def client() -> Any:
    """This process's google.cloud.storage.Client; STORAGE_EMULATOR_HOST works as everywhere."""
    return _client(os.getpid(), os.environ.get("STORAGE_EMULATOR_HOST"))


def server_url() -> str:
    """The server that requests go to."""
    return os.environ.get("STORAGE_EMULATOR_HOST") or "https://storage.googleapis.com"


def request_options() -> dict[str, Any]:
    """Arguments of every request: timeout, and retries with their deadline."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    current = patience.PATIENCE
    retry = DEFAULT_RETRY.with_timeout(current.total_seconds).with_delay(initial=current.first_pause_seconds)
    return {"timeout": current.request_seconds, "retry": retry}


@lru_cache(maxsize=8)
def _client(_process: int, _emulator: str | None) -> Any:
    """A connection belongs to one process and one server."""
    # Else it asks for the bucket's metadata beside our requests, for traces that nobody reads, in a thread each time.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    from google.cloud import storage

    return storage.Client(project=None)  # no request of ours needs one
