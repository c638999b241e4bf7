"""Where Kubeflow Pipelines is, and who asks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kfp.client import KF_PIPELINES_SA_TOKEN_ENV, KF_PIPELINES_SA_TOKEN_PATH
from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

from reward_finetuning.config import UserError
from reward_finetuning.pipelines.targets.services import KfpService

_IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"


def host_of(service: KfpService) -> str:
    """The API's URL: given, KF_PIPELINES_ENDPOINT, or in a pod the cluster's own.

    Raises:
        UserError: none of these.
    """
    given = service.host or os.environ.get("KF_PIPELINES_ENDPOINT")
    if given is None and "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise UserError(
            "where is Kubeflow Pipelines? Give --host, kfp.host in the cluster file, or KF_PIPELINES_ENDPOINT, e.g. "
            "https://kubeflow.example.com/pipeline"
        )
    return (given or _IN_CLUSTER).rstrip("/")


def credentials(service: KfpService) -> dict[str, Any]:
    """The token: of the environment, else the pod's own, read anew for every request since it is renewed; else none."""
    if token := os.environ.get(service.token_variable, "").strip():
        return {"existing_token": token}
    path = os.environ.get(KF_PIPELINES_SA_TOKEN_ENV) or KF_PIPELINES_SA_TOKEN_PATH
    return {"credentials": ServiceAccountTokenVolumeCredentials(path)} if Path(path).is_file() else {}
