"""What can be refused before anything is sent: files that no pod can read, and packages that no server takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pipelines.remote.clients import Package
from pipelines.targets.services import KfpService, VertexService
from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.prompts.built_in import built_in

MOST_PARAMETER_BYTES = 10_000
"""KFP's MAX_PARAMETER_BYTES, of all parameters together."""

MOST_PACKAGE_BYTES = 1024 * 1024
"""Argo ends a workflow that is larger, and a workflow is about as large as its package."""

_PROMPT_FORMATS = ("hpdv2:", "pickapic:")


def check_sources(config: RunConfig, service: KfpService | VertexService) -> None:
    """Refuse what lies on this machine alone, or is done on this machine alone.

    Raises:
        UserError: naming each setting that pods could not follow.
    """
    shared = service.shared_folders if isinstance(service, KfpService) else ()
    local = [f"{key}={value}" for key, value in _sources(config) if not _reachable(value, shared)]
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
            f"the config is {parameters} bytes as a parameter, and Kubeflow Pipelines takes fewer than "
            f"{MOST_PARAMETER_BYTES}: shorten its lists, e.g. give prompts as files"
        )
    size = package.path.stat().st_size
    if size > MOST_PACKAGE_BYTES:
        raise UserError(
            f"the package is {size / 1024:.0f} KiB, more than {MOST_PACKAGE_BYTES // 1024} KiB: lower "
            f"loop.epochs_per_run, or use loop.granularity fused"
        )


def _sources(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Settings that point at files, and what they say without what stands for a format or something built in."""
    yield "run_root", config.run_root
    prompts = {"prompts.train": config.prompts.train} | {
        f"evaluation.prompt_sets.{name}": source for name, source in config.evaluation.prompt_sets.items()
    }
    for key, source in prompts.items():
        if built_in(source) is None:
            yield key, next((source.removeprefix(form) for form in _PROMPT_FORMATS if source.startswith(form)), source)
    models = {"model.source": config.model.source} | {
        f"reward.scorers.{name}.source": scorer.source for name, scorer in config.reward.scorers.items()
    }
    yield from ((key, source) for key, source in models.items() if source and not _of_a_hub(source))
    if config.warm_start is not None:
        yield "warm_start.run_directory", config.warm_start.run_directory
    for name in ("adapter", "single_file_configs"):
        if value := getattr(config.model, name):
            yield f"model.{name}", value
    if config.tracking.enabled and config.tracking.uri is not None:
        yield "tracking.uri", config.tracking.uri


def _of_a_hub(source: str) -> bool:
    """`shapes`, or owner/name that is no folder here."""
    is_id = source.count("/") == 1 and not source.startswith((".", "/", "~"))
    return source == "shapes" or (is_id and not Path(source).exists())


def _reachable(value: str, shared: tuple[str, ...]) -> bool:
    scheme, separator, _ = value.partition("://")
    if separator:
        return scheme not in {"file", "sqlite"}
    return any(Path(value).is_relative_to(folder) for folder in shared)
