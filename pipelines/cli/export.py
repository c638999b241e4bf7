"""`rft export`: write a trained policy as a folder for stock diffusers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from reward_finetuning.config import RunConfig, UserError, load_config
from reward_finetuning.config.locations import BUCKET_EXAMPLES
from reward_finetuning.pipelines.cli.options import ConfigFile, Override
from reward_finetuning.storage.folders import check_free, in_bucket, upload_folder


class Weights(StrEnum):
    """The two kinds of weights of a policy."""

    NEWEST = "newest"
    AVERAGED = "averaged"


def export(
    config: ConfigFile,
    to: Annotated[str, typer.Option(help=f"Output folder, or {BUCKET_EXAMPLES}; it must be empty or not exist.")],
    *,
    epoch: Annotated[int | None, typer.Option(min=1, help="Epoch of the policy; default: the newest.")] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Merge LoRA adapters into the weights of the base model.")
    ] = False,
    single_file: Annotated[
        bool, typer.Option("--single-file", help="Write one .safetensors file with merged weights, for other programs.")
    ] = False,
    weights: Annotated[
        Weights | None,
        typer.Option(help="Newest or averaged weights (training.ema_decay); default: the weights that are evaluated."),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME", help="Also upload the folder to the hub as a private model; requires HF_TOKEN."
        ),
    ] = None,
    override: Override = None,
) -> None:
    """Export a policy as a folder that stock diffusers loads, with a model card.

    Full finetuning writes a pipeline (`from_pretrained`), LoRA an adapter (`load_lora_weights`). `--single-file` writes
    one file for `from_single_file` and other programs.

    Example: `rft export shapes-prdp --to my-model`
    """
    from reward_finetuning.storage import RunDirectory

    run = RunDirectory(load_config(config, override or []))
    if run.describe() is None:
        raise UserError(f"{run.uri} contains no run; start one with: rft run {config}")
    run.check()
    averaged = None if weights is None else weights is Weights.AVERAGED
    _check_options(run.config, merge=merge, single_file=single_file, averaged=bool(averaged))
    from reward_finetuning.evaluation.exports import export_policy, policy_of_epoch

    with _folder_for(to) as folder:
        policy = policy_of_epoch(run, epoch)
        export_policy(run, policy, folder, merge=merge, single_file=single_file, averaged=averaged)
        if in_bucket(to):
            upload_folder(folder, to)
        print(f"{to}: epoch {policy.epoch} of {run.config.name}; see {to}/README.md")
        if push is not None:
            from reward_finetuning.policy.pretrained.hub import push_folder

            print(push_folder(folder, push))


@contextmanager
def _folder_for(to: str) -> Iterator[Path]:
    """The empty output folder; for a bucket a temporary folder."""
    if in_bucket(to):
        check_free(to)
        with TemporaryDirectory(prefix="rft-export-") as folder:
            yield Path(folder)
        return
    path = Path(to).expanduser()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"--to {to} is not empty: give a folder that is empty or does not exist")
    yield path


def _check_options(config: RunConfig, *, merge: bool, single_file: bool, averaged: bool) -> None:
    if merge and config.model.trainable != "lora":
        raise UserError("--merge merges LoRA adapters, and this run has none (model.trainable is full): remove --merge")
    if merge and single_file:
        raise UserError("--single-file already merges the weights: give one of --merge and --single-file")
    if averaged and config.training.ema_decay is None:
        raise UserError("--weights averaged: this run has no averaged weights; they require training.ema_decay")
