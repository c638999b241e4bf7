"""Scores that were paid for already, so that neither a retry nor a second evaluation pays again.

An artifact holds many scores, each with its key: the sha256 of all that it depends on. A few artifacts are written as
the work continues, whole or absent, named by what they hold. They are read all at once: an epoch's are some hundred
kilobytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from reward_finetuning.config.errors import ArtifactError, UserError
from reward_finetuning.events import report_warning
from reward_finetuning.storage.artifacts.table_file import whole_table
from reward_finetuning.storage.documents import contents_of
from reward_finetuning.storage.run_directory import RunDirectory

SCORES = "scores.parquet"

LEAST_SECONDS = 30.0
LARGEST_SHARE = 0.05
"""A crash loses at most 30 seconds of scoring, or a twentieth of it: an hour makes about 55 files, a day about 120."""


class ScoreCache:
    """Scores by key, of one piece of work in one epoch; a context that keeps what it has when the work fails."""

    def __init__(self, run: RunDirectory, epoch: int, prefix: str) -> None:
        self._run, self._epoch, self._prefix = run, epoch, prefix
        self._known = dict(self._read())
        self._fresh: dict[bytes, float] = {}
        self._started = self._written = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._write()

    def get(self, key: bytes) -> float | None:
        """The score of a key, None where there is none."""
        return self._known.get(key)

    def add(self, scores: Iterable[tuple[bytes, float]]) -> None:
        """Remember scores; they are on disk before long."""
        fresh = dict(scores)
        self._known |= fresh
        self._fresh |= fresh
        now = time.monotonic()
        if now - self._written >= max(LEAST_SECONDS, LARGEST_SHARE * (now - self._started)):
            self._write()

    def forget(self) -> None:
        """Delete what is on disk: an artifact that holds these scores was committed."""
        for name in self._names():
            self._delete(name)

    def _names(self) -> list[str]:
        prefix = self._run.name(self._epoch, self._prefix)
        return [name for name in self._run.artifacts(self._epoch) if name.startswith(prefix)]

    def _read(self) -> Iterable[tuple[bytes, float]]:
        for name in self._names():
            try:
                yield from _scores(self._run.store.fetch(name))
            except ArtifactError as error:
                report_warning(f"cached scores are not used, they are computed anew: {error}")
                self._delete(name)

    def _delete(self, name: str) -> None:
        with suppress(UserError):  # an account that may only create leaves it to the trainer's retention
            self._run.store.delete(name)

    def _write(self) -> None:
        if not self._fresh:
            return
        keys = sorted(self._fresh)
        contents = sha256(b"".join(keys)).hexdigest()

        def write(folder: Path) -> dict[str, Any]:
            columns = {"key": pa.array(keys, pa.binary(32)), "score": [self._fresh[key] for key in keys]}
            pq.write_table(pa.table(columns), folder / SCORES)
            return {"num_scores": len(keys)}

        identity = self._run.identity("scores", self._epoch, "", contents)
        self._run.commit(self._run.name(self._epoch, f"{self._prefix}{contents[:16]}"), identity, write)
        self._fresh, self._written = {}, time.monotonic()


def _scores(folder: Path) -> Iterable[tuple[bytes, float]]:
    with contents_of(folder / SCORES):
        table = whole_table(folder / SCORES).cast(_SCHEMA)
        return zip(table["key"].to_pylist(), table["score"].to_pylist(), strict=True)


_SCHEMA = pa.schema([pa.field("key", pa.binary(32), nullable=False), pa.field("score", pa.float64(), nullable=False)])
