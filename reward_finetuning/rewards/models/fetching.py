"""Download of published weights into a folder for a scorer. Pickles are converted to safetensors."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards.catalogue import Model, PublishedFile
from reward_finetuning.rewards.sources import download


def fetch(model: Model, folder: Path, *, from_hub: bool, report: Callable[[str], None]) -> None:
    """Write the files of `model` to `folder`. Existing files are kept, and existing pickles are converted.

    Args:
        model: model of the catalogue.
        folder: output folder, the `source` of a config.
        from_hub: download missing files.
        report: receives one line per file.

    Raises:
        UserError: a file is invalid, or is missing and `from_hub` is false.
        RetryableError: the hub is not reachable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for role, file in model.files.items():
        target = folder / file.converted
        if target.is_file():
            report(f"{target} exists")
            continue
        source = next((folder / name for name in file.names if (folder / name).is_file()), None)
        if source is None:
            if not from_hub:
                raise UserError(
                    f"{folder} lacks {file.name}, the {role} of {model.scorer}: "
                    "copy it to this folder, or download it with --download"
                )
            source = download(model, file, ScorerConfig())
        _install(source, target, file)
        report(f"{target} <- {source}")


def _install(source: Path, target: Path, file: PublishedFile) -> None:
    """Copy or convert a file under a temporary name, and rename it when it is complete."""
    partial = target.with_name(f".{target.name}.partial")
    if file.is_weights and source.suffix != target.suffix:
        from safetensors.torch import save_file

        from reward_finetuning.rewards.networks.checkpoints import read_state

        state = read_state(source, sha256=file.sha256)
        save_file({name: value.contiguous().clone() for name, value in state.items()}, partial)
    else:
        shutil.copyfile(source, partial)
    os.replace(partial, target)
