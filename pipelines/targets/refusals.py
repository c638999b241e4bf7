"""Refuse, when a package is compiled, what a target cannot do for a pool, so that no setting is ignored."""

from __future__ import annotations

import re
from collections.abc import Iterator

from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.pipelines.targets.cluster import Cluster
from reward_finetuning.pipelines.targets.pool import Pool
from reward_finetuning.pipelines.targets.roles import ROLES, Role
from reward_finetuning.pipelines.targets.services import TargetName

_KUBERNETES_ONLY = {
    "node_selectors": "Vertex chooses nodes by machine_type and accelerator alone",
    "tolerations": "Vertex has no taints",
    "shared_memory": "Vertex sizes /dev/shm itself",
    "queue": "Vertex has no Kueue",
    "secrets": "Vertex reads no Kubernetes secrets: let the service account (vertex.service_account) have access",
    "volumes": "Vertex mounts no Kubernetes volumes: use gs://, or boot_disk_gb for scratch space",
    "image_pull_policy": "Vertex pulls an image for every task",
    "image_pull_secrets": "Vertex pulls from Artifact Registry as its service agent",
    "run_as_user": "Vertex takes the user that the image says",
}
_CUSTOM_JOB_ONLY = ("spot", "boot_disk_gb", "timeout")
_PLAIN_ACCELERATORS = ("nvidia-l4", "nvidia-tesla-t4", "nvidia-tesla-p4", "nvidia-tesla-p100", "nvidia-tesla-v100")
_MOST_CORES, _MOST_GIGABYTES, _MOST_COLLECTED = 96, 624, 100


def refuse(cluster: Cluster, target: TargetName) -> None:
    """Refuse what `target` cannot do.

    Raises:
        UserError: naming every setting, why not, and what would be right.
    """
    rules = {TargetName.LOCAL: _nothing, TargetName.KFP: _on_kfp, TargetName.VERTEX: _on_vertex}[target]
    roles_by_text: dict[str, list[str]] = {}
    for role in ROLES:
        for text in rules(role, cluster.pools.of(role)):
            roles_by_text.setdefault(text, []).append(role)
    if roles_by_text:
        lines = [f"pools.{_one_or_several(roles)}.{text}" for text, roles in roles_by_text.items()]
        raise UserError(f"--target {target}: " + "; ".join(lines))


def refuse_graph(config: RunConfig, target: TargetName) -> None:
    """Refuse a run that `target` cannot hold.

    Raises:
        UserError: saying how much it holds.
    """
    shards = config.loop.num_shards
    if target is TargetName.VERTEX and config.loop.granularity != "fused" and shards > _MOST_COLLECTED:
        raise UserError(
            f"--target {target}: loop.num_shards={shards}, but Vertex collects at most {_MOST_COLLECTED} shards "
            "for one train-epoch: lower it"
        )


def _nothing(_role: Role, _pool: Pool) -> Iterator[str]:
    yield from ()


def _on_kfp(_role: Role, pool: Pool) -> Iterator[str]:
    if pool.boot_disk_gb:
        yield "boot_disk_gb: KFP 2.17 asks for no disk: give the node pool's boot disk that size"


def _on_vertex(role: Role, pool: Pool) -> Iterator[str]:
    for field, reason in _KUBERNETES_ONLY.items():
        if pool.given(field):
            yield f"{field}: {reason}"
    if pool.gpus and pool.accelerator is None:
        yield "accelerator: Vertex must know which GPU, e.g. nvidia-l4"
    yield from _on_custom_job(role, pool) if pool.machine_type else _on_plain_task(role, pool)


def _on_plain_task(role: Role, pool: Pool) -> Iterator[str]:
    remedy = "light tasks are none: drop it" if role == "light" else "give machine_type too, e.g. g2-standard-8"
    for field in _CUSTOM_JOB_ONLY:
        if pool.given(field):
            yield f"{field}: Vertex has it in a CustomJob alone: {remedy}"
    if pool.num_nodes > 1:
        yield f"num_nodes: {pool.num_nodes} nodes are a CustomJob on Vertex: give machine_type too, e.g. a2-highgpu-8g"
    if pool.gpus and pool.accelerator and pool.accelerator not in _PLAIN_ACCELERATORS:
        yield (
            f"accelerator: on Vertex {pool.accelerator} needs a CustomJob: give machine_type too; "
            f"without one there are {', '.join(_PLAIN_ACCELERATORS)}"
        )
    if _cores(pool.cpu) > _MOST_CORES:
        yield f"cpu: Vertex gives a task at most {_MOST_CORES} cores, got {pool.cpu}"
    if not (size := re.fullmatch(r"(\d+)([KMG])", pool.memory)):
        yield f"memory: Vertex reads K, M and G alone, got {pool.memory}: write e.g. 16G"
    elif int(size[1]) * {"K": 1e-6, "M": 1e-3, "G": 1}[size[2]] > _MOST_GIGABYTES:
        yield f"memory: Vertex gives a task at most {_MOST_GIGABYTES}G, got {pool.memory}"


def _on_custom_job(role: Role, pool: Pool) -> Iterator[str]:
    if role == "light":
        yield "machine_type: light tasks need no CustomJob: drop it, Vertex chooses a machine by cpu and memory"
    for field in ("cpu", "memory"):
        if pool.given(field):
            yield f"{field}: machine_type {pool.machine_type} says it already: drop one of them"


def _one_or_several(roles: list[str]) -> str:
    return roles[0] if len(roles) == 1 else f"{{{','.join(roles)}}}"


def _cores(text: str) -> float:
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)
