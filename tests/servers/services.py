"""A loopback service with settings that lead to it, and jobs that end as a test says."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from servers.execution import Execute
from servers.kfp import KfpServer
from servers.vertex import VertexServer

from reward_finetuning.pipelines.remote.service import Service
from reward_finetuning.pipelines.targets.cluster import Cluster
from reward_finetuning.pipelines.targets.services import KfpService, VertexService


@dataclass
class Loopback:
    """A server and how it is reached."""

    server: KfpServer | VertexServer
    target: Service
    cluster: Cluster

    def names(self) -> list[str]:
        """Of all runs, oldest first."""
        if isinstance(self.server, KfpServer):
            return [run["display_name"] for run in self.server.runs.values()]
        return [name.rpartition("/")[2] for name in self.server.jobs]

    def cancel(self, name: str) -> None:
        """As a person does in the UI."""
        if isinstance(self.server, KfpServer):
            (run,) = (run for run in self.server.runs.values() if run["display_name"] == name)
            self.server.terminate_run(run["run_id"], query={}, body=None)
        else:
            self.server.cancel(name)


def loopback(
    target: str, execute: Execute, shared_folder: Path
) -> tuple[KfpServer | VertexServer, Callable[[], Loopback]]:
    """A server that is not started yet, and a function that makes its Loopback once it is."""
    server: KfpServer | VertexServer = KfpServer(execute) if target == "kfp" else VertexServer(execute)

    def settings() -> Loopback:
        kfp = KfpService(host=server.url if target == "kfp" else None, shared_folders=(str(shared_folder),))
        vertex = VertexService(project="p", endpoint=server.url, pipeline_root="gs://bucket/root")
        return Loopback(server, Service(target), Cluster(kfp=kfp, vertex=vertex))

    return server, settings


def write_google_key(path: Path) -> Path:
    """A service account's key file as Google makes them; its requests are signed here, no other server is asked."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "1",
        "private_key": private.decode(),
        "client_email": "tester@p.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    path.write_text(json.dumps(account), encoding="utf-8")
    return path
