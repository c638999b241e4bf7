"""Which service, and how it is reached: the cluster file, and the options that override it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from reward_finetuning.config import UserError
from reward_finetuning.config.load import validated
from reward_finetuning.pipelines.targets.cluster import Cluster, load_cluster
from reward_finetuning.pipelines.targets.services import KfpService, VertexService


class Service(StrEnum):
    """Where a package can be submitted to."""

    KFP = "kfp"
    VERTEX = "vertex"


_ONLY = {
    Service.KFP: ("host", "namespace", "experiment"),
    Service.VERTEX: ("project", "location"),
}


def settings_of(target: Service, cluster: Cluster) -> KfpService | VertexService:
    """The cluster's section of that service."""
    return cluster.kfp if target is Service.KFP else cluster.vertex


def read_cluster(path: Path | None, target: Service, options: Mapping[str, str | None]) -> Cluster:
    """The cluster file with options put over the target's section; an option that is None was not given.

    Raises:
        UserError: the file or an option is wrong, or an option belongs to the other service.
    """
    cluster = load_cluster(path)
    given = {name: value for name, value in options.items() if value is not None}
    for other, names in _ONLY.items():
        if other is not target and (foreign := [f"--{name}" for name in names if name in given]):
            raise UserError(f"{', '.join(foreign)} is an option of --target {other}, got --target {target}")
    tree = cluster.model_dump(exclude_unset=True)
    tree[target] = {**tree.get(target, {}), **given}
    return validated(Cluster, tree, "options of the service")
