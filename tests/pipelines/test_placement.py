"""What every target's package says of the roles, read out of the package."""

import json

import pytest

from pipelines.cluster import Cluster
from pipelines.placement import TargetName
from pipelines.refusals import refuse
from pipelines.target import Target
from reward_finetuning.config import UserError

ROLES = {
    "next-epochs": "light",
    "shards": "light",
    "evaluation-due": "light",
    "gate": "light",
    "sample": "sample",
    "evaluate": "sample",
    "reward": "reward",
    "train-epoch": "train",
    "run-epochs": "train",
    "promote": "export",
}
ALL_ROLES = ("loop.granularity=staged", "loop.epochs=2")
POOLS = {
    "every": {"env": {"MLFLOW_TRACKING_URI": "http://mlflow"}, "queue": "images", "retries": 4},
    "light": {"timeout": "1h", "image": "registry/light@sha256:1"},
    "export": {"secrets": {"hub": {"HF_TOKEN": "token"}}},
    "sample": {"gpus": 1, "accelerator": "nvidia-l4", "spot": True, "shared_memory": "4Gi", "retries": 20},
    "reward": {"gpus": 2, "accelerator": "nvidia-tesla-t4", "secrets": {"keys": {"A": "key", "B": "key"}}},
    "train": {
        "gpus": 8,
        "accelerator": "nvidia-h100-80gb",
        "machine_type": "a3-highgpu-8g",
        "cpu": 200,
        "memory": "1800Gi",
        "shared_memory": "64Gi",
        "node_selectors": {"team": "images"},
        "tolerations": [{"key": "team", "value": "images", "effect": "NoExecute"}, {"operator": "Exists"}],
        "run_as_user": 1234,
        "image_pull_policy": "Always",
        "image_pull_secrets": ["registry"],
        "timeout": "2d",
    },
}


@pytest.fixture
def on_kfp(package):
    return package("kfp", *ALL_ROLES, pools=POOLS)


def by_role(pairs, read):
    """What `read` finds for each role; all copies of all its components must agree."""
    found = {}
    for name, spec in pairs:
        assert found.setdefault(ROLES[name], read(spec)) == read(spec), name
    return found


def test_each_role_gets_its_cores_memory_and_gpus(on_kfp):
    limits = by_role(on_kfp.containers(), lambda container: container["resources"])

    assert limits["light"] == {
        "cpuLimit": 1.0,
        "memoryLimit": 2.0,
        "resourceCpuLimit": "1",
        "resourceMemoryLimit": "2G",
    }
    assert "accelerator" not in limits["export"]
    gpus = {role: limit["accelerator"] for role, limit in limits.items() if "accelerator" in limit}
    assert {role: gpu["count"] for role, gpu in gpus.items()} == {"sample": "1", "reward": "2", "train": "8"}
    assert {gpu["type"] for gpu in gpus.values()} == {"nvidia.com/gpu"}
    assert (limits["train"]["resourceCpuLimit"], limits["train"]["resourceMemoryLimit"]) == ("200", "1800Gi")


def test_each_role_gets_its_image(on_kfp):
    images = by_role(on_kfp.containers(), lambda container: container["image"])

    assert images["light"] == "registry/light@sha256:1"
    assert "trainer" in images["train"]


def test_pods_go_to_nodes_with_their_gpu_machine_and_price(on_kfp):
    selectors = by_role(on_kfp.pods(), lambda pod: pod.get("nodeSelector", {}).get("labels", {}))

    assert selectors == {
        "light": {},
        "export": {},
        "sample": {"cloud.google.com/gke-accelerator": "nvidia-l4", "cloud.google.com/gke-spot": "true"},
        "reward": {"cloud.google.com/gke-accelerator": "nvidia-tesla-t4"},
        "train": {
            "cloud.google.com/gke-accelerator": "nvidia-h100-80gb",
            "node.kubernetes.io/instance-type": "a3-highgpu-8g",
            "team": "images",
        },
    }


