"""The origin of a policy for its page: method, settings, code, hardware and time, as the run directory records them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.settings import changed_values
from reward_finetuning.storage import RunDirectory
from reward_finetuning.tracking.hardware import UNKNOWN
from reward_finetuning.tracking.journal import Journal
from reward_finetuning.training.monitor import alarms_of, readings_of

_COMMIT = re.compile(r"[0-9a-f]{40}(-dirty)?")
_TASKS = ("sample", "reward", "train")
_OWN_ROWS = ("objective.", "training.learning_rate", "sampling.num_steps", "sampling.guidance_scale", "reward.")
"""Prefixes of the settings that have rows of their own."""


def provenance(run: RunDirectory, evaluated: EvaluatedSamples) -> dict[str, str]:
    """Name -> text, for the details of the page. What the run directory does not record is "unknown".

    Settings are those of run.json: `rft report` can be given others.
    """
    described = run.describe() or {}
    config: dict[str, Any] = described.get("config") or run.config.model_dump(mode="json")
    entries = [entry for entry in Journal(run).entries() if entry["epoch"] <= evaluated.epoch]
    epochs = [entry for entry in entries if "train/seconds" in entry["metrics"]]
    return {
        "run": run.config.name,
        **_settings(config),
        "Epochs": f"{evaluated.epoch} of {run.config.loop.epochs}",
        "Git commit": _commits(described.get("code_version"), epochs),
        "Hardware": _counted(str(entry["machine"].get("hardware", UNKNOWN)) for entry in epochs) or UNKNOWN,
        "Duration": _duration(entries, epochs),
        **_hours(config, epochs, evaluated.epoch),
        "Monitor": "; ".join(alarm.text for alarm in alarms_of(run, evaluated.epoch)) or "no alarm",
        "Settings": "; ".join(reading.warning for reading in readings_of(run, evaluated.epoch) if reading.advice)
        or "no advice",
        "Policy (sha256)": evaluated.policy,
        "Run directory": run.uri,
    }


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    model, training, sampling, weights = (config[key] for key in ("model", "training", "sampling", "reward"))
    changed = changed_values(dict(config))
    method = _pairs({key: value for key, value in changed.items() if key.startswith("objective.")})
    others = {key: value for key, value in changed.items() if not key.startswith(_OWN_ROWS)}
    trained = [f"{weight:g} × {name}" for name, weight in weights["weights"].items() if weight]
    guards = [name for name, weight in weights["weights"].items() if not weight]
    return {
        "Base model": model["source"] + (" (LoRA)" if model["trainable"] == "lora" else ""),
        "Method": f"{config['objective']['name']}; {method or 'all its settings are the defaults'}",
        "Learning rate": f"{training['learning_rate']:g}",
        "Denoising steps": str(sampling["num_steps"]),
        "Guidance scale": f"{sampling['guidance_scale']:g}",
        "Trained rewards": ", ".join(trained),
        "Guards (not trained)": ", ".join(guards) or "none",
        "Seed": str(config["seed"]),
        "Other settings": _pairs(others) or "the defaults",
    }


def _pairs(changed: Mapping[str, tuple[str, str]]) -> str:
    return ", ".join(
        f"{key.removeprefix('objective.')} {value}" + (f" (default {default})" if default else "")
        for key, (value, default) in changed.items()
    )


def _commits(begun: object, epochs: Sequence[Mapping[str, Any]]) -> str:
    """The commit that began the run, and those of the epochs that record another."""
    first = _commit(begun)
    others = [_commit(entry["machine"]["code_version"]) for entry in epochs if "code_version" in entry["machine"]]
    later = [commit for commit in dict.fromkeys(others) if commit != first]
    return first + (f"; later epochs: {', '.join(later)}" if later else "")


def _commit(version: object) -> str:
    if version is None:
        return UNKNOWN
    return str(version) if _COMMIT.fullmatch(str(version)) else f"{UNKNOWN} (version {version})"


def _counted(names: Iterable[str]) -> str:
    """For example "NVIDIA L4", or "NVIDIA L4 (30 epochs), unknown (2 epochs)"."""
    listed = list(names)
    counts = {name: listed.count(name) for name in dict.fromkeys(listed)}
    if len(counts) < 2:
        return "".join(counts)
    return ", ".join(f"{name} ({count} {'epoch' if count == 1 else 'epochs'})" for name, count in counts.items())


def _duration(entries: Sequence[Mapping[str, Any]], epochs: Sequence[Mapping[str, Any]]) -> str:
    if not epochs:
        return UNKNOWN
    first = min(entry["timestamp_ms"] for entry in entries)
    last = max(entry["timestamp_ms"] for entry in epochs)
    return f"{_time((last - first) / 1000)} from the first task to the end of epoch {epochs[-1]['epoch']}, with pauses"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _hours(config: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]], num_epochs: int) -> dict[str, str]:
    """GPU or CPU hours of all epochs. Seconds of sampling and scoring are sums over processes, those of training not.

    A task of a split run can be on other hardware than the training task, whose hardware the journal records.
    """
    machines = [entry["machine"] for entry in epochs]
    if len(epochs) != num_epochs or not all(machine.keys() >= _KEYS for machine in machines):
        return {"GPU hours": UNKNOWN}
    seconds = dict.fromkeys(_TASKS, 0.0)
    on_gpu = [not str(machine["hardware"]).endswith((" core", " cores")) for machine in machines]
    for entry, machine, gpu in zip(epochs, machines, on_gpu, strict=True):
        processes, threads = (1 if gpu and key == "threads" else int(machine[key]) for key in ("processes", "threads"))
        for task in _TASKS:
            count = threads * (processes if task == "train" else 1)
            seconds[task] += entry["metrics"].get(f"{task}/seconds", 0.0) * count
    kind = "GPU hours" if all(on_gpu) else "Device hours" if any(on_gpu) else "CPU hours"
    parts = ", ".join(f"{task} {seconds[task] / 3600:.2g}" for task in _TASKS)
    note = "" if config["loop"]["granularity"] == "fused" else "; tasks may be on different hardware"
    return {kind: f"{sum(seconds.values()) / 3600:.2g} ({parts}; without evaluations{note})"}


_KEYS = {"hardware", "processes", "threads"}
