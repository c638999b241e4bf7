"""What a team says of its cluster, in a cluster.yaml: nothing in it changes a number."""

from __future__ import annotations

from pipelines.services import KfpService, VertexService
from reward_finetuning.config.base import Frozen


class Cluster(Frozen):
    """One cluster.yaml."""

    kfp: KfpService = KfpService()
    vertex: VertexService = VertexService()
