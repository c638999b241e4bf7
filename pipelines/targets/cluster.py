"""The cluster file, cluster.yaml: machines, images and services of a team. No setting in it changes results."""

from __future__ import annotations

from pathlib import Path

from pipelines.targets.pool import Pools
from pipelines.targets.services import KfpService, VertexService
from reward_finetuning.config.base import Frozen
from reward_finetuning.config.load import read_sections, validated


class Cluster(Frozen):
    """One cluster.yaml."""

    kfp: KfpService = KfpService()
    vertex: VertexService = VertexService()
    pools: Pools = Pools()


def load_cluster(path: Path | None) -> Cluster:
    """Read a cluster file; without one every setting has its default.

    Raises:
        UserError: the file, a key or a value is wrong; the text names each.
    """
    if path is None:
        return Cluster()
    return validated(Cluster, read_sections(path, "cluster file", "infra/cluster.example.yaml"), str(path))
