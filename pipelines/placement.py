"""Where a task runs: one pool a role, and one `place` for every target."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from kfp import kubernetes
from kfp.dsl import PipelineTask
from pydantic import NonNegativeInt

from reward_finetuning.config.base import Frozen

Role = Literal["light", "export", "sample", "reward", "train"]


class TargetName(StrEnum):
    """What a package is compiled for."""

    LOCAL = "local"
    KFP = "kfp"
    VERTEX = "vertex"


class Pool(Frozen):
    """A kind of machine."""

    cpu: str = "4"
    memory: str = "16G"
    gpus: NonNegativeInt = 0
    accelerator: str = "nvidia-l4"
    """GKE's name; Vertex's is the same in capitals with underscores."""

    shared_memory: str = "8Gi"
    """/dev/shm of a GPU task; Kubernetes' default of 64 MiB is too small for torch's workers."""

    retries: NonNegativeInt = 10


POOLS: dict[Role, Pool] = {
    "light": Pool(cpu="1", memory="2G"),
    "export": Pool(),
    "sample": Pool(gpus=1),
    "reward": Pool(gpus=1),
    "train": Pool(cpu="8", memory="48G", gpus=1),
}


def place(task: PipelineTask, role: Role, target: TargetName) -> PipelineTask:
    """Set what a task of `role` needs on `target`: resources, retries, no caching."""
    pool = POOLS[role]
    task.set_caching_options(enable_caching=False)  # KFP's key never looks at contents; our steps know what is done
    if target is TargetName.LOCAL:
        return task
    # The default backoff_max_duration of one hour counts from the first start: a longer step would never be retried.
    task.set_retry(pool.retries, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration="604800s")
    task.set_cpu_limit(pool.cpu).set_memory_limit(pool.memory)
    if pool.gpus:
        name = pool.accelerator.upper().replace("-", "_") if target is TargetName.VERTEX else "nvidia.com/gpu"
        task.set_accelerator_type(name).set_accelerator_limit(pool.gpus)
    if (
        role == "light" and target is TargetName.KFP
    ):  # MLflow's run is tagged with the pipeline run that goes on with it
        kubernetes.use_field_path_as_env(task, "KFP_RUN_ID", "metadata.labels['pipeline/runid']")
    if (
        pool.gpus and target is TargetName.KFP
    ):  # kfp.kubernetes writes a second YAML document, which Vertex does not read
        kubernetes.add_node_selector(task, "cloud.google.com/gke-accelerator", pool.accelerator)
        kubernetes.add_toleration(task, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
        kubernetes.empty_dir_mount(
            task, volume_name="dshm", mount_path="/dev/shm", medium="Memory", size_limit=pool.shared_memory
        )
    return task
