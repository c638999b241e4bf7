"""The small file that travels between tasks as a KFP artifact: where the real artifact lies, and its checksum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, NonNegativeInt, TypeAdapter, ValidationError

from reward_finetuning.config.base import Frozen
from reward_finetuning.config.errors import ArtifactError
from reward_finetuning.storage.documents import entry, first_problem
from reward_finetuning.storage.manifest import Manifest


class Reference(Frozen):
    """Points at an artifact of the run directory."""

    name: str = ""
    """Artifact below the run directory; empty: none (the pretrained policy, or an epoch that is not done here)."""

    epoch: NonNegativeInt
    skip: bool = False
    """True in tasks of a surplus epoch: nothing is done."""

    checksum: str = ""
    """The artifact's checksum, which its manifest must have."""

    facts: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def to(cls, name: str, manifest: Manifest) -> Reference:
        """Reference to a committed artifact."""
        return cls(name=name, epoch=manifest.identity.epoch, checksum=manifest.checksum, facts=manifest.facts)


_LIST = TypeAdapter(list[Reference])


def write_reference(path: str, reference: Reference) -> Reference:
    """Write it where KFP wants the artifact."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(reference.model_dump_json(indent=1), encoding="utf-8")
    return reference


def read_reference(path: str) -> Reference:
    """Read what an earlier task wrote; instead of the file's path its JSON text will do, where no file can be sent.

    Raises:
        ArtifactError: there is no such file, or it is something else.
    """
    try:
        return Reference.model_validate_json(path if path.startswith("{") else Path(path).read_bytes())
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read ({error.strerror}); an artifact reference of this project is needed"
        ) from None
    except ValidationError:
        raise ArtifactError(f"{path[:200]} is no artifact reference of this project") from None


def read_references(paths: Sequence[str]) -> list[Reference]:
    """All of them; a text in place of a path may also be a JSON list of references.

    Raises:
        ArtifactError: there is no such file, or it is something else.
    """
    files = [read_reference(path) for path in paths if not path.startswith("[")]
    try:
        return files + [each for path in paths if path.startswith("[") for each in _LIST.validate_json(path)]
    except ValidationError as error:
        raise ArtifactError(f"the list of artifact references was altered: {first_problem(error)}") from None


def weights_sha256(policy: Reference) -> str:
    """sha256 of a policy's weights file; empty for the pretrained model."""
    return entry(policy.facts, "weights_sha256", str, policy.name) if policy.name else ""
