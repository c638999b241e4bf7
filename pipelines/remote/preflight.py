"""What can be refused before anything is sent: files that no pod can read, and packages that no server takes."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.remote.clients import Package
from pipelines.targets.cluster import Cluster
from pipelines.targets.roles import ROLES
from pipelines.targets.services import TargetName
from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.config.externals import Kind, Setting, external_settings
from reward_finetuning.config.locations import BUCKET_EXAMPLES
from reward_finetuning.inputs import path_of

MOST_PARAMETER_BYTES = 10_000
"""KFP's MAX_PARAMETER_BYTES, of all parameters together."""

MOST_PACKAGE_BYTES = 1024 * 1024
"""Argo ends a workflow that is larger, and a workflow is about as large as its package."""


def check_sources(config: RunConfig, target: TargetName, cluster: Cluster) -> None:
    """Refuse what lies on this machine alone, or is done on this machine alone.

    Raises:
        UserError: naming each setting that pods could not follow.
    """
    shared = cluster.shared_folders() if target is TargetName.KFP else ()
    local = [f"{each.key}={each.value}" for each in external_settings(config) if not _reachable(each, config, shared)]
    if config.reward.verify:
        raise UserError(
            f"reward.verify={config.reward.verify}: pods have no official packages beside ours; run rft verify-rewards "
            "with this run file here, then submit with -o reward.verify=0"
        )
    if local:
        others = ", or a folder of a claim that every pool mounts, or below kfp.shared_folders"
        raise UserError(
            f"pods cannot read what lies on this machine: {', '.join(local)}; write {BUCKET_EXAMPLES}, "
            f"or something built in{others if target is TargetName.KFP else ''}{_partial_claims(config, cluster)}"
        )


def check_readable(config: RunConfig, cluster: Cluster) -> None:
    """Refuse a run directory in a claim that this machine does not mount, for what reads the run directory.

    Raises:
        UserError: naming the claim.
    """
    for folder, claim in cluster.claim_folders().items():
        if Path(config.run_root).is_relative_to(folder) and not Path(folder).is_dir():
            raise UserError(
                f"run_root={config.run_root} is in the claim {claim}, which this machine does not mount at {folder}: "
                "submit without --follow, or run the command in a pod that mounts it"
            )


def check_package(package: Package) -> None:
    """Refuse what the service would.

    Raises:
        UserError: the parameters or the package are too large.
    """
    parameters = len(json.dumps(dict(package.parameters)).encode())
    if parameters >= MOST_PARAMETER_BYTES:
        raise UserError(
            f"the config is {parameters} bytes as a parameter, and Kubeflow Pipelines takes fewer than "
            f"{MOST_PARAMETER_BYTES}: shorten its lists, e.g. give prompts as files"
        )
    size = package.path.stat().st_size
    if size > MOST_PACKAGE_BYTES:
        raise UserError(
            f"the package is {size / 1024:.0f} KiB, more than {MOST_PACKAGE_BYTES // 1024} KiB: lower "
            f"loop.epochs_per_run, or use loop.granularity fused"
        )


def _reachable(setting: Setting, config: RunConfig, shared: tuple[str, ...]) -> bool:
    path = path_of(setting)
    if path is None or (setting.external.kind is Kind.TRACKING and not config.tracking.enabled):
        return True
    return "://" not in setting.value and any(path.is_relative_to(folder) for folder in shared)


def _partial_claims(config: RunConfig, cluster: Cluster) -> str:
    """Which pools lack the claim that run_root is in, as a part of an error."""
    for role in ROLES:
        for volume in cluster.pools.of(role).volumes:
            if volume.claim is not None and Path(config.run_root).is_relative_to(volume.path):
                missing = [other for other in ROLES if volume not in cluster.pools.of(other).volumes]
                if missing:
                    return f"; {', '.join(missing)} lack the claim {volume.claim}: mount it in pools.every.volumes"
    return ""
