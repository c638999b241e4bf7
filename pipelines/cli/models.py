"""Download of models to finetune, for `rft fetch-weights`."""

from __future__ import annotations

from pathlib import Path

from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.policy.published_models import PUBLISHED_MODELS
from reward_finetuning.policy.source import pinned_revision


def fetch_model(name: str, revision: str | None, variant: str | None, to: Path, *, download: bool) -> None:
    """Print the commit and licence of a model on the hub; with `download`, copy the model to `to`/NAME.

    Raises:
        UserError: `revision` is missing and the commit is unknown, or the hub refuses the model.
        RetryableError: the hub is not reachable.
    """
    commit = pinned_revision(ModelConfig(source=name, revision=revision))
    model = PUBLISHED_MODELS.get(name)
    licence = model.licence if model and model.commit == commit else "see its model card"
    print(f"{name}@{commit[:12]}  licence: {licence}")
    if not download:
        command = f"rft fetch-weights {name}" + (f" --revision {revision}" if revision else "")
        print(f"to download it to {to}: {command} --to {to} --download")
        return
    from reward_finetuning.policy.hub import fetch_pipeline

    folder = fetch_pipeline(name, revision, variant, to)
    print(f"{folder}: set model.source to it")
