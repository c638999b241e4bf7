"""One run's folder: run.json says what it is, latest.json how far it got, epochs/NNNN holds the artifacts."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import ArtifactError, UserError
from reward_finetuning.config.run import NUMERICS, RunConfig
from reward_finetuning.storage import artifact_names
from reward_finetuning.storage.artifact_names import Kind
from reward_finetuning.storage.documents import as_record, entry
from reward_finetuning.storage.manifest import Identity, Manifest
from reward_finetuning.storage.open import open_store
from reward_finetuning.storage.reference import Reference
from reward_finetuning.storage.store import Store, Write

RUN, LATEST = "run.json", "latest.json"

ADDED_LATER = frozenset({"model.index"})
"""Keys of the fingerprint that a run.json of an earlier version lacks; such a run can be continued without them."""

REMOVED = frozenset({"training.gate_cells"})
"""Keys that a run.json of an earlier version has, of settings that there are no more."""


def read_description(store: Store) -> dict[str, Any] | None:
    """run.json of a run directory; None where there is none.

    Raises:
        ArtifactError: it does not say what a run is.
    """
    described = store.read_json(RUN)
    if described is not None:
        for key in ("fingerprint", "config"):
            entry(described, key, dict, f"{store.uri}/{RUN}")
    return described


class RunDirectory:
    """Names and rules of a run's folder; the bytes are the store's business."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.store: Store = open_store(f"{config.run_root}/{config.name}")
        self.uri = self.store.uri

    @staticmethod
    def name(epoch: int, artifact: str) -> str:
        """See artifact_names.in_epoch."""
        return artifact_names.in_epoch(epoch, artifact)

    def epochs(self) -> list[int]:
        """Epochs that have a folder, ascending."""
        epochs = (artifact_names.epoch_of(name) for name in self.store.names(artifact_names.EPOCHS))
        return sorted(epoch for epoch in epochs if epoch is not None)

    def artifacts(self, epoch: int, *kinds: Kind) -> list[str]:
        """Names of an epoch's artifacts below the run directory, sorted; of these kinds, or all of them."""
        names = self.store.names(artifact_names.epoch_folder(epoch))
        return [self.name(epoch, name) for name in names if not kinds or artifact_names.kind_of(name) in kinds]

    def describe(self) -> dict[str, Any] | None:
        """run.json; None before the run's first task."""
        return read_description(self.store)

    def begin(self, digests: dict[str, str], facts: dict[str, Any]) -> dict[str, Any]:
        """Write run.json, or check that the config continues what it says.

        Args:
            digests: of what the config only names: model, prompts.
            facts: recorded, not compared (code version, MLflow run).

        Raises:
            UserError: settings that change numbers differ (the text lists each), or the store ignores conditions.
        """
        if self.describe() is None:
            self.store.check_conditions()
        fingerprint = self.config.numbers() | digests
        first = {"fingerprint": fingerprint, "config": self.config.model_dump(mode="json"), **facts}
        if not self.store.create_json(RUN, first):
            self.check(fingerprint)
        return self._described()

    def check(self, fingerprint: dict[str, Any] | None = None) -> None:
        """Refuse settings that give other numbers than run.json; without `fingerprint`, those of the config.

        Raises:
            UserError: listing each key that differs, with both values; or the run is of another NUMERICS.
        """
        if (described := self.describe()) is None:
            return
        if (version := described["fingerprint"].get("numerics", 1)) != NUMERICS:
            raise UserError(
                f"{self.uri} was begun by another version of this project, in which the same settings give other "
                f"numbers (numerics {version}; this version has {NUMERICS}): use another name, or install the version "
                "that began it"
            )
        given = json.loads(json.dumps(self.config.numbers() if fingerprint is None else fingerprint))
        stored = {
            key: value for key, value in described["fingerprint"].items() if key in given or fingerprint is not None
        }
        comparable = (stored.keys() | given.keys()) - (ADDED_LATER - stored.keys()) - REMOVED
        keys = sorted(key for key in comparable if stored.get(key) != given.get(key))
        if keys:
            listed = "; ".join(
                f"{key}: run has {shown(stored.get(key))}, config says {shown(given.get(key))}" for key in keys
            )
            raise UserError(f"{self.uri} was begun with other settings ({listed}); restore them, or use another name")

    def agrees(self, fingerprint: dict[str, Any]) -> bool:
        """Whether `check` accepts the fingerprint."""
        try:
            self.check(fingerprint)
        except UserError:
            return False
        return True

    def fingerprinted(self) -> dict[str, Any]:
        """All that changes this run's numbers, as flat `section.key` -> value."""
        return dict(self._described()["fingerprint"])

    @property
    def fingerprint(self) -> str:
        """Digest of all that changes this run's numbers."""
        return sha256(json.dumps(self.fingerprinted(), sort_keys=True).encode()).hexdigest()

    def latest(self) -> Reference:
        """The newest policy; epoch 0, without a name, is the pretrained model."""
        pointer = self.store.read_json(LATEST)
        return Reference(epoch=0) if pointer is None else as_record(Reference, pointer, f"{self.uri}/{LATEST}")

    def advance(self, policy: Reference) -> None:
        """Move latest.json one epoch on.

        Raises:
            ArtifactError: it is not at the epoch before.
        """
        before = self.latest()
        if before.epoch >= policy.epoch:
            return  # a retry, or a slower twin, of an epoch that is done
        if before.epoch != policy.epoch - 1:
            raise ArtifactError(f"{self.uri}/{LATEST} is at epoch {before.epoch}; {policy.epoch} cannot follow it")
        expected = before.model_dump() if before.name else None
        if not self.store.replace_json(LATEST, policy.model_dump(), expected=expected):
            self.advance(policy)

    def identity(self, kind: Any, epoch: int, policy: str, *extra: str) -> Identity:
        """Identity of an artifact of this run; `extra` are digests of what only this kind depends on."""
        fingerprint = sha256("\n".join([self.fingerprint, *extra]).encode()).hexdigest() if extra else self.fingerprint
        return Identity(kind=kind, fingerprint=fingerprint, epoch=epoch, policy=policy)

    def commit(self, name: str, identity: Identity, write: Write) -> Manifest:
        """See Store.commit."""
        return self.store.commit(name, identity, write)

    def open(self, reference: Reference, files: list[str] | None = None) -> tuple[Path, Manifest]:
        """Folder and manifest of what a reference points at, files checked.

        Raises:
            ArtifactError: absent, damaged, or not the artifact that the reference was made for.
        """
        manifest = self.store.manifest(reference.name)
        if manifest is not None and reference.checksum not in {"", manifest.checksum}:
            raise ArtifactError(
                f"{self.uri}/{reference.name} is not what this task was given: "
                f"checksum {manifest.checksum}, expected {reference.checksum}"
            )
        folder = self.store.fetch(reference.name, files)
        assert manifest is not None
        return folder, manifest

    def file(self, path: str) -> Path:
        """A file of an epoch's artifact on this machine, checked; `path` is below the run directory.

        Raises:
            ArtifactError: see Store.fetch.
        """
        artifact, file = artifact_names.split_file(path)
        return self.store.fetch(artifact, [file]) / file

    def _described(self) -> dict[str, Any]:
        described = self.describe()
        if described is None:
            raise UserError(f"{self.uri} is no run directory yet: {RUN} is written by the first task, next_epochs")
        return described
