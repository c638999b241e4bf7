"""The interface of a place where run directories live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from reward_finetuning.storage.manifest import Identity, Manifest

Write = Callable[[Path], Mapping[str, Any]]
"""Fills an empty local folder with an artifact's files; returns its facts."""


class Store(Protocol):
    """Artifacts by name below one root."""

    uri: str

    def manifest(self, name: str) -> Manifest | None:
        """The manifest of a committed artifact; None where there is none."""
        ...

    def commit(self, name: str, identity: Identity, write: Write) -> Manifest:
        """Make an artifact whole at once. The first writer wins; a later one adopts what is there.

        Raises:
            ArtifactError: an artifact of another identity has that name.
        """
        ...

    def fetch(self, name: str, files: Sequence[str] | None = None) -> Path:
        """A local folder with the artifact's files (or just those named), every one checked.

        Raises:
            ArtifactError: absent, or a file is missing, truncated or altered.
        """
        ...

    def check(self, name: str) -> None:
        """Refuse an artifact that is not there as its manifest says; from a bucket, nothing is downloaded for it.

        Raises:
            ArtifactError: absent, or a file is missing, truncated or altered.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove an artifact, manifest first; nothing happens where there is none."""
        ...

    def names(self, folder: str) -> list[str]:
        """Names of what lies directly below `folder`, sorted."""
        ...

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A small JSON object; None where there is none."""
        ...

    def read_all(self, folder: str, suffix: str) -> dict[str, dict[str, Any]]:
        """The JSON objects directly below `folder` whose names end in `suffix`, by name, sorted.

        They are taken to stay as they were created: a bucket is asked for each only once.
        """
        ...

    def create_json(self, name: str, value: Mapping[str, Any]) -> bool:
        """Write a JSON object that must not exist yet; False where it does."""
        ...

    def create_text(self, name: str, text: str) -> str:
        """Write a text that must be the same wherever it is there already; returns the URI of the file.

        Raises:
            ArtifactError: another text has that name.
        """
        ...

    def replace_json(self, name: str, value: Mapping[str, Any], *, expected: Mapping[str, Any] | None) -> bool:
        """Move a JSON object from `expected` to `value` atomically; False if its value was different.

        After False look again: over a network that loses answers it may have moved to `value`, and on from there.
        """
        ...

    def check_conditions(self) -> None:
        """Refuse a place that overwrites where it must not: asked once, before a run is begun there.

        Raises:
            UserError: it does.
        """
        ...
