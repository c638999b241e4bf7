"""`rft compile`: the pipeline of a run as a package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from reward_finetuning.config import RunConfig, load_run_or_evaluation
from reward_finetuning.pipelines.cli.options import ConfigFile, Override
from reward_finetuning.pipelines.targets.services import TargetName


def compile_(
    config: ConfigFile,
    target: Annotated[TargetName, typer.Option(help="Service that runs the package.")] = TargetName.KFP,
    override: Override = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Output file; default: NAME-TARGET.yaml.")] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Cluster file: machines, images and secrets per role (docs/cluster.md)."),
    ] = None,
) -> None:
    """Compile the pipeline of a run or an evaluation to a package for Kubeflow Pipelines or Vertex AI.

    What `rft submit` would refuse, such as a local run_root, is printed as a warning: the parameters `run` and
    `options` of a pipeline run can replace it.

    Example: `rft compile prdp-large-scale --target vertex --cluster cluster.yaml --output package.yaml`
    """
    from reward_finetuning.pipelines.graphs.fit import describe_workflow
    from reward_finetuning.pipelines.graphs.package import compile_package
    from reward_finetuning.pipelines.remote.preflight import examine
    from reward_finetuning.pipelines.remote.service import Service
    from reward_finetuning.pipelines.targets.cluster import load_cluster

    compiled = load_run_or_evaluation(config, override or [])
    path = output or Path(f"{compiled.name}-{target}.yaml")
    machines = load_cluster(cluster)
    compile_package(compiled, target, path, machines)
    if target is not TargetName.LOCAL:
        findings = examine(compiled, Service(target.value), machines)
        for text in (*findings.refusals, *findings.warnings):
            print(f"rft: warning: {text}", file=sys.stderr)
    content = f"{compiled.loop.epochs} epochs" if isinstance(compiled, RunConfig) else f"evaluation {compiled.name}"
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB for {target}, {content}")
    if target is TargetName.KFP and isinstance(compiled, RunConfig):
        print(describe_workflow(path, compiled))
