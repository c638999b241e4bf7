"""What a cluster with Kubeflow Trainer 2.3.0 refuses in a TrainJob, as far as this project's manifests can meet it.

Two sources refuse, one after the other, and answer differently:

- the schema of the CRD, with its rules in CEL (status 422, reason Invalid). Fields and types are those of the published
  package kubeflow-trainer-api. It leaves out limits and CEL rules: these follow
  manifests/base/crds/trainer.kubeflow.org_trainjobs.yaml. The rules `self == oldSelf` concern updates, of which the
  launcher makes none.
- the webhook `validator.trainjob.trainer.kubeflow.org` (status 403, reason Forbidden), after its plugins jobset and
  torch in pkg/runtime/framework/plugins. Its refusal of `manager` is recorded from a real cluster, the others follow
  the source.

Replicated jobs and containers are those of the runtime in infra/kubernetes/trainer.
"""

import re
from pathlib import Path
from typing import Any

import yaml

RUNTIME = Path(__file__).parents[2] / "infra" / "kubernetes" / "trainer" / "torch-distributed.yaml"
RESERVED = {"PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT"}
WEBHOOK = "validator.trainjob.trainer.kubeflow.org"
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
URI_PATH = re.compile(r"([A-Za-z0-9/\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})+")

Manifest = dict[str, Any]
"""A Kubernetes object."""


def refusal_of_schema(job: Manifest) -> str:
    """Why the CRD does not admit the object; empty if it does."""
    from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob
    from pydantic import ValidationError

    try:
        document = TrainerV1alpha1TrainJob.from_dict(job).to_dict()
    except ValidationError as error:
        return str(error)
    if document != job:
        return "unknown field"
    name, spec = job["metadata"]["name"], job["spec"]
    trainer, patches = spec["trainer"], spec["runtimePatches"]
    env = [each["name"] for each in trainer["env"]]
    managers = [patch["manager"] for patch in patches]
    words = [*trainer["command"], *trainer["args"]]
    rules = {
        # self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')
        "metadata.name must match RFC 1035 DNS label format": bool(re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)),
        # size(self.metadata.name) <= 63
        "metadata.name must be no more than 63 characters": len(name) <= 63,
        # self >= 1
        "numProcPerNode must be greater than or equal to 1": trainer["numProcPerNode"] >= 1,
        "spec.trainer.numNodes: should be greater than or equal to 0": trainer["numNodes"] >= 0,
        "spec.trainer.image: may not be longer than 500": len(trainer["image"]) <= 500,
        "spec.trainer.args: must have at most 128 items": len(trainer["args"]) <= 128,
        "spec.trainer.command: must have at most 128 items": len(trainer["command"]) <= 128,
        "spec.trainer.env: must have at most 128 items": len(env) <= 128,
        "spec.trainer.env: Duplicate value": len(env) == len(set(env)),
        "spec.trainer.args: may not be longer than 1048576": all(len(word) <= 1048576 for word in words),
        "spec.runtimePatches: must have at most 16 items": len(patches) <= 16,
        "spec.runtimePatches: Duplicate value": len(managers) == len(set(managers)),
        "spec.runtimePatches[0].manager: may not be empty or longer than 253": all(
            1 <= len(m) <= 253 for m in managers
        ),
    }
    return next((message for message, holds in rules.items() if not holds), "")


def refusal_of_webhook(job: Manifest) -> str:
    """Why Trainer's webhook denies the object; empty if it does not."""
    runtime = yaml.safe_load(RUNTIME.read_text(encoding="utf-8"))
    containers = {
        replicated["name"]: {each["name"] for each in replicated["template"]["spec"]["template"]["spec"]["containers"]}
        for replicated in runtime["spec"]["template"]["spec"]["replicatedJobs"]
    }
    spec = job["spec"]
    if spec["runtimeRef"]["name"] != runtime["metadata"]["name"]:
        return "spec.runtimeRef: specified clusterTrainingRuntime must be created before the TrainJob is created"
    for patch in spec["runtimePatches"]:
        if not is_domain_prefixed_path(patch["manager"]):
            manager = patch["manager"]
            return (
                f'spec.runtimePatches.manager: Invalid value: "{manager}": must be a domain-prefixed path '
                '(such as "acme.io/foo")'
            )
        for replicated in patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]:
            if replicated["name"] not in containers:
                return (
                    "spec.runtimePatches: must not have replicated job that doesn't exist in the runtime job template"
                )
            for container in replicated["template"]["spec"]["template"]["spec"].get("containers", []):
                if container["name"] not in containers[replicated["name"]]:
                    job_name = replicated["name"]
                    return (
                        f"spec.runtimePatches: must not have container that doesn't exist in the runtime job {job_name}"
                    )
                if container.get("env"):
                    return "spec.runtimePatches: must not have envs for the node containers"
    reserved = sorted(RESERVED & {each["name"] for each in spec["trainer"]["env"]})
    return f"spec.trainer.env: must not have reserved envs, invalid envs configured: {reserved}" if reserved else ""


def is_domain_prefixed_path(text: str) -> bool:
    """IsDomainPrefixedPath of k8s.io/apimachinery/pkg/util/validation."""
    host, _, path = text.partition("/")
    return bool(SUBDOMAIN.fullmatch(host) and len(host) <= 253 and URI_PATH.fullmatch(path))
