"""A bucket, whatever service it belongs to: objects read, written on a condition, listed and deleted."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from reward_finetuning.storage.buckets.patience import WORKERS, retry_damaged
from reward_finetuning.storage.buckets.service import ConflictError, MissingError, Service, Stored
from reward_finetuning.storage.manifest import Generation

_WRITING = "writing"


class Bucket:
    """A bucket; every method raises UserError or RetryableError as the service's `translation` describes."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.uri = service.uri
        self._seen = False

    def read(self, name: str) -> tuple[bytes, Generation] | None:
        """Bytes and generation of a small object; None where there is none."""
        with self.service.translation():
            try:
                return retry_damaged(lambda: self.service.read(name))
            except MissingError:
                self.require()
                return None

    def find(self, name: str) -> Stored | None:
        """An object as the service describes it; None where there is none."""
        with self.service.translation():
            try:
                return self.service.stat(name)
            except MissingError:
                self.require()
                return None

    def put(self, name: str, data: bytes, *, condition: Generation | None) -> bool:
        """Write an object if the condition holds; False where it does not.

        An answer may be lost after the object was written; the client then tries again and is refused because of its
        own object. So each writing carries a token. The content would not do: two writers that count from 1 to 2 write
        the same.

        Args:
            name: of the object.
            data: its bytes.
            condition: ABSENT, the generation that is to be replaced, or None: anything is overwritten.
        """
        token = uuid.uuid4().hex

        def write() -> Stored:
            return self.service.write(name, data, metadata={_WRITING: token}, condition=condition)

        with self.service.translation():
            try:
                retry_damaged(write)
            except ConflictError:
                return self._token(name) == token
        return True

    def below(self, prefix: str) -> list[Stored]:
        """All objects whose names begin with `prefix`."""
        with self.service.translation():
            return list(self.service.list(prefix).objects)

    def children(self, folder: str) -> list[str]:
        """Names of objects and folders directly below `folder`, sorted."""
        prefix = f"{folder}/" if folder else ""
        with self.service.translation():
            listing = self.service.list(prefix, delimiter="/")
        names = {*(stored.name for stored in listing.objects), *listing.folders}
        return sorted(name.removeprefix(prefix).rstrip("/") for name in names if name != prefix)

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects, in parallel; those that are gone already are no error."""
        with self.service.translation(), ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(self._delete, names))

    def abort_uploads(self, prefix: str, matches: Callable[[str], object]) -> None:
        """End unfinished uploads of objects whose names begin with `prefix` and match."""
        with self.service.translation():
            self.service.abort_uploads(prefix, matches)

    def require(self) -> None:
        """Tell an object that is missing from a bucket that is."""
        if not self._seen:
            self.service.require_bucket()
            self._seen = True

    def _delete(self, name: str) -> None:
        try:
            self.service.delete(name)
        except MissingError:
            self.require()

    def _token(self, name: str) -> str | None:
        try:
            return self.service.stat(name).metadata.get(_WRITING)
        except MissingError:
            return None
