"""Trainable weights to and from safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import file_digest
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from reward_finetuning.config.errors import ArtifactError
from reward_finetuning.policy.sharding import own_part, sharded_like


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> str:
    """Write tensors; returns the file's sha256. The same tensors give the same bytes."""
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, path)
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors written by `save_tensors`.

    Raises:
        ArtifactError: the file is missing, truncated or no safetensors file.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path} is no whole safetensors file: {error}") from error


@torch.no_grad()
def restore_weights(trainable: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy saved tensors into the policy's trainable weights; names, shapes and types must be exactly theirs.

    Raises:
        ArtifactError: naming what does not fit.
    """
    if missing := sorted(trainable.keys() - tensors.keys()):
        raise ArtifactError(f"{path} lacks {len(missing)} weights of the policy, first {missing[0]}")
    if foreign := sorted(tensors.keys() - trainable.keys()):
        raise ArtifactError(f"{path} holds {len(foreign)} weights the policy does not have, first {foreign[0]}")
    for name, weight in trainable.items():
        saved = tensors[name]
        if saved.shape != weight.shape or saved.dtype != weight.dtype:
            given, right = (f"{list(t.shape)} {t.dtype}" for t in (saved, weight))
            raise ArtifactError(f"{path}: {name} is {given}; the policy's is {right}")
        own_part(weight).copy_(own_part(sharded_like(saved, weight)))
