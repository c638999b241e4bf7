"""A compiled pipeline package."""

from __future__ import annotations

from pathlib import Path

from kfp.compiler import Compiler

from pipelines.online import online
from pipelines.placement import TargetName
from pipelines.target import Target
from reward_finetuning.config import RunConfig


def compile_package(config: RunConfig, target: TargetName, path: Path) -> Path:
    """Write the pipeline of a run as KFP's YAML; its size does not depend on the number of epochs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Compiler().compile(online(Target(target), config), str(path))
    return path
