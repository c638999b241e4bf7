"""The parameter `job` of a launching task, as JSON text: the nodes of the TrainJob, and how the task waits for it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from reward_finetuning.config import UserError
from reward_finetuning.config.base import Frozen


class TrainJobSettings(Frozen):
    """A TrainJob's nodes; nothing in it changes a number."""

    image: str
    """The trainer image; it has the same code as the launcher's."""

    num_nodes: PositiveInt
    """Machines that train together."""

    gpus: NonNegativeInt = 1
    """GPUs of a node; one process each, or one process a node where there is none."""

    cpu: str = "8"
    memory: str = "48G"
    """Of a node, as Kubernetes writes them."""

    shared_memory: str | None = "8Gi"
    """Size of /dev/shm: NCCL's processes on a node meet there, and Kubernetes' 64 MiB are too small."""

    runtime: str = "torch-distributed"
    """ClusterTrainingRuntime of Kubeflow Trainer; its replicated job and container are called `node`."""

    namespace: str | None = None
    """Of the TrainJob; the launcher's own when not given."""

    queue: str | None = None
    """Kueue's LocalQueue: the TrainJob is made suspended, and Kueue starts it when there is room for all nodes."""

    node_selectors: dict[str, str] = Field(default={})
    tolerations: tuple[dict[str, Any], ...] = ()
    """As Kubernetes writes them."""

    env: dict[str, str] = Field(default={})
    secrets: dict[str, dict[str, str]] = Field(default={})
    """Environment variables: by value, and out of secrets (name of the secret -> {variable: key})."""

    volumes: tuple[dict[str, Any], ...] = ()
    volume_mounts: tuple[dict[str, str], ...] = ()
    """As Kubernetes writes them, in a pod and in its container; /dev/shm is `shared_memory`."""

    image_pull_secrets: tuple[str, ...] = ()
    service_account: str | None = None
    run_as_user: PositiveInt | None = None

    timeout_seconds: PositiveInt = 7 * 24 * 3600
    """Longest wait for the TrainJob, time in the queue included; then it is deleted."""

    poll_seconds: PositiveFloat = 10.0
    """Between two looks at it."""

    keep: Literal["never", "failed", "always"] = "failed"
    """Which finished TrainJobs stay in the cluster, with their pods' logs."""

    @classmethod
    def parse(cls, text: str) -> TrainJobSettings:
        """From JSON text.

        Raises:
            UserError: naming what is wrong.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise UserError(f"job is no JSON text of TrainJobSettings: {problems}") from None
