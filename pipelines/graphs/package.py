"""A compiled pipeline package."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp.compiler import Compiler

from pipelines.graphs.evaluation import standalone
from pipelines.graphs.offline import offline
from pipelines.graphs.online import fused, split
from pipelines.graphs.retraining import retraining
from pipelines.graphs.staged import staged
from pipelines.targets.cluster import Cluster
from pipelines.targets.refusals import refuse_graph
from pipelines.targets.services import TargetName
from pipelines.targets.target import Target
from reward_finetuning.config import EvaluationRun, RunConfig
from reward_finetuning.config.base import without_placeholders
from reward_finetuning.inputs import check_names, compiled_digests


def graph(config: RunConfig | EvaluationRun) -> Callable[[Target, Any], Any]:
    """The pipeline that the config asks for; its parameters are the config itself and the digests of its inputs."""
    if isinstance(config, EvaluationRun):
        return standalone
    if config.retraining is not None:
        return retraining
    if config.loop.granularity == "split" and config.sampling.rollouts == "offline":
        return offline
    return {"fused": fused, "split": split, "staged": staged}[config.loop.granularity]


def compile_package(
    config: RunConfig | EvaluationRun,
    target: TargetName,
    path: Path,
    cluster: Cluster | None = None,
    *,
    build: Callable[[Target, Any], Any] | None = None,
) -> Path:
    """Write the config's pipeline, or that of `build`, as KFP's YAML; its size does not depend on the epochs.

    The digests of what can be read here (prompts, model, scorers) become the default of the parameter `inputs`, where
    the pipeline has one: KFP never looks at contents, so the first task compares them with what it finds.

    Raises:
        UserError: the run or the cluster asks for something that the target cannot do, or names something that no task
            can follow.
    """
    if target is not TargetName.LOCAL:  # here, the checks of a run see the names themselves
        check_names(config)
    if isinstance(config, RunConfig):
        refuse_graph(config, target)
    pipeline = (build or graph(config))(Target(target, cluster or Cluster()), config)
    path.parent.mkdir(parents=True, exist_ok=True)
    inputs = {}
    if isinstance(config, RunConfig) and "inputs" in pipeline.component_spec.inputs:
        inputs = {"inputs": without_placeholders(json.dumps(compiled_digests(config)))}
    Compiler().compile(pipeline, str(path), pipeline_parameters=inputs)
    return path
