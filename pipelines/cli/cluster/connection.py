"""The options that select and configure a service, shared by all commands that use one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from reward_finetuning.pipelines.remote.service import Service, read_cluster, settings_of
from reward_finetuning.pipelines.targets.cluster import Cluster
from reward_finetuning.pipelines.targets.services import KfpService, VertexService


@dataclass(frozen=True, slots=True)
class Connection:
    """A service, and the settings of the cluster."""

    target: Service
    cluster: Cluster

    @property
    def settings(self) -> KfpService | VertexService:
        """The section of the service in the cluster file, with options applied."""
        return settings_of(self.target, self.cluster)


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with the options of `_connection` instead of its argument `connection`."""
    command_parameters = signature(command, eval_str=True).parameters
    options = signature(_connection, eval_str=True).parameters

    def wrapper(**arguments: Any) -> None:
        connection = _connection(**{name: arguments.pop(name) for name in options})
        command(connection=connection, **arguments)

    others = [parameter for name, parameter in command_parameters.items() if name != "connection"]
    parameters = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in (*others, *options.values())]
    vars(wrapper)["__signature__"] = Signature(parameters)  # typer reads it
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    wrapper.__name__ = command.__name__
    wrapper.__doc__ = command.__doc__
    return wrapper


def _connection(
    *,
    target: Annotated[Service, typer.Option(help="Service.")],
    cluster: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Cluster file. The options below override it.")
    ] = None,
    host: Annotated[str | None, typer.Option(metavar="URL", help="kfp: URL of the API.")] = None,
    namespace: Annotated[str | None, typer.Option(help="kfp: profile, in a multi-user installation.")] = None,
    experiment: Annotated[str | None, typer.Option(help="kfp: experiment of the runs.")] = None,
    project: Annotated[str | None, typer.Option(help="vertex: Google Cloud project.")] = None,
    location: Annotated[str | None, typer.Option(help="vertex: region.")] = None,
    service_account: Annotated[str | None, typer.Option(help="Service account of all tasks.")] = None,
    pipeline_root: Annotated[
        str | None, typer.Option(metavar="gs://...", help="Folder for the artifacts of the service.")
    ] = None,
) -> Connection:
    options = {
        "host": host, "namespace": namespace, "experiment": experiment, "project": project, "location": location,
        "service_account": service_account, "pipeline_root": pipeline_root,
    }  # fmt: skip
    return Connection(target, read_cluster(cluster, target, options))
