"""The edge to the services that run packages: Kubeflow Pipelines and Vertex AI behind one protocol."""

from pipelines.remote.clients.connect import connect
from pipelines.remote.clients.protocol import Client, Package, RemoteRun, Schedule, State

__all__ = ["Client", "Package", "RemoteRun", "Schedule", "State", "connect"]
