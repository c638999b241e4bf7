"""The edge to the services that run packages: Kubeflow Pipelines and Vertex AI behind one protocol."""

from reward_finetuning.pipelines.remote.clients.connect import connect
from reward_finetuning.pipelines.remote.clients.protocol import (
    Attempt,
    Client,
    Package,
    RemoteRun,
    RemoteTask,
    Schedule,
    State,
)

__all__ = ["Attempt", "Client", "Package", "RemoteRun", "RemoteTask", "Schedule", "State", "connect"]
