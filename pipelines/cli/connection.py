"""The options that say which service, for every command that talks to one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.remote.service import Service, read_cluster, settings_of
from pipelines.targets.cluster import Cluster
from pipelines.targets.services import KfpService, VertexService


@dataclass(frozen=True, slots=True)
class Connection:
    """A service, and everything that is known of the cluster."""

    target: Service
    cluster: Cluster

    @property
    def settings(self) -> KfpService | VertexService:
        """The service's section of the cluster file, options put over it."""
        return settings_of(self.target, self.cluster)


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with the options of `_connection` in place of its argument `connection`."""
    own = signature(command, eval_str=True).parameters
    options = signature(_connection, eval_str=True).parameters

    def wrapper(**given: Any) -> None:
        connection = _connection(**{name: given.pop(name) for name in options})
        command(connection=connection, **given)

    kept = [one for name, one in own.items() if name != "connection"]
    parameters = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in (*kept, *options.values())]
    vars(wrapper)["__signature__"] = Signature(parameters)  # typer reads it
    wrapper.__annotations__ = {one.name: one.annotation for one in parameters}
    wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
    return wrapper


def _connection(
    *,
    target: Annotated[Service, typer.Option(help="The service.")],
    cluster: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Cluster file; the options below override it.")
    ] = None,
    host: Annotated[str | None, typer.Option(metavar="URL", help="kfp: the API's URL.")] = None,
    namespace: Annotated[str | None, typer.Option(help="kfp: the profile, where there are several users.")] = None,
    experiment: Annotated[str | None, typer.Option(help="kfp: the experiment that runs belong to.")] = None,
    project: Annotated[str | None, typer.Option(help="vertex: the Google Cloud project.")] = None,
    location: Annotated[str | None, typer.Option(help="vertex: the region.")] = None,
    service_account: Annotated[str | None, typer.Option(help="Account that tasks run as.")] = None,
    pipeline_root: Annotated[
        str | None, typer.Option(metavar="gs://...", help="Folder of the service's own artifacts.")
    ] = None,
) -> Connection:
    options = {
        "host": host, "namespace": namespace, "experiment": experiment, "project": project, "location": location,
        "service_account": service_account, "pipeline_root": pipeline_root,
    }  # fmt: skip
    return Connection(target, read_cluster(cluster, target, options))
