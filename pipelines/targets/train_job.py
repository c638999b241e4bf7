"""The train pool as the nodes of a TrainJob: the parameter `job` of the task that launches it."""

from __future__ import annotations

from reward_finetuning.components.launcher.settings import TrainJobSettings
from reward_finetuning.pipelines.targets.cluster import Cluster
from reward_finetuning.pipelines.targets.images import image_of
from reward_finetuning.pipelines.targets.placement import node_labels, tolerations


def train_job_settings(cluster: Cluster) -> TrainJobSettings:
    """Nodes, resources and surroundings of the pool `train`."""
    pool = cluster.pools.train
    timeout = {} if pool.timeout_seconds is None else {"timeout_seconds": pool.timeout_seconds}
    return TrainJobSettings(
        image=pool.image or image_of("train"),
        num_nodes=pool.num_nodes,
        gpus=pool.gpus,
        cpu=pool.cpu,
        memory=pool.memory,
        shared_memory=pool.shared_memory,
        queue=pool.queue,
        node_selectors=node_labels(pool),
        tolerations=tuple(taint.model_dump(exclude_none=True) for taint in tolerations(pool)),
        env=pool.env,
        secrets=pool.secrets,
        volumes=tuple(volume.in_pod() for volume in pool.volumes),
        volume_mounts=tuple({"name": volume.name, "mountPath": volume.path} for volume in pool.volumes),
        image_pull_secrets=pool.image_pull_secrets,
        service_account=cluster.kfp.service_account,
        run_as_user=pool.run_as_user,
        **timeout,
    )