def test_pods_tolerate_the_taints_of_those_nodes(on_kfp):
    gpu = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    spot = {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"}
    team = {"key": "team", "operator": "Equal", "value": "images", "effect": "NoExecute"}

    tolerations = by_role(on_kfp.pods(), lambda pod: pod.get("tolerations", []))

    assert tolerations == {
        "light": [],
        "export": [],
        "sample": [gpu, spot],
        "reward": [gpu],
        "train": [gpu, team, {"operator": "Exists"}],
    }


def test_shared_memory_is_memory_of_the_size_asked_for(on_kfp):
    mounts = by_role(on_kfp.pods(), lambda pod: pod.get("emptyDirMounts", []))

    assert mounts["light"] == mounts["export"] == []
    (mount,) = mounts["train"]
    assert (mount["mountPath"], mount["medium"], mount["sizeLimit"]) == ("/dev/shm", "Memory", "64Gi")
    assert {role: found[0]["sizeLimit"] for role, found in mounts.items() if found} == {
        "sample": "4Gi",
        "reward": "8Gi",
        "train": "64Gi",
    }


def test_every_task_is_refused_root(on_kfp):
    contexts = by_role(on_kfp.pods(), lambda pod: pod["securityContext"])

    assert contexts.pop("train") == {"runAsNonRoot": True, "runAsUser": "1234"}
    assert contexts == {key: {"runAsNonRoot": True} for key in ("light", "export", "sample", "reward")}


def test_variables_come_from_the_file_and_from_secrets(on_kfp):
    def read(pod):
        secrets = pod.get("secretAsEnv", [])
        return [(s["secretName"], pair["envVar"], pair["secretKey"]) for s in secrets for pair in s["keyToEnv"]]

    secrets = by_role(on_kfp.pods(), read)

    for _, container in on_kfp.containers():
        assert {"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow"} in container["env"]
    assert secrets["export"] == [("hub", "HF_TOKEN", "token")]
    assert secrets["reward"] == [("keys", "A", "key"), ("keys", "B", "key")]
    assert secrets["train"] == []


def test_pods_wait_in_their_queue_pull_as_told_and_end_in_time(on_kfp):
    pods = dict(on_kfp.pods())

    assert all(pod["podMetadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "images"} for _, pod in on_kfp.pods())
    assert pods["train-epoch"]["imagePullPolicy"] == "Always"
    assert [secret["secretName"] for secret in pods["train-epoch"]["imagePullSecret"]] == ["registry"]
    deadlines = by_role(on_kfp.pods(), lambda pod: pod.get("activeDeadlineSeconds"))
    assert deadlines == {"light": "3600", "export": None, "sample": None, "reward": None, "train": "172800"}


def test_light_tasks_know_which_pipeline_run_they_are_part_of(on_kfp):
    variables = by_role(on_kfp.pods(), lambda pod: pod.get("fieldPathAsEnv", []))

    assert variables["light"] == [{"name": "KFP_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}]


@pytest.mark.parametrize("target", ["kfp", "vertex"])
@pytest.mark.parametrize("granularity", ["split", "fused", "staged"])
def test_every_task_is_retried_for_a_week_and_never_cached(package, target, granularity):
    pools = {"every": {"retries": 4}, "train": {"retries": 20}}
    compiled = package(target, f"loop.granularity={granularity}", "loop.epochs=2", pools=pools)

    assert len(compiled.tasks()) >= len(compiled.containers())
    for name, task in compiled.tasks():
        retries = 20 if name.startswith(("train-epoch", "run-epochs")) else 4
        policy = {"maxRetryCount": retries, "backoffDuration": "30s", "backoffFactor": 2.0}
        assert task["retryPolicy"] == policy | {"backoffMaxDuration": "604800s"}, name
        assert not task["cachingOptions"].get("enableCache", False), name


def test_locally_only_caching_is_off(package):
    compiled = package("local", *ALL_ROLES, pools=POOLS)

    assert len(compiled.documents) == 1
    for name, task in compiled.tasks():
        assert task["cachingOptions"] == {}, name
        assert "retryPolicy" not in task
    for _, container in compiled.containers():
        assert container.keys() == {"image", "command", "args"}


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
    limits = by_role(compiled.containers(), lambda container: container.get("resources"))
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
    assert outputs["artifacts"].keys() == {"policy", "report"}


@pytest.mark.parametrize("granularity", ["split", "staged"])
def test_graphs_go_on_from_what_a_custom_job_hands_over(package, granularity):
    gpus = {"machine_type": "g2-standard-8"}
    pools = {"sample": gpus, "reward": gpus, "train": gpus, "export": {"machine_type": "e2-standard-4"}}

    compiled = package("vertex", f"loop.granularity={granularity}", "loop.epochs=2", pools=pools)

    jobs = {name for name, container in compiled.containers() if "--payload" in container["args"]}
    assert jobs == {"sample", "reward", "train-epoch", "evaluate"} | ({"promote"} if granularity == "staged" else set())


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


@pytest.mark.parametrize(
    ("target", "pool", "message"),
    [
        ("vertex", {"node_selectors": {"a": "b"}}, r"pools.train.node_selectors: Vertex chooses nodes by machine_type"),
        ("vertex", {"tolerations": [{"operator": "Exists"}]}, r"tolerations: Vertex has no taints"),
        ("vertex", {"shared_memory": "16Gi"}, r"shared_memory: Vertex sizes /dev/shm itself"),
        ("vertex", {"queue": "a"}, r"queue: Vertex has no Kueue"),
        ("vertex", {"secrets": {"s": {"A": "k"}}}, r"secrets: Vertex reads no Kubernetes secrets: .* service account"),
        ("vertex", {"image_pull_policy": "Always"}, r"image_pull_policy"),
        ("vertex", {"image_pull_secrets": ["a"]}, r"image_pull_secrets: Vertex pulls from Artifact Registry"),
        ("vertex", {"run_as_user": 7}, r"run_as_user: Vertex takes the user that the image says"),
        ("vertex", {"spot": True}, r"spot: Vertex has it in a CustomJob alone: give machine_type too"),
        ("vertex", {"timeout": "1d"}, r"timeout: Vertex has it in a CustomJob alone"),
        ("vertex", {"boot_disk_gb": 200}, r"boot_disk_gb: Vertex has it in a CustomJob alone"),
        ("vertex", {"num_nodes": 2}, r"num_nodes: 2 nodes are a CustomJob on Vertex: give machine_type too"),
        ("vertex", {"accelerator": "nvidia-tesla-a100"}, r"nvidia-tesla-a100 needs a CustomJob: give machine_type too"),
        ("vertex", {"accelerator": None}, r"accelerator: Vertex must know which GPU, e.g. nvidia-l4"),
        ("vertex", {"cpu": 97}, r"cpu: Vertex gives a task at most 96 cores, got 97"),
        ("vertex", {"memory": "16Gi"}, r"memory: Vertex reads K, M and G alone, got 16Gi: write e.g. 16G"),
        ("vertex", {"memory": "625G"}, r"memory: Vertex gives a task at most 624G, got 625G"),
        ("vertex", {"machine_type": "a", "cpu": 8}, r"cpu: machine_type a says it already"),
        ("kfp", {"boot_disk_gb": 200}, r"boot_disk_gb: KFP 2.17 asks for no disk: give the node pool's boot disk"),
        ("kfp", {"num_nodes": 2}, r"num_nodes: 2 nodes on Kubernetes need a launcher"),
    ],
)
def test_what_a_target_cannot_do_is_refused(target, pool, message):
    cluster = Cluster.model_validate({"pools": {"train": pool}})

    with pytest.raises(UserError, match=rf"^--target {target}: .*{message}"):
        Target(TargetName(target), cluster)


def test_a_light_task_is_no_custom_job():
    cluster = Cluster.model_validate({"pools": {"light": {"machine_type": "e2-standard-4"}}})

    with pytest.raises(UserError, match=r"pools.light.machine_type: light tasks need no CustomJob"):
        refuse(cluster, TargetName.VERTEX)


def test_all_refusals_are_said_at_once():
    cluster = Cluster.model_validate({"pools": {"sample": {"queue": "a"}, "train": {"spot": True}}})

    with pytest.raises(UserError, match=r"pools.sample.queue: .*; pools.train.spot: "):
        refuse(cluster, TargetName.VERTEX)
