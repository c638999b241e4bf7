"""A compiled pipeline package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp.compiler import Compiler

from pipelines.evaluation import standalone
from pipelines.offline import offline
from pipelines.online import fused, split
from pipelines.placement import TargetName
from pipelines.staged import staged
from pipelines.target import Target
from reward_finetuning.config import EvaluationRun, RunConfig


def graph(config: RunConfig | EvaluationRun) -> Callable[[Target, Any], Any]:
    """The pipeline that the config asks for; the only parameter of each is the config itself."""
    if isinstance(config, EvaluationRun):
        return standalone
    if config.loop.granularity == "split" and config.sampling.rollouts == "offline":
        return offline
    return {"fused": fused, "split": split, "staged": staged}[config.loop.granularity]


def compile_package(
    config: RunConfig | EvaluationRun,
    target: TargetName,
    path: Path,
    *,
    build: Callable[[Target, Any], Any] | None = None,
) -> Path:
    """Write the config's pipeline, or that of `build`, as KFP's YAML; its size does not depend on the epochs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Compiler().compile((build or graph(config))(Target(target), config), str(path))
    return path
