"""Submit a run's package to a service, once: what is running already is found, not submitted again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.graphs.package import compile_package
from pipelines.remote.clients import Client, Package, RemoteRun
from pipelines.remote.clients.protocol import run_number
from pipelines.remote.preflight import check_package, check_sources
from pipelines.remote.service import Service, settings_of
from pipelines.targets.cluster import Cluster
from pipelines.targets.services import TargetName
from reward_finetuning.config import RunConfig

_LONGEST_NAME = 90
"""Characters of a run's name that a pipeline run's is made of: Vertex takes 128 in all."""


def run_prefix(config: RunConfig) -> str:
    """What the names of all pipeline runs of one training run begin with; a number follows.

    It tells apart what must not be mixed up: run directories, and settings that change numbers. E is none of these, so
    that a run whose E was raised is still found.
    """
    identity = {"run": f"{config.run_root.rstrip('/')}/{config.name}", "numbers": config.numbers()}
    digest = sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    return f"rft-{dashed(config.name)[:_LONGEST_NAME]}-{digest}-"


def dashed(name: str) -> str:
    """A run's name as both services take names: lower case, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


@contextmanager
def packaged(config: RunConfig, target: Service, cluster: Cluster) -> Iterator[Package]:
    """The compiled package and its parameters, checked; the file lives as long as the context.

    Raises:
        UserError: what a remote pod could not read, or what the service would not take.
    """
    check_sources(config, settings_of(target, cluster))
    with TemporaryDirectory() as folder:
        path = compile_package(config, TargetName(target), Path(folder) / "package.yaml", cluster)
        package = Package(path, {"config": config.model_dump_json()})
        check_package(package)
        yield package


def unfinished(client: Client, prefix: str) -> RemoteRun | None:
    """The newest run of that prefix which is still going on."""
    return next((run for run in client.runs(prefix) if not run.state.is_final), None)


def submit_next(client: Client, package: Package, prefix: str) -> RemoteRun:
    """Start the next run of that prefix."""
    numbers = [run_number(run.name, prefix) or 0 for run in client.runs(prefix)]
    return client.submit(package, f"{prefix}{1 + max(numbers, default=0)}")
