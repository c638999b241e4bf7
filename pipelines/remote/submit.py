"""Submit the package of a run to a service, once: a pipeline run that is running already is found instead."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from reward_finetuning.config import RetryableError, RunConfig, UserError
from reward_finetuning.config.externals import Kind, external_settings
from reward_finetuning.inputs import bucket_uri_of, check_names
from reward_finetuning.pipelines.graphs.first_task import parameters
from reward_finetuning.pipelines.graphs.package import compile_package
from reward_finetuning.pipelines.remote.clients import Client, Package, RemoteRun
from reward_finetuning.pipelines.remote.clients.protocol import run_number
from reward_finetuning.pipelines.remote.preflight import check_package, examine
from reward_finetuning.pipelines.remote.service import Service
from reward_finetuning.pipelines.targets.cluster import Cluster
from reward_finetuning.pipelines.targets.services import TargetName
from reward_finetuning.prompts.pointer import read_now
from reward_finetuning.storage import RunDirectory, open_store
from reward_finetuning.storage.folders import is_reachable
from reward_finetuning.storage.refusal import Refusal, read_refusal
from reward_finetuning.storage.uri import scheme_of

_LONGEST_NAME = 90
"""Characters of a run's name that a pipeline run's is made of: Vertex takes 128 in all."""


def run_prefix(config: RunConfig) -> str:
    """The common prefix of the names of all pipeline runs of one training run; a number follows.

    It differs between run directories, and between settings that change numbers. It does not depend on the number of
    epochs, so a run whose loop.epochs was raised is still found.
    """
    identity = {"run": f"{config.run_root.rstrip('/')}/{config.name}", "numbers": config.numbers()}
    digest = sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    return f"rft-{dashed(config.name)[:_LONGEST_NAME]}-{digest}-"


def dashed(name: str) -> str:
    """The name of a run as both services take names: lower case, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


@contextmanager
def packaged(config: RunConfig, target: Service, cluster: Cluster) -> Iterator[Package]:
    """The compiled package and its parameters, checked; the file lives as long as the context.

    Raises:
        UserError: a pod could not read something, or the service would refuse the package.
    """
    check_names(config)
    findings = examine(config, target, cluster)
    if findings.refusals:
        raise UserError("; ".join(findings.refusals))
    for warning in findings.warnings:
        print(f"rft: warning: {warning}", file=sys.stderr)
    with TemporaryDirectory() as folder:
        path = compile_package(config, TargetName(target), Path(folder) / "package.yaml", cluster)
        package = Package(path, parameters(config))
        check_package(package)
        look_up_prompts(config)
        yield package


def look_up_prompts(config: RunConfig) -> None:
    """Read the prompt sets in buckets, as far as this machine may.

    Raises:
        UserError: a prompt set does not exist, or cannot be trained on.
    """
    prompts = [setting for setting in external_settings(config) if setting.external.kind is Kind.PROMPTS]
    today = datetime.now(UTC).date()
    for setting in prompts:
        uri = bucket_uri_of(setting)
        if uri is not None and _is_readable(uri):
            read_now(setting.value, today)


def _is_readable(uri: str) -> bool:
    """Whether this machine may list the folder of a file in a bucket."""
    if not is_reachable(scheme_of(uri)):  # a request would wait for minutes
        return False
    try:
        open_store(uri.rpartition("/")[0]).names("")
    except (RetryableError, UserError):
        return False
    return True


def unfinished(client: Client, prefix: str, run: RunDirectory) -> RemoteRun | None:
    """The newest pipeline run of that prefix which is still running.

    One whose task found a permanent error cannot succeed: it is terminated, so that corrected inputs start at once.
    """
    running = next((each for each in client.runs(prefix) if not each.state.is_final), None)
    if running is None:
        return None
    if refusal_of(client.run(running.id), run) is None:
        return running
    client.terminate(running.id)
    return None


def refusal_of(remote: RemoteRun, run: RunDirectory) -> Refusal | None:
    """The permanent error of a pipeline run, as its tasks recorded it; None for who may not read the run directory."""
    if not remote.has_failed_attempts:
        return None
    with suppress(UserError):
        refusal = read_refusal(run.store)
        return refusal if refusal is not None and refusal.pipeline_run == remote.id else None
    return None


def submit_next(client: Client, package: Package, prefix: str) -> RemoteRun:
    """Start the next run of that prefix."""
    numbers = [run_number(run.name, prefix) or 0 for run in client.runs(prefix)]
    return client.submit(package, f"{prefix}{1 + max(numbers, default=0)}")
