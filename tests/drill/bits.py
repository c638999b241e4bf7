"""What a run that was killed has in common with one that was not: every bit of its artifacts, every point once."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from drill.scene import Scene

from reward_finetuning.storage import RunDirectory
from reward_finetuning.storage.artifact_names import Kind
from reward_finetuning.storage.reference import weights_sha256
from reward_finetuning.tracking.journal import history

_WHOLE = (Kind.POLICY, Kind.ROLLOUTS, Kind.REWARDS, Kind.EVALUATED)
"""Kinds whose every file has the same bytes."""

_OF_THE_MACHINE = ("seconds", "per_second", "system/")
"""Parts of the names of metrics that say how fast it was."""


def bits(scene: Scene) -> dict[str, str]:
    """Name -> checksum or value: files of artifacts, metrics, latest.json, the champion."""
    run = scene.run
    found = {"latest": f"epoch {run.latest().epoch}, {weights_sha256(run.latest())}"}
    champion = run.store.read_json("champion.json")
    found["champion"] = "none" if champion is None else f"epoch {champion['epoch']}"
    for epoch in run.epochs():
        for name in run.artifacts(epoch, *_WHOLE):
            run.store.fetch(name)  # compares every file with its manifest
            manifest = run.store.manifest(name)
            assert manifest is not None
            found |= {f"{name}/{file}": entry.crc32c for file, entry in manifest.files.items()}
    for metric, points in history(run).items():
        if not any(part in metric for part in _OF_THE_MACHINE):
            found[f"metric {metric}"] = repr(points)
    return found


def differences(quiet: dict[str, str], killed: dict[str, str]) -> list[str]:
    """What differs, by name."""
    return sorted(name for name in quiet.keys() | killed.keys() if quiet.get(name) != killed.get(name))


def stored_points(database: Path, run: RunDirectory) -> Counter[tuple[str, int]]:
    """(metric, epoch) -> how often MLflow's database has it for a run and the runs below it."""
    ids = [file["run_id"] for name in ("mlflow.json", "mlflow/evaluation.json") if (file := run.store.read_json(name))]
    marks = ",".join("?" * len(ids))
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            f"SELECT run_uuid, key, step FROM metrics WHERE run_uuid IN ({marks})", ids
        ).fetchall()
    return Counter((f"{ids.index(run_id)}/{key}", step) for run_id, key, step in rows)


def wrong_points(expected: Counter[tuple[str, int]], stored: Counter[tuple[str, int]]) -> list[str]:
    """Points that are missing, too many, or there more than once."""
    missing = [f"{key} of epoch {epoch} is missing" for key, epoch in expected.keys() - stored.keys()]
    more = [f"{key} of epoch {epoch} is one too many" for key, epoch in stored.keys() - expected.keys()]
    twice = [f"{key} of epoch {epoch} is there {num} times" for (key, epoch), num in stored.items() if num > 1]
    return sorted([*missing, *more, *twice])
