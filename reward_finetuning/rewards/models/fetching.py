"""Bring published weights into a folder that a scorer reads, pickles converted to safetensors once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards.catalogue import Model, PublishedFile
from reward_finetuning.rewards.sources import download


def fetch(model: Model, folder: Path, *, from_hub: bool, tell: Callable[[str], None]) -> None:
    """Fill `folder` with what `model` needs; what is there is kept, a pickle there is converted.

    Args:
        model: of the catalogue.
        folder: where it goes; `source` of a config.
        from_hub: download what is missing.
        tell: is told each file's fate, a line each.

    Raises:
        UserError: a file is wrong, or is missing and `from_hub` is false.
        RetryableError: the hub cannot be reached.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for role, file in model.files.items():
        target = folder / file.converted
        if target.is_file():
            tell(f"{target} is there")
            continue
        source = next((folder / name for name in file.names if (folder / name).is_file()), None)
        if source is None:
            if not from_hub:
                raise UserError(
                    f"{folder} lacks {file.name}, the {role} of {model.scorer}: "
                    "put it there, or let --download fetch it from the hub"
                )
            source = download(model, file, ScorerConfig())
        _install(source, target, file)
        tell(f"{target} <- {source}")


def _install(source: Path, target: Path, file: PublishedFile) -> None:
    """Copy, or convert; under a temporary name first, so that what has its name is whole."""
    partial = target.with_name(f".{target.name}.partial")
    if file.is_weights and source.suffix != target.suffix:
        from safetensors.torch import save_file

        from reward_finetuning.rewards.networks.checkpoints import read_state

        state = read_state(source, sha256=file.sha256)
        save_file({name: value.contiguous().clone() for name, value in state.items()}, partial)
    else:
        shutil.copyfile(source, partial)
    os.replace(partial, target)
