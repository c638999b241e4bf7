"""Whether a store keeps the conditions that run directories rely on."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier

from reward_finetuning.config.errors import RetryableError, UserError
from reward_finetuning.storage.buckets.bucket import Bucket
from reward_finetuning.storage.buckets.service import ABSENT
from reward_finetuning.storage.manifest import Generation

_WRITERS, _ROUNDS = 4, 2
_CONSEQUENCE = "two tasks could overwrite each other's results; docs/storage.md lists what a store must offer"


def check_conditions(bucket: Bucket, folder: str) -> None:
    """Try conditional writes on objects below `folder`, one after the other and at once; they are deleted afterwards.

    Raises:
        UserError: the store writes although the condition does not hold, or refuses although it does.
    """
    name = f"{folder}/.conditions-{uuid.uuid4().hex}".lstrip("/")
    contested = [f"{name}-{number}" for number in range(_ROUNDS)]
    try:
        _check_in_turn(bucket, name)
        for each in contested:
            _check_at_once(bucket, each)
    finally:
        with suppress(UserError, RetryableError):  # an account may be allowed to write and not to delete
            bucket.delete([name, *contested])


def _check_in_turn(bucket: Bucket, name: str) -> None:
    bucket.put(name, b"1", condition=ABSENT)
    first = _generation(bucket, name)
    if bucket.put(name, b"2", condition=ABSENT):
        raise UserError(
            f"{bucket.uri}: the store overwrites an object that was to be created only where there is none "
            f"(If-None-Match: * is ignored): {_CONSEQUENCE}"
        )
    if not bucket.put(name, b"3", condition=first):
        raise UserError(
            f"{bucket.uri}: the store refuses to replace an unchanged object (If-Match with its ETag fails): "
            "no run could advance; docs/storage.md lists what a store must offer"
        )
    if bucket.put(name, b"4", condition=first):
        raise UserError(
            f"{bucket.uri}: the store replaces an object that has changed since it was read "
            f"(If-Match is ignored): {_CONSEQUENCE}"
        )


def _check_at_once(bucket: Bucket, name: str) -> None:
    """Stores that look first and write then keep conditions in turn, but not of writers that come together."""
    for condition, header in ((ABSENT, "If-None-Match: *"), (None, "If-Match")):
        expected = _generation(bucket, name) if condition is None else condition
        written = _write_at_once(bucket, name, header.encode(), expected)
        if written > 1:
            raise UserError(
                f"{bucket.uri}: of {_WRITERS} writes of one object at once the store took {written}, where their "
                f"condition allows one ({header} is checked and the object written in two steps): {_CONSEQUENCE}"
            )


def _write_at_once(bucket: Bucket, name: str, content: bytes, condition: Generation) -> int:
    """How many of the writers succeed."""
    start = Barrier(_WRITERS)

    def write(number: int) -> bool:
        start.wait()
        return bucket.put(name, content + bytes([number]), condition=condition)

    with ThreadPoolExecutor(_WRITERS) as pool:
        return sum(pool.map(write, range(_WRITERS)))


def _generation(bucket: Bucket, name: str) -> Generation:
    stored = bucket.find(name)
    if stored is None:
        raise UserError(
            f"{bucket.uri}: an object that was just written is not there ({name}): the store is not consistent"
        )
    if not stored.metadata:
        raise UserError(
            f"{bucket.uri}: the store does not keep the metadata of objects (x-amz-meta-...): a write whose answer is "
            "lost could not be recognised; docs/storage.md lists what a store must offer"
        )
    return stored.generation
