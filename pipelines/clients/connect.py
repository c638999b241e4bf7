"""From settings to a client; each is imported where it is used."""

from __future__ import annotations

from pipelines.clients.protocol import Client
from pipelines.services import KfpService, VertexService


def connect(service: KfpService | VertexService) -> Client:
    """A client of the service that the settings describe.

    Raises:
        UserError: a setting or a package is missing, or the service refuses the credentials.
        RetryableError: the service cannot be reached.
    """
    if isinstance(service, KfpService):
        from pipelines.clients.kubeflow import KubeflowClient

        return KubeflowClient(service)
    from pipelines.clients.vertex import VertexClient

    return VertexClient(service)
