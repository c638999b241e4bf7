"""What can be refused before anything is sent: files that no pod can read, and packages that no server takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reward_finetuning.config import EvaluationRun, RunConfig, UserError
from reward_finetuning.config.externals import Kind, Setting, external_settings
from reward_finetuning.config.locations import BUCKET_EXAMPLES
from reward_finetuning.inputs import path_of
from reward_finetuning.pipelines.remote.clients import Package
from reward_finetuning.pipelines.remote.service import Service
from reward_finetuning.pipelines.targets.cluster import Cluster
from reward_finetuning.pipelines.targets.images import image_of
from reward_finetuning.pipelines.targets.roles import ROLES

MOST_PARAMETER_BYTES = 10_000
"""KFP's MAX_PARAMETER_BYTES, of all parameters together."""

_MLFLOW = "MLFLOW_TRACKING_URI"

MOST_PACKAGE_BYTES = 1024 * 1024
"""Argo ends a workflow that is larger, and a workflow is about as large as its package."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with a run, or an evaluation, on a service."""

    refusals: tuple[str, ...]
    """What cannot work."""

    warnings: tuple[str, ...]
    """What works only if the installation provides what neither the run file nor the cluster file names."""


def examine(config: RunConfig | EvaluationRun, target: Service, cluster: Cluster) -> Findings:
    """Check a run, or an evaluation, before its package is submitted; `rft compile` prints all of it as warnings."""
    refusals = [_local_sources(config, target, cluster), _verification(config)]
    warnings = [_tracking(config, cluster), _images(cluster)]
    return Findings(tuple(filter(None, refusals)), tuple(filter(None, warnings)))


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
    """Refuse a package that the service would refuse.

    Raises:
        UserError: the parameters or the package are too large.
    """
    if too_long := _parameters(package.parameters):
        raise UserError(too_long)
    size = package.path.stat().st_size
    if size > MOST_PACKAGE_BYTES:
        raise UserError(
            f"the package is {size / 1024:.0f} KiB, more than {MOST_PACKAGE_BYTES // 1024} KiB: lower "
            f"loop.epochs_per_run, or use loop.granularity fused"
        )


def _local_sources(config: RunConfig | EvaluationRun, target: Service, cluster: Cluster) -> str:
    """What lies on this machine alone; empty: nothing."""
    shared = cluster.shared_folders() if target is Service.KFP else ()
    local = [f"{each.key}={each.value}" for each in external_settings(config) if not _reachable(each, config, shared)]
    if not local:
        return ""
    others = ", or a folder of a claim that every pool mounts, or below kfp.shared_folders"
    return (
        f"pods cannot read what lies on this machine: {', '.join(local)}; write {BUCKET_EXAMPLES}, "
        f"or something built in{others if target is Service.KFP else ''}{_partial_claims(config, cluster)}"
    )


def _verification(config: RunConfig | EvaluationRun) -> str:
    if config.reward is None or not config.reward.verify:
        return ""
    return (
        f"reward.verify={config.reward.verify}: pods have no official packages beside ours; run rft verify-rewards "
        "with this run file here, then submit with -o reward.verify=0"
    )


def _parameters(parameters: Mapping[str, str]) -> str:
    size = len(json.dumps(dict(parameters)).encode())
    if size < MOST_PARAMETER_BYTES:
        return ""
    return (
        f"the parameters are {size} bytes, and Kubeflow Pipelines takes fewer than {MOST_PARAMETER_BYTES}: shorten them"
    )


def _tracking(config: RunConfig | EvaluationRun, cluster: Cluster) -> str:
    if isinstance(config, EvaluationRun) or not config.tracking.enabled or config.tracking.uri is not None:
        return ""
    pools = [cluster.pools.of(role) for role in ROLES]
    if all(_MLFLOW in pool.env or any(_MLFLOW in keys for keys in pool.secrets.values()) for pool in pools):
        return ""
    return (
        f"tracking.uri is not given, and not all pools set {_MLFLOW}: unless the installation sets it in each pod, the "
        "first task refuses the run; set tracking.uri, pools.every.env, or tracking.enabled: false"
    )


def _images(cluster: Cluster) -> str:
    """Images that no node can pull and that no pool says to be there already."""
    pools = {role: cluster.pools.of(role) for role in ROLES}
    pulled = [role for role, pool in pools.items() if pool.image_pull_policy not in {"Never", "IfNotPresent"}]
    images = dict.fromkeys(pools[role].image or image_of(role) for role in pulled)
    bare = [image for image in images if not _has_registry(image)]
    if not bare:
        return ""
    return (
        f"nodes pull images from a registry, and {', '.join(bare)} names none: push the images "
        "(make images REGISTRY=... PUSH=1), or set pools.every.image in the cluster file"
    )


def _has_registry(image: str) -> bool:
    """As Docker reads a reference: the part before the first slash is a registry if it looks like a host."""
    host, slash, _ = image.partition("/")
    return bool(slash) and ("." in host or ":" in host or host == "localhost")


def _reachable(setting: Setting, config: RunConfig | EvaluationRun, shared: tuple[str, ...]) -> bool:
    path = path_of(setting)
    if path is None:
        return True
    if setting.external.kind is Kind.TRACKING and isinstance(config, RunConfig) and not config.tracking.enabled:
        return True
    return "://" not in setting.value and any(path.is_relative_to(folder) for folder in shared)


def _partial_claims(config: RunConfig | EvaluationRun, cluster: Cluster) -> str:
    """Which pools lack the claim that run_root is in, as a part of an error."""
    for role in ROLES:
        for volume in cluster.pools.of(role).volumes:
            if volume.claim is not None and Path(config.run_root).is_relative_to(volume.path):
                missing = [other for other in ROLES if volume not in cluster.pools.of(other).volumes]
                if missing:
                    return f"; {', '.join(missing)} lack the claim {volume.claim}: mount it in pools.every.volumes"
    return ""
