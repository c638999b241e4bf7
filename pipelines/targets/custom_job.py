"""A component as a Vertex CustomJob: for A100 and H100, Spot, several nodes, disks, which plain tasks cannot have.

Google's own wrapper (google-cloud-pipeline-components 2.22, `create_custom_training_job_from_component`) cannot be
installed beside google-cloud-aiplatform 2, so this writes what it writes: the task runs Google's launcher image, which
creates the job in its payload, waits for it, and finds it again when it is restarted.
"""

from __future__ import annotations

import json
from typing import Any

from google.protobuf import json_format
from kfp.components import load_component_from_text
from kfp.dsl.base_component import BaseComponent

from reward_finetuning.pipelines.targets.pool import Pool

_LAUNCHER = "gcr.io/ml-pipeline/google-cloud-pipeline-components:2.22.0"
_EXECUTOR_INPUT = "{{$}}"
_EXECUTOR_INPUT_INSIDE_JSON = "{{$.json_escape[1]}}"
_LONGEST = "604800s"
# The job belongs to whom and where the pipeline does; what Vertex leaves empty, the launcher drops.
_OF_PIPELINE = {
    "project": "{{$.pipeline_google_cloud_project_id}}",
    "location": "{{$.pipeline_google_cloud_location}}",
    "service_account": "{{$.pipeline_service_account}}",
    "network": "{{$.pipeline_network}}",
    "persistent_resource_id": "{{$.pipeline_persistent_resource_id}}",
    "encryption_spec_key_name": "{{$.pipeline_encryption_key_name}}",
}


def as_custom_job(component: BaseComponent, pool: Pool) -> BaseComponent:
    """`component` with the same inputs and outputs, run by a CustomJob on the pool's machines."""
    spec = json_format.MessageToDict(component.pipeline_spec)
    (definition,) = spec["components"].values()
    (executor,) = spec["deploymentSpec"]["executors"].values()
    payload = job_payload(component.name, executor["container"], pool)
    executor["container"] = _launcher(payload)
    for interface in (definition, spec["root"]):
        inputs = interface.setdefault("inputDefinitions", {}).setdefault("parameters", {})
        inputs |= {name: _defaulting_to(placeholder) for name, placeholder in _OF_PIPELINE.items()}
        outputs = interface.setdefault("outputDefinitions", {}).setdefault("parameters", {})
        outputs["gcp_resources"] = {"parameterType": "STRING"}
    return load_component_from_text(json.dumps(spec))


def job_payload(name: str, container: dict[str, Any], pool: Pool) -> dict[str, Any]:
    """The CustomJob that the launcher creates, with the API's field names.

    Args:
        name: shown in Vertex' list of jobs.
        container: image, command and args of the component, as in KFP's IR.
        pool: machines; with n nodes there are two worker pools, of 1 and of n - 1 replicas.
    """
    worker = {
        "machine_spec": _machine(pool),
        "replica_count": 1,
        "disk_spec": {"boot_disk_type": "pd-ssd", "boot_disk_size_gb": pool.boot_disk_gb or 100},
        "container_spec": {
            "image_uri": container["image"],
            "command": _inside_json(container["command"]),
            "args": _inside_json(container["args"]),
            "env": [{"name": variable, "value": value} for variable, value in pool.env.items()],
        },
    }
    others = [worker | {"replica_count": pool.num_nodes - 1}] if pool.num_nodes > 1 else []
    return {
        "display_name": name,
        "job_spec": {
            "worker_pool_specs": [worker, *others],
            "scheduling": {
                "timeout": f"{pool.timeout_seconds}s" if pool.timeout_seconds else _LONGEST,
                "restart_job_on_worker_restart": pool.num_nodes > 1,
                "strategy": "SPOT" if pool.spot else "STANDARD",
            },
            "service_account": _input("service_account"),
            "network": _input("network"),
            "persistent_resource_id": _input("persistent_resource_id"),
        },
        "encryption_spec": {"kms_key_name": _input("encryption_spec_key_name")},
    }


def _machine(pool: Pool) -> dict[str, Any]:
    machine: dict[str, Any] = {"machine_type": pool.machine_type}
    if pool.gpus:
        machine |= {"accelerator_type": pool.vertex_accelerator, "accelerator_count": pool.gpus}
    return machine


def _launcher(payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "image": _LAUNCHER,
        "command": ["python3", "-u", "-m", "google_cloud_pipeline_components.container.v1.custom_job.launcher"],
        "args": [
            *("--type", "CustomJob", "--payload", json.dumps(payload)),
            *("--project", _input("project"), "--location", _input("location")),
            *("--gcp_resources", "{{$.outputs.parameters['gcp_resources'].output_file}}"),
        ],
    }


def _inside_json(words: list[str]) -> list[str]:
    """The payload is JSON text already: what Vertex puts into it has to be escaped once."""
    return [_EXECUTOR_INPUT_INSIDE_JSON if word == _EXECUTOR_INPUT else word for word in words]


def _input(name: str) -> str:
    return f"{{{{$.inputs.parameters['{name}']}}}}"


def _defaulting_to(placeholder: str) -> dict[str, Any]:
    return {"parameterType": "STRING", "defaultValue": placeholder, "isOptional": True}
