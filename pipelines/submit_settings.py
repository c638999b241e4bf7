"""Which service, and how it is reached: the cluster file, and the options that override it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import yaml
from pydantic import ValidationError

from pipelines.cluster import Cluster
from pipelines.services import KfpService, VertexService
from reward_finetuning.config import UserError


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
    return _validated(tree, "options of the service")


def load_cluster(path: Path | None) -> Cluster:
    """Read a cluster file; without one every setting has its default.

    Raises:
        UserError: the file, a key or a value is wrong.
    """
    if path is None:
        return Cluster()
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no cluster file {path}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} is no readable YAML file: {' '.join(str(error).split())}") from None
    return _validated(tree, str(path))


def _validated(tree: object, where: str) -> Cluster:
    try:
        return Cluster.model_validate(tree)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}, got {one['input']!r}" for one in error.errors()]
        raise UserError(f"{where}: {'; '.join(lines)}") from None
