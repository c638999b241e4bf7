"""What a package for Vertex says of plain tasks and of CustomJobs, read out of the package."""

import json

import pytest

ALL_ROLES = ("loop.granularity=staged", "loop.epochs=2")
VERTEX = {
    "every": {"env": {"MLFLOW_TRACKING_URI": "http://mlflow"}},
    "sample": {"cpu": 8, "memory": "32G"},
    "reward": {"gpus": 2, "accelerator": "nvidia-tesla-t4"},
    "train": {
        "machine_type": "a2-highgpu-4g",
        "gpus": 4,
        "accelerator": "nvidia-tesla-a100",
        "spot": True,
        "num_nodes": 3,
        "boot_disk_gb": 500,
        "timeout": "2d",
        "image": "registry/trainer@sha256:2",
    },
}


def test_vertex_chooses_machines_by_limits_and_accelerator(package):
    compiled = package("vertex", *ALL_ROLES, pools=VERTEX)

    assert len(compiled.documents) == 1
    limits = compiled.by_role(compiled.containers(), lambda container: container.get("resources"))
    assert limits["sample"]["accelerator"]["type"] == "NVIDIA_L4"
    assert (limits["sample"]["resourceCpuLimit"], limits["sample"]["resourceMemoryLimit"]) == ("8", "32G")
    assert limits["reward"]["accelerator"] == {
        "type": "NVIDIA_TESLA_T4",
        "count": "2",
        "resourceType": "NVIDIA_TESLA_T4",
        "resourceCount": "2",
    }
    assert "accelerator" not in limits["light"]
    assert limits["train"] is None  # the launcher needs nothing; the machines are in its payload


def launcher(compiled, name="run-epochs"):
    container = dict(compiled.containers())[name]
    flags = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
    return container, flags, json.loads(flags["--payload"])


def test_a_machine_type_makes_a_custom_job_of_the_task(package):
    container, flags, payload = launcher(package("vertex", "loop.granularity=fused", pools=VERTEX))
    plain = dict(package("vertex", "loop.granularity=fused", pools={}).containers())["run-epochs"]

    assert container["image"].startswith("gcr.io/ml-pipeline/google-cloud-pipeline-components:")
    assert container["command"][-1] == "google_cloud_pipeline_components.container.v1.custom_job.launcher"
    assert flags.keys() == {"--type", "--payload", "--project", "--location", "--gcp_resources"}
    assert flags["--type"] == "CustomJob"
    worker = {
        "machine_spec": {
            "machine_type": "a2-highgpu-4g",
            "accelerator_type": "NVIDIA_TESLA_A100",
            "accelerator_count": 4,
        },
        "replica_count": 1,
        "disk_spec": {"boot_disk_type": "pd-ssd", "boot_disk_size_gb": 500},
        "container_spec": {
            "image_uri": "registry/trainer@sha256:2",
            "command": plain["command"],
            "args": ["--executor_input", "{{$.json_escape[1]}}", "--function_to_execute", "run_epochs"],
            "env": [{"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow"}],
        },
    }
    assert payload == {
        "display_name": "run-epochs",
        "job_spec": {
            "worker_pool_specs": [worker, worker | {"replica_count": 2}],
            "scheduling": {"timeout": "172800s", "restart_job_on_worker_restart": True, "strategy": "SPOT"},
            "service_account": "{{$.inputs.parameters['service_account']}}",
            "network": "{{$.inputs.parameters['network']}}",
            "persistent_resource_id": "{{$.inputs.parameters['persistent_resource_id']}}",
        },
        "encryption_spec": {"kms_key_name": "{{$.inputs.parameters['encryption_spec_key_name']}}"},
    }


def test_what_a_custom_job_takes_from_its_pipeline_is_an_input_with_a_placeholder(package):
    compiled = package("vertex", "loop.granularity=fused", pools=VERTEX)

    component = compiled.documents[0]["components"]["comp-run-epochs"]
    inputs, outputs = component["inputDefinitions"]["parameters"], component["outputDefinitions"]
    text = dict(compiled.containers())["run-epochs"]["args"]

    for name in ("project", "location", "service_account", "network", "persistent_resource_id"):
        assert f"inputs.parameters['{name}']" in " ".join(text)
        assert inputs[name]["defaultValue"].startswith("{{$.pipeline_")
    assert inputs.keys() >= {"config", "plan"}
    assert outputs["parameters"].keys() == {"gcp_resources"}
    assert outputs["artifacts"].keys() == {"policy", "report", "metrics", "summary"}


@pytest.mark.parametrize("granularity", ["split", "staged"])
def test_graphs_go_on_from_what_a_custom_job_hands_over(package, granularity):
    gpus = {"machine_type": "g2-standard-8"}
    pools = {"sample": gpus, "reward": gpus, "train": gpus, "export": {"machine_type": "e2-standard-4"}}

    compiled = package("vertex", f"loop.granularity={granularity}", "loop.epochs=2", pools=pools)

    jobs = {name for name, container in compiled.containers() if "--payload" in container["args"]}
    assert jobs == {"draw", "train-epoch", "evaluate"} | ({"promote"} if granularity == "staged" else set())


@pytest.mark.slow
def test_vertex_reads_the_payload_as_a_custom_job(package):
    from google.cloud.aiplatform_v1.types import AcceleratorType, CustomJob, Scheduling

    _, _, payload = launcher(package("vertex", "loop.granularity=fused", pools=VERTEX))

    job = CustomJob(payload).job_spec

    chief, others = job.worker_pool_specs
    assert chief.machine_spec.accelerator_type == AcceleratorType.NVIDIA_TESLA_A100
    assert (chief.replica_count, others.replica_count) == (1, 2)
    assert job.scheduling.strategy == Scheduling.Strategy.SPOT
    assert job.scheduling.timeout.total_seconds() == 172800
