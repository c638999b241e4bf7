"""What tasks report, as small files of the run directory. MLflow, the page and the terminal all read them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, Field

from reward_finetuning.config.errors import ArtifactError
from reward_finetuning.storage import RunDirectory
from reward_finetuning.storage.documents import as_record
from reward_finetuning.tracking.names import mlflow_names

_FOLDER = "journal"
_SENT, _REFUSED = ".sent", ".refused"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A prompt set that went into the run."""

    name: str
    digest: str
    """Sha256, hex."""

    source: str
    num_prompts: int
    context: str
    """"training" or "evaluation"."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A policy of the run directory."""

    epoch: int
    uri: str
    checksum: str
    """Of the artifact."""

    weights_sha256: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation says beyond its curves; MLflow shows it as a nested run."""

    metrics: Mapping[str, float]
    """All of them, those of the prompts' categories too."""

    report: str
    """Report artifact of the run directory."""

    pretrained_report: str
    checkpoint: Checkpoint | None = None
    """None: the pretrained model."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one task of one epoch reports."""

    task: str
    epoch: int
    metrics: Mapping[str, float]
    images: Mapping[str, str] = field(default_factory=dict)
    """Name of the series -> picture, see RunDirectory.file."""

    files: Mapping[str, str] = field(default_factory=dict)
    """MLflow file -> file, see RunDirectory.file."""

    references: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """MLflow file -> what it says, e.g. a URI."""

    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: Sequence[Dataset] = ()
    evaluation: Evaluation | None = None
    machine: Mapping[str, str | int] = field(default_factory=dict)
    """Of a training task: hardware, code_version, processes and threads."""


class _Stored(BaseModel):
    """An entry as a file; earlier versions wrote fewer fields."""

    epoch: Annotated[int, Field(ge=0, lt=2**63)]
    timestamp_ms: Annotated[int, Field(ge=0, lt=2**63)]
    metrics: dict[str, float]
    images: dict[str, str]
    files: dict[str, str] = {}
    references: dict[str, dict[str, Any]]
    tags: dict[str, str] = {}
    datasets: list[Dataset] = []
    evaluation: Evaluation | None = None
    machine: dict[str, str | int] = {}


class Journal:
    """The entries of a run, and which of them MLflow has."""

    def __init__(self, run: RunDirectory) -> None:
        self._store = run.store

    def add(self, report: Entry) -> bool:
        """Write an entry; False if this task has reported this epoch already."""
        entry = {
            "epoch": report.epoch,
            "timestamp_ms": int(time.time() * 1000),
            "metrics": _accepted(report.metrics),
            "images": dict(report.images),
            "files": dict(report.files),
            "references": {file: dict(facts) for file, facts in report.references.items()},
            "tags": dict(report.tags),
            "datasets": [asdict(dataset) for dataset in report.datasets],
            "machine": dict(report.machine),
        }
        if report.evaluation is not None:
            entry["evaluation"] = asdict(report.evaluation) | {"metrics": _accepted(report.evaluation.metrics)}
        return self._store.create_json(f"{_FOLDER}/{report.epoch:04d}-{report.task}.json", entry)

    def entries(self) -> list[dict[str, Any]]:
        """All entries as they were written, by epoch.

        Raises:
            ArtifactError: a file was altered.
        """
        return [self._checked(name, entry) for name, entry in self._store.read_all(_FOLDER, ".json").items()]

    def unsent(self, *, refused: bool = False) -> list[str]:
        """Entries that MLflow may not have; with `refused`, those that it has refused too."""
        names = self._store.names(_FOLDER)
        marks = (_SENT,) if refused else (_SENT, _REFUSED)
        done = {name.removesuffix(mark) for mark in marks for name in names if name.endswith(mark)}
        return [name for name in names if name.endswith(".json") and name not in done]

    def read(self, name: str) -> dict[str, Any]:
        """An entry as it was written.

        Raises:
            ArtifactError: the file was altered.
        """
        entry = self._store.read_json(f"{_FOLDER}/{name}")
        if entry is None:
            raise ArtifactError(f"{self._store.uri}/{_FOLDER}/{name} is gone")
        return self._checked(name, entry)

    def mark_sent(self, name: str) -> None:
        """Remember that MLflow has it."""
        self._store.create_json(f"{_FOLDER}/{name}{_SENT}", {})

    def mark_refused(self, name: str, reason: str) -> None:
        """Remember that MLflow refuses it, so that it is not sent again with every other entry."""
        self._store.create_json(f"{_FOLDER}/{name}{_REFUSED}", {"reason": reason})

    def _checked(self, name: str, entry: dict[str, Any]) -> dict[str, Any]:
        return as_record(_Stored, entry, f"{self._store.uri}/{_FOLDER}/{name}").model_dump()


def history(run: RunDirectory) -> dict[str, list[tuple[int, float]]]:
    """Every metric of the journal: name -> [(epoch, value)], by epoch."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for entry in Journal(run).entries():
        for key, value in entry["metrics"].items():
            curves.setdefault(key, []).append((entry["epoch"], value))
    return {key: sorted(points) for key, points in curves.items()}


def _accepted(metrics: Mapping[str, float]) -> dict[str, float]:
    names = mlflow_names(metrics)
    return {names[key]: float(value) for key, value in metrics.items()}
