"""Where a task runs: what a role's pool asks for, in the words of each target."""

from __future__ import annotations

from kfp import kubernetes
from kfp.dsl import PipelineTask

from reward_finetuning.pipelines.targets.cluster import Cluster
from reward_finetuning.pipelines.targets.pool import Pool, Toleration
from reward_finetuning.pipelines.targets.roles import Role
from reward_finetuning.pipelines.targets.services import TargetName


def place(task: PipelineTask, role: Role, target: TargetName, cluster: Cluster) -> PipelineTask:
    """Set what a task of `role` needs on `target`; `refusals` has refused what it cannot do."""
    # KFP's key never looks at contents, and which epochs are done is run-time state; our steps know what is done.
    task.set_caching_options(enable_caching=False)
    if target is TargetName.LOCAL:
        return task
    pool = cluster.pools.of(role)
    # The default backoff_max_duration of one hour counts from the first start: a longer step would never be retried.
    # A light task takes seconds: its first retries follow quickly, e.g. after the loss of its pod.
    first = "5s" if role == "light" else "30s"
    task.set_retry(pool.retries, backoff_duration=first, backoff_factor=2.0, backoff_max_duration="604800s")
    if target is TargetName.KFP:
        _set_container(task, pool, "nvidia.com/gpu")
        _set_pod(task, pool)
        # Network policies select pods by it (infra/kubernetes/kubeflow/runs): one role does not reach another.
        kubernetes.add_pod_label(task, "reward-finetuning/role", role)
        # What an attempt leaves for the next ones (steps/attempt.py) concerns one pipeline run, and names the pool.
        kubernetes.use_field_path_as_env(task, "KFP_RUN_ID", "metadata.labels['pipeline/runid']")
        task.set_env_variable("RFT_POOL", role)
        # Argo reads the error of a failed task there, and does not repeat a permanent one (workflow-defaults.yaml).
        task.set_env_variable("RFT_FAILURE_FILE", "/dev/termination-log")
    elif pool.machine_type is None:  # Vertex chooses the machine; of a CustomJob everything is in its payload
        _set_container(task, pool, pool.vertex_accelerator)
    return task


def _set_container(task: PipelineTask, pool: Pool, accelerator: str | None) -> None:
    task.set_cpu_limit(pool.cpu).set_memory_limit(pool.memory)
    if pool.gpus:
        task.set_accelerator_type(accelerator).set_accelerator_limit(pool.gpus)
    for variable, value in pool.env.items():
        task.set_env_variable(variable, value)


def _set_pod(task: PipelineTask, pool: Pool) -> None:
    """Write the platform document, which Vertex does not read: only kfp.kubernetes has these."""
    for label, value in node_labels(pool).items():
        kubernetes.add_node_selector(task, label, value)
    for taint in tolerations(pool):
        kubernetes.add_toleration(task, taint.key, taint.operator, taint.value, taint.effect)
    for secret, variables in pool.secrets.items():
        for variable, key in variables.items():  # one call each: two variables may read one key
            kubernetes.use_secret_as_env(task, secret, {key: variable})
    if pool.shared_memory:
        kubernetes.empty_dir_mount(
            task, volume_name="dshm", mount_path="/dev/shm", medium="Memory", size_limit=pool.shared_memory
        )
    for volume in pool.volumes:
        volume.mount(task)
    if pool.queue:
        kubernetes.add_pod_label(task, "kueue.x-k8s.io/queue-name", pool.queue)
    if pool.image_pull_policy:
        kubernetes.set_image_pull_policy(task, pool.image_pull_policy)
    if pool.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(pool.image_pull_secrets))
    if pool.timeout_seconds:
        kubernetes.set_timeout(task, pool.timeout_seconds)
    kubernetes.set_security_context(task, run_as_user=pool.run_as_user, run_as_non_root=True)


def node_labels(pool: Pool) -> dict[str, str]:
    """Labels of the Kubernetes nodes that a pool's pods may go to."""
    labels = {}
    if pool.gpus and pool.accelerator:
        labels["cloud.google.com/gke-accelerator"] = pool.accelerator
    if pool.machine_type:
        labels["node.kubernetes.io/instance-type"] = pool.machine_type
    if pool.spot:
        labels["cloud.google.com/gke-spot"] = "true"
    return labels | pool.node_selectors


def tolerations(pool: Pool) -> tuple[Toleration, ...]:
    """Taints that a pool's pods run beside: those of GPU and Spot nodes, and the pool's own."""
    gpu = Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
    spot = Toleration(key="cloud.google.com/gke-spot", operator="Equal", value="true", effect="NoSchedule")
    return (*([gpu] if pool.gpus else []), *([spot] if pool.spot else []), *pool.tolerations)
