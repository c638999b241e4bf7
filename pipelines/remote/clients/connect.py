"""From settings to a client; each is imported where it is used."""

from __future__ import annotations

from reward_finetuning.pipelines.remote.clients.protocol import Client
from reward_finetuning.pipelines.targets.services import KfpService, VertexService


def connect(service: KfpService | VertexService) -> Client:
    """A client of the service that the settings describe.

    Raises:
        UserError: a setting or a package is missing, or the service refuses the credentials.
        RetryableError: the service cannot be reached.
    """
    if isinstance(service, KfpService):
        from reward_finetuning.pipelines.remote.clients.kubeflow import KubeflowClient

        return KubeflowClient(service)
    from reward_finetuning.pipelines.remote.clients.vertex import VertexClient

    return VertexClient(service)
