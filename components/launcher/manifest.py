"""A TrainJob of Kubeflow Trainer (trainer.kubeflow.org/v1alpha1), as plain data."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from reward_finetuning.components.launcher.settings import TrainJobSettings

API_VERSION, KIND = "trainer.kubeflow.org/v1alpha1", "TrainJob"
DIGEST = "reward-finetuning/spec-digest"
"""Annotation: sha256 of the spec as the launcher sent it. Kueue and webhooks change a spec afterwards."""

MANAGER = "reward-finetuning/launcher"
"""Owner of our runtime patch. Kubeflow Trainer refuses a name that is not a domain-prefixed path (DNS-1123/path)."""

_NODE = "node"  # replicated job and container of the torch-distributed runtime
_LONGEST_NAME = 40  # JobSet's pods are called NAME-node-0-INDEX-XXXXX, within 63 characters
_TERMINATION_LOG = "/dev/termination-log"


def job_name(run: str, epoch: int, key: str) -> str:
    """Name of an epoch's TrainJob: the same for every attempt, another for another run directory or parent.

    Args:
        run: name of the run.
        epoch: the last one that the job does.
        key: what else tells the work from other work.

    Returns:
        A DNS label (RFC 1035): lower case, digits, hyphens, a letter first.
    """
    digest = sha256(key.encode()).hexdigest()[:8]
    tail = f"-e{epoch:04d}-{digest}"
    words = re.sub(r"[^a-z0-9]+", "-", run.lower()).strip("-")
    head = words if words[:1].isalpha() else f"r-{words}"
    return head[: _LONGEST_NAME - len(tail)].rstrip("-") + tail


def train_job(name: str, settings: TrainJobSettings, program: Sequence[str], *, num_processes: int) -> dict[str, Any]:
    """A TrainJob that runs `program` under torchrun on every node.

    Args:
        name: see `job_name`.
        settings: the nodes.
        program: a module and its arguments, which torchrun starts `num_processes` times on a node.
        num_processes: on each node.
    """
    spec: dict[str, Any] = {
        "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "ClusterTrainingRuntime", "name": settings.runtime},
        "trainer": {
            "image": settings.image,
            "command": ["python", "-m", "reward_finetuning.training.launch"],
            "args": ["-m", *program],
            "env": _environment(settings),
            "numNodes": settings.num_nodes,
            "numProcPerNode": num_processes,
            "resourcesPerNode": _resources(settings),
        },
        "runtimePatches": [{"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": _pods(settings)}}}],
        "suspend": settings.queue is not None,
    }
    labels = {"app.kubernetes.io/part-of": "reward-finetuning"}
    if settings.queue is not None:
        labels["kueue.x-k8s.io/queue-name"] = settings.queue
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "labels": labels, "annotations": {DIGEST: _digest(spec)}},
        "spec": spec,
    }


def _digest(spec: dict[str, Any]) -> str:
    return sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


def _environment(settings: TrainJobSettings) -> list[dict[str, Any]]:
    # A process writes its error where Kubernetes keeps it after the container has ended; the launcher reads it there.
    plain = {"RFT_FAILURE_FILE": _TERMINATION_LOG, "PYTHONUNBUFFERED": "1", **settings.env}
    secret = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
        for name, variables in settings.secrets.items()
        for variable, key in variables.items()
    ]
    return [{"name": variable, "value": value} for variable, value in plain.items()] + secret


def _resources(settings: TrainJobSettings) -> dict[str, Any]:
    amounts = {"cpu": settings.cpu, "memory": settings.memory}
    if settings.gpus:
        amounts["nvidia.com/gpu"] = str(settings.gpus)
    return {"requests": amounts, "limits": amounts}


def _pods(settings: TrainJobSettings) -> dict[str, Any]:
    """The patch of the runtime's JobSet: where its pods run, and what they mount."""
    tolerations = [dict(toleration) for toleration in settings.tolerations]
    pod: dict[str, Any] = {"nodeSelector": dict(settings.node_selectors), "tolerations": tolerations}
    volumes, mounts = list(settings.volumes), list(settings.volume_mounts)
    if settings.shared_memory:
        memory = {"medium": "Memory", "sizeLimit": settings.shared_memory}
        volumes.insert(0, {"name": "dshm", "emptyDir": memory})
        mounts.insert(0, {"name": "dshm", "mountPath": "/dev/shm"})
    if volumes:
        pod["volumes"] = volumes
        pod["containers"] = [{"name": _NODE, "volumeMounts": mounts}]
    if settings.service_account:
        pod["serviceAccountName"] = settings.service_account
    if settings.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    user = {"runAsNonRoot": True} | ({"runAsUser": settings.run_as_user} if settings.run_as_user else {})
    pod["securityContext"] = user
    return {"replicatedJobs": [{"name": _NODE, "template": {"spec": {"template": {"spec": pod}}}}]}
