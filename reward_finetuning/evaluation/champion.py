"""Where it says which policy is the champion: MLflow's model registry, or a file of the run directory."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import ArtifactError
from reward_finetuning.evaluation.contest import Champion, Decision
from reward_finetuning.evaluation.reports import checkpoint_of, report_name
from reward_finetuning.storage import Reference, RunDirectory
from reward_finetuning.storage.documents import as_record
from reward_finetuning.storage.reference import weights_sha256
from reward_finetuning.tracking.registry import Registry, Version

CHAMPION = "champion.json"

Export = Callable[[Path], None]
"""Writes the challenger into a folder, as an MLflow model holds it. A parameter, because who only asks for the champion
(begin_retraining, in an image without torch) cannot import what writes weights."""


class Seat(Protocol):
    """Holds one champion."""

    def holder(self) -> tuple[Champion | None, Any]:
        """The champion, and the token that `take` wants."""
        ...

    def take(self, challenger: Reference, decision: Decision, token: Any, export: Export) -> str | None:
        """Seat the challenger, and say what it is called there; None where another was seated meanwhile."""
        ...


def seat_of(run: RunDirectory) -> Seat:
    """The seat that the run's policies compete for."""
    name = run.config.registered_model
    return RunSeat(run) if name is None else RegistrySeat(run, Registry(run, name))


class RunSeat:
    """champion.json of the run directory."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run

    def holder(self) -> tuple[Champion | None, Any]:
        """See Seat."""
        token = self._run.store.read_json(CHAMPION)
        if token is None:
            return None, None
        policy = as_record(Reference, token, f"{self._run.uri}/{CHAMPION}")
        report = report_name(self._run, policy.epoch)
        return Champion(f"epoch {policy.epoch}", self._run.uri, policy.epoch, report, weights_sha256(policy)), token

    def take(self, challenger: Reference, decision: Decision, token: Any, export: Export) -> str | None:
        """See Seat."""
        taken = self._run.store.replace_json(CHAMPION, challenger.model_dump(), expected=token)
        return f"{self._run.uri}/{challenger.name}" if taken else None


class RegistrySeat:
    """The alias `champion` of an MLflow registered model."""

    def __init__(self, run: RunDirectory, registry: Registry) -> None:
        self._run, self._registry = run, registry

    def holder(self) -> tuple[Champion | None, Any]:
        """See Seat."""
        version, token = self._registry.champion()
        return None if version is None else self._champion(version), token

    def take(self, challenger: Reference, decision: Decision, token: Any, export: Export) -> str | None:
        """See Seat."""
        checkpoint = checkpoint_of(self._run, challenger)
        tags = {
            "run_directory": self._run.uri,
            "report": report_name(self._run, challenger.epoch),
            "epoch": str(challenger.epoch),
            "fingerprint": self._run.fingerprint,
            "weights_sha256": checkpoint.weights_sha256,
            "base_model": self._run.config.model.source,
        }
        version = self._registry.register(checkpoint, export, tags)
        seated = self._registry.crown(version, reason=decision.reason, token=token)
        return f"models:/{self._registry.name}/{version}" if seated else None

    def _champion(self, version: Version) -> Champion:
        tags = version.tags
        return Champion(
            f"version {version.number} of {self._registry.name}",
            tags.get("run_directory", ""),
            _epoch(tags, f"version {version.number} of {self._registry.name}"),
            tags.get("report", ""),
            tags.get("weights_sha256", ""),
        )


def _epoch(tags: Mapping[str, str], version: str) -> int:
    text = tags.get("epoch", "0")
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise ArtifactError(f"{version}: the tag epoch was altered; it is the number of an epoch, got {shown(text)}")
    return int(text)
