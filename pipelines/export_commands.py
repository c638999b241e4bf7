"""`rft export`: a trained policy as a folder for stock diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.options import ConfigFile, Override
from reward_finetuning.config import UserError, load_config


def export(
    config: ConfigFile,
    to: Annotated[Path, typer.Option(help="Folder to write; it must be empty or not exist yet.")],
    *,
    epoch: Annotated[int | None, typer.Option(min=1, help="Which policy; the newest when not given.")] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Put LoRA adapters into the base model's weights.")] = False,
    override: Override = None,
) -> None:
    """Export a policy as a folder that stock diffusers loads, with a model card.

    Full finetuning gives a whole pipeline (`from_pretrained`), LoRA an adapter (`load_lora_weights`).

    Example: `rft export pipelines/runs/shapes-prdp.yaml --to my-model`
    """
    from reward_finetuning.storage import RunDirectory

    run = RunDirectory(load_config(config, override or []))
    if run.describe() is None:
        raise UserError(f"{run.uri} holds no run; begin one with: rft run {config}")
    run.check()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"--to {to} is not empty: give a folder that does not exist yet")
    if merge and run.config.model.trainable != "lora":
        raise UserError("--merge puts LoRA adapters into the base model; model.trainable is full, which has none")
    from reward_finetuning.steps.exports import export_policy, policy_of_epoch

    policy = policy_of_epoch(run, epoch)
    export_policy(run, policy, to, merge=merge)
    print(f"{to}: epoch {policy.epoch} of {run.config.name}; {to / 'README.md'} says how to use it")
