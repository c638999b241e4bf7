"""Fetch models to finetune."""

from __future__ import annotations

from pathlib import Path

from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.policy.known_models import KNOWN_MODELS
from reward_finetuning.policy.source import pinned_revision


def fetch_model(name: str, revision: str | None, variant: str | None, to: Path, *, download: bool) -> None:
    """Say which commit of a hub's model is meant and under which licence; with `download`, copy it into `to`/NAME.

    Raises:
        UserError: no commit is given or known, or the hub does not give the model.
        RetryableError: the hub cannot be reached.
    """
    commit = pinned_revision(ModelConfig(source=name, revision=revision))
    known = KNOWN_MODELS.get(name)
    licence = known.licence if known and known.commit == commit else "see its card"
    print(f"{name}@{commit[:12]}  licence: {licence}")
    if not download:
        again = f"rft fetch-weights {name}" + (f" --revision {revision}" if revision else "")
        print(f"to download it into {to}: {again} --to {to} --download")
        return
    from reward_finetuning.policy.hub import fetch_pipeline

    folder = fetch_pipeline(name, revision, variant, to)
    print(f"{folder}: set model.source to it")
