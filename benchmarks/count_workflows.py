"""Tasks, pods, longest chain and size of every pipeline on Kubeflow, by shards and epochs, from the compiled packages.

python benchmarks/count_workflows.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from reward_finetuning.config import RunConfig, UserError, load_config
from reward_finetuning.pipelines.estimate.workflow import Steps, Workflow
from reward_finetuning.pipelines.graphs.fit import size_of
from reward_finetuning.pipelines.graphs.package import compile_package
from reward_finetuning.pipelines.targets.cluster import Cluster
from reward_finetuning.pipelines.targets.services import TargetName

RUNS = Path(__file__).parents[1] / "pipelines" / "runs"
SMALL = ["sampling.micro_batch_size=8", "run_root=gs://bucket/runs"]
SIZES = [(1, 1), (2, 2), (16, 1), (16, 5), (32, 5), (32, 3)]
"""Shards and epochs."""

APART = {"reward": {"cpu": "7"}}
"""Pools of which sample and reward do not have the same."""


def configs() -> Iterator[tuple[str, RunConfig, Cluster, int]]:
    """Name of a pipeline, its config, cluster and epochs."""
    yield "fused", load_config(RUNS / "shapes-prdp.yaml", [*SMALL, "loop.granularity=fused"]), Cluster(), 1
    for shards, epochs in SIZES:
        own = [*SMALL, f"loop.num_shards={shards}"]
        block = [*own, f"loop.epochs={epochs}"]
        split = load_config(RUNS / "shapes-prdp.yaml", [*block, "loop.granularity=split"])
        yield f"split, {shards} × {epochs}", split, Cluster(), epochs
        apart = Cluster.model_validate({"pools": APART})
        yield f"split, separate pools, {shards} × {epochs}", split, apart, epochs
        offline = load_config(RUNS / "shapes-ppod-offline.yaml", [*own, f"loop.epochs_per_run={epochs}"])
        yield f"offline, {shards} × {epochs}", offline, Cluster(), epochs
        stages = min(epochs, 4)
        options = [*own, f"loop.epochs={stages}", "loop.granularity=staged", "sampling.rollouts=online"]
        staged = load_config(RUNS / "shapes-ppod-offline.yaml", options)
        yield f"staged, {shards} × {stages}", staged, Cluster(), stages
    yield "retraining", load_config(RUNS / "shapes-retrain.yaml", SMALL[1:]), Cluster(), 1


def row(name: str, config: RunConfig, cluster: Cluster, epochs: int, package: Path) -> str:
    """A row of the table; evaluations are not counted, and are in the size."""
    try:
        compile_package(config, TargetName.KFP, package, cluster)
    except UserError as error:
        return f"| {name} | refused: {error} | | | |"
    document = next(yaml.safe_load_all(package.read_text(encoding="utf-8")))
    steps: Steps = Workflow(document, epochs, evaluates=False).steps()
    kib = size_of(package, config).total(epochs) / 1024
    return f"| {name} | {steps.tasks} | {steps.pods} | {steps.chain} | {kib:.0f} |"


def main() -> None:
    """Print the table."""
    print("| pipeline, shards × epochs | tasks | pods | longest chain | KiB |\n|---|---|---|---|---|")
    with TemporaryDirectory() as folder:
        for each in configs():
            print(row(*each, Path(folder) / "package.yaml"))


if __name__ == "__main__":
    main()
