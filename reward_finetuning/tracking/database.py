"""MLflow's sqlite file: its address, and a creation that can be killed at any moment."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote

_SCHEME = "sqlite:///"

_LOCKED_SECONDS = 5.0

_checked: set[Path] = set()
"""Files that this process has found whole, or has created."""


def sqlite_uri(path: Path) -> str:
    """The tracking URI of a sqlite file; `%`, `#` and `?` in its path are quoted, as in every URL."""
    return f"{_SCHEME}{quote(str(path))}"


def sqlite_path(uri: str) -> Path | None:
    """The file of a tracking URI; None for a server."""
    if not uri.startswith(_SCHEME):
        return None
    return Path(unquote(uri.removeprefix(_SCHEME).partition("?")[0]))


def ensure_database(uri: str) -> None:
    """Create the sqlite file of a tracking URI if there is none; nothing happens for a server.

    MLflow creates its tables one by one in the file itself, and refuses for ever a file whose creation was cut off. So
    the file is created under another name and renamed. A file that was cut off by an earlier version has no runs; it is
    renamed to `<name>.incomplete-...` and created anew.
    """
    path = sqlite_path(uri)
    if path is None or (path in _checked and path.is_file()):
        return
    if not _is_whole(path):
        _create_or_recover(path)
    _checked.add(path)


def _create_or_recover(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_whole(path):  # another task was faster
            return
        if path.exists():
            if _has_runs(path):  # not cut off, but of another version: MLflow says what to do
                return
            os.rename(path, path.with_name(f"{path.name}.incomplete-{uuid.uuid4().hex[:8]}"))
        _create(path)


def _create(path: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    _delete_attempts(path)
    attempt = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    store = SqlAlchemyStore(sqlite_uri(attempt), (path.parent / "mlflow-artifacts").as_uri())
    store._dispose_engine()  # there is no public way to close the file
    os.rename(attempt, path)


def _delete_attempts(path: Path) -> None:
    """Delete what creations that were killed have left; whoever holds the lock is alone."""
    for left in path.parent.glob(f".{path.name}.*"):
        if not left.name.endswith(".lock"):
            left.unlink(missing_ok=True)


def _is_whole(path: Path) -> bool:
    """Whether the schema is the newest one, as MLflow wants it."""
    if not path.is_file():
        return False
    from mlflow.store.db.utils import _get_latest_schema_revision

    return _column(path, "SELECT version_num FROM alembic_version") == [_get_latest_schema_revision()]


def _has_runs(path: Path) -> bool:
    return _column(path, "SELECT 1 FROM runs LIMIT 1") != []


def _column(path: Path, query: str) -> list[object]:
    """First column of a query; empty where there is no such table.

    Raises:
        sqlite3.Error: the file is locked, or is no database.
    """
    # Opened for writing: a transaction that was cut off is then rolled back.
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=_LOCKED_SECONDS)) as connection:
        try:
            return [row[0] for row in connection.execute(query)]
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise
