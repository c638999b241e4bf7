"""A compiled pipeline package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp.compiler import Compiler

from pipelines.offline import offline
from pipelines.online import fused, split
from pipelines.placement import TargetName
from pipelines.retraining import retraining
from pipelines.staged import staged
from pipelines.target import Target
from reward_finetuning.config import RunConfig


def graph(config: RunConfig) -> Callable[[Target, RunConfig], Any]:
    """The pipeline that the config asks for; the only parameter of each is the config itself."""
    if config.retraining is not None:
        return retraining
    if config.loop.granularity == "split" and config.sampling.rollouts == "offline":
        return offline
    return {"fused": fused, "split": split, "staged": staged}[config.loop.granularity]


def compile_package(config: RunConfig, target: TargetName, path: Path) -> Path:
    """Write the pipeline of a run as KFP's YAML; its size does not depend on the number of epochs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Compiler().compile(graph(config)(Target(target), config), str(path))
    return path
