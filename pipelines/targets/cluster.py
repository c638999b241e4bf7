"""The cluster file, cluster.yaml: machines, images and services of a team. No setting in it changes results."""

from __future__ import annotations

from pathlib import Path

from reward_finetuning.config.base import Frozen
from reward_finetuning.config.load import read_sections, validated
from reward_finetuning.pipelines.targets.pool import Pools
from reward_finetuning.pipelines.targets.roles import ROLES
from reward_finetuning.pipelines.targets.services import KfpService, VertexService


class Cluster(Frozen):
    """One cluster.yaml."""

    kfp: KfpService = KfpService()
    vertex: VertexService = VertexService()
    pools: Pools = Pools()

    def claim_folders(self) -> dict[str, str]:
        """Folder -> claim, of every claim that all pools mount there: a run directory may be in it."""
        by_pool = [{each.path: each.claim for each in self.pools.of(role).volumes if each.claim} for role in ROLES]
        first, *others = by_pool
        return {path: claim for path, claim in first.items() if all(other.get(path) == claim for other in others)}

    def shared_folders(self) -> tuple[str, ...]:
        """Folders that the tasks of every pool share: those of `kfp.shared_folders`, and those of claims."""
        return (*self.kfp.shared_folders, *self.claim_folders())


def load_cluster(path: Path | None) -> Cluster:
    """Read a cluster file; without one every setting has its default.

    Raises:
        UserError: the file, a key or a value is wrong; the text names each.
    """
    if path is None:
        return Cluster()
    return validated(Cluster, read_sections(path, "cluster file", "infra/cluster.example.yaml"), str(path))
