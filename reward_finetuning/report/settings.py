"""The settings of a run as Markdown: those that somebody chose first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from reward_finetuning.config.run import RunConfig, flatten
from reward_finetuning.report.markdown import markdown_page, plain

_NAMES = frozenset({"name", "run_root"})
"""They are in the heading."""


def settings_page(config: RunConfig, address: str, mlflow_run: str | None, epochs: Sequence[str], latest: int) -> str:
    """The page of the first task: what this pipeline run does, the settings that are not the defaults, and all.

    Args:
        config: of the run, with the options of this pipeline run.
        address: of the run directory.
        mlflow_run: id of its run in MLflow.
        epochs: that this pipeline run does.
        latest: the newest epoch that is trained.
    """
    total = config.loop.epochs
    done = (
        f"All {total} epochs are trained."
        if latest >= total
        else (f"This pipeline run trains epochs {epochs[0]} to {epochs[-1]} of {total}.")
    )
    sentences = [f"Run directory: {address}", f"MLflow run: {mlflow_run or 'none yet'}", done]
    chosen = changed_settings(config)
    rows = [(key, value, default) for key, (value, default) in chosen.items()] or [("none", "", "")]
    head = markdown_page(config.name, sentences, ("setting", "value", "default"), rows)
    every = [f"| {plain(key)} | {plain(value)} |" for key, value in _flat(config).items()]
    return "\n".join([head, "## All settings", "", "| setting | value |", "| --- | --- |", *every, ""])


def changed_settings(config: RunConfig) -> dict[str, tuple[str, str]]:
    """Setting -> (value, default), of the settings that differ from the defaults."""
    return changed_values(config.model_dump(mode="json"))


def changed_values(settings: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """The same of a config as JSON, for example that of run.json, which an earlier version can have written."""
    defaults = RunConfig.model_validate({"name": "defaults", "objective": {"name": settings["objective"]["name"]}})
    values = _flat(defaults)
    return {
        key: (value, values.get(key, ""))
        for key, value in _flat_tree(settings).items()
        if key not in _NAMES and values.get(key) != value
    }


def _flat(config: RunConfig) -> dict[str, str]:
    return _flat_tree(config.model_dump(mode="json"))


def _flat_tree(tree: dict[str, Any]) -> dict[str, str]:
    return {key: _text(value) for key, value in flatten(tree).items()}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
