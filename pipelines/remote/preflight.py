"""What can be refused before anything is sent: files that no pod can read, and packages that no server takes."""

from __future__ import annotations

import json

from pipelines.remote.clients import Package
from pipelines.targets.services import KfpService, VertexService
from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.config.externals import Kind, Setting, external_settings
from reward_finetuning.inputs import path_of

MOST_PARAMETER_BYTES = 10_000
"""KFP's MAX_PARAMETER_BYTES, of all parameters together."""

MOST_PACKAGE_BYTES = 1024 * 1024
"""Argo ends a workflow that is larger, and a workflow is about as large as its package."""


def check_sources(config: RunConfig, service: KfpService | VertexService) -> None:
    """Refuse what lies on this machine alone, or is done on this machine alone.

    Raises:
        UserError: naming each setting that pods could not follow.
    """
    shared = service.shared_folders if isinstance(service, KfpService) else ()
    local = [f"{each.key}={each.value}" for each in external_settings(config) if not _reachable(each, config, shared)]
    if config.reward.verify:
        raise UserError(
            f"reward.verify={config.reward.verify}: pods have no official packages beside ours; run rft verify-rewards "
            "with this run file here, then submit with -o reward.verify=0"
        )
    if local:
        others = "" if not isinstance(service, KfpService) else ", or a folder below kfp.shared_folders"
        raise UserError(
            f"pods cannot read what lies on this machine: {', '.join(local)}; write gs://... "
            f"or something built in{others}"
        )


def check_package(package: Package) -> None:
    """Refuse what the service would.

    Raises:
        UserError: the parameters or the package are too large.
    """
    parameters = len(json.dumps(dict(package.parameters)).encode())
    if parameters >= MOST_PARAMETER_BYTES:
        raise UserError(
            f"the parameters are {parameters} bytes, and Kubeflow Pipelines takes fewer than {MOST_PARAMETER_BYTES}: "
            "shorten them"
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
