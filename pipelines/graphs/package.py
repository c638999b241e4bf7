"""A compiled pipeline package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp.compiler import Compiler

from reward_finetuning.config import EvaluationRun, RunConfig
from reward_finetuning.inputs import check_names
from reward_finetuning.pipelines.graphs.evaluation import standalone
from reward_finetuning.pipelines.graphs.fit import fitted
from reward_finetuning.pipelines.graphs.offline import offline
from reward_finetuning.pipelines.graphs.online import fused, split
from reward_finetuning.pipelines.graphs.retraining import retraining
from reward_finetuning.pipelines.graphs.staged import staged
from reward_finetuning.pipelines.targets.cluster import Cluster
from reward_finetuning.pipelines.targets.refusals import refuse_graph
from reward_finetuning.pipelines.targets.services import TargetName
from reward_finetuning.pipelines.targets.target import Target


def graph(config: RunConfig | EvaluationRun) -> Callable[[Target, Any], Any]:
    """The pipeline that the config asks for."""
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

    The config and the digests of what can be read here (prompts, model, scorers) are constants of the first task: KFP
    never looks at contents, so that task compares the digests with what it finds.

    Raises:
        UserError: the run or the cluster asks for something that the target cannot do, names something that no task
            can follow, or makes a workflow that Argo cannot hold.
    """
    if target is not TargetName.LOCAL:  # here, the checks of a run see the names themselves
        check_names(config)
    if isinstance(config, RunConfig):
        refuse_graph(config, target)
    path.parent.mkdir(parents=True, exist_ok=True)
    where = Target(target, cluster or Cluster())
    _write(where, config, path, build)
    if target is TargetName.KFP and isinstance(config, RunConfig):
        with_epochs = fitted(path, config)
        if with_epochs != config:
            _write(where, with_epochs, path, build)
    return path


def _write(
    target: Target, config: RunConfig | EvaluationRun, path: Path, build: Callable[[Target, Any], Any] | None
) -> None:
    Compiler().compile((build or graph(config))(target, config), str(path))
