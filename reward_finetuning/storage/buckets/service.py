"""The few operations that a storage service must offer; everything else about buckets is built on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from reward_finetuning.storage.manifest import Generation

ABSENT: Final[Generation] = 0
"""As the condition of a write: the object must not exist yet."""


CRC32C = "crc32c"
"""Key of a file's metadata, for services that compute no such checksum themselves."""


class MissingError(Exception):
    """There is no such object, or not in this generation; whether there is a bucket is not known."""


class ConflictError(Exception):
    """The condition of a write does not hold."""


class DamagedError(Exception):
    """What arrived is not what was sent."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object, as the service describes it."""

    name: str
    generation: Generation
    size: int
    """Bytes."""

    crc32c: str | None
    """Hex; None where the service does not say it."""

    metadata: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Written with the object; a listing need not hold it."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Objects below a prefix, and folders where a delimiter was given."""

    objects: Sequence[Stored]
    folders: Sequence[str] = ()


class Service(Protocol):
    """One bucket of a storage service.

    A request that fails is repeated within the limits of `patience`. Where a method raises none of the three errors
    above, what it raises is translated by `translation`.
    """

    uri: str
    """SCHEME://BUCKET."""

    def translation(self) -> AbstractContextManager[None]:
        """Turn errors of the service's client into UserError and RetryableError, with the bucket's name."""
        ...

    def stat(self, name: str) -> Stored:
        """An object with its metadata; MissingError."""
        ...

    def read(self, name: str) -> tuple[bytes, Generation]:
        """Bytes and generation of a small object; MissingError, DamagedError."""
        ...

    def download(self, stored: Stored, path: Path) -> str | None:
        """Write an object, in just this generation, to a file in blocks; MissingError, DamagedError.

        Returns:
            The crc32c that the service has of it; None where it has none.
        """
        ...

    def write(
        self, name: str, source: bytes | Path, *, metadata: Mapping[str, str], condition: Generation | None
    ) -> Stored:
        """Write an object, a file in blocks; ConflictError, DamagedError.

        A ConflictError may come from the object itself, after the answer to a write was lost.

        Args:
            name: of the object.
            source: bytes, or a file.
            metadata: kept with the object.
            condition: ABSENT, the generation that the object must still have, or None.
        """
        ...

    def list(self, prefix: str, delimiter: str = "") -> Listing:
        """All objects whose names begin with `prefix`; with a delimiter those up to it, and the folders there."""
        ...

    def delete(self, name: str) -> None:
        """Delete an object; MissingError, or nothing, where there is none."""
        ...

    def abort_uploads(self, prefix: str, matches: Callable[[str], object]) -> None:
        """End unfinished uploads of objects whose names match, and free what they hold."""
        ...

    def require_bucket(self) -> None:
        """Fail where there is no such bucket."""
        ...
