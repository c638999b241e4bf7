"""What every target's package says of the roles, read out of the package."""

import re

import pytest

from reward_finetuning.pipelines.targets.roles import ROLE_OF_COMPONENT

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


def test_each_role_gets_its_cores_memory_and_gpus(on_kfp):
    limits = on_kfp.by_role(on_kfp.containers(), lambda container: container["resources"])

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
    images = on_kfp.by_role(on_kfp.containers(), lambda container: container["image"])

    assert images["light"] == "registry/light@sha256:1"
    assert "trainer" in images["train"]


def test_pods_go_to_nodes_with_their_gpu_machine_and_price(on_kfp):
    selectors = on_kfp.by_role(on_kfp.pods(), lambda pod: pod.get("nodeSelector", {}).get("labels", {}))

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

    tolerations = on_kfp.by_role(on_kfp.pods(), lambda pod: pod.get("tolerations", []))

    assert tolerations == {
        "light": [],
        "export": [],
        "sample": [gpu, spot],
        "reward": [gpu],
        "train": [gpu, team, {"operator": "Exists"}],
    }


def test_shared_memory_is_memory_of_the_size_asked_for(on_kfp):
    mounts = on_kfp.by_role(on_kfp.pods(), lambda pod: pod.get("emptyDirMounts", []))

    assert mounts["light"] == mounts["export"] == []
    (mount,) = mounts["train"]
    assert (mount["mountPath"], mount["medium"], mount["sizeLimit"]) == ("/dev/shm", "Memory", "64Gi")
    assert {role: found[0]["sizeLimit"] for role, found in mounts.items() if found} == {
        "sample": "4Gi",
        "reward": "8Gi",
        "train": "64Gi",
    }


def test_every_task_is_refused_root(on_kfp):
    contexts = on_kfp.by_role(on_kfp.pods(), lambda pod: pod["securityContext"])

    assert contexts.pop("train") == {"runAsNonRoot": True, "runAsUser": "1234"}
    assert contexts == {key: {"runAsNonRoot": True} for key in ("light", "export", "sample", "reward")}


def test_variables_come_from_the_file_and_from_secrets(on_kfp):
    def read(pod):
        secrets = pod.get("secretAsEnv", [])
        return [(s["secretName"], pair["envVar"], pair["secretKey"]) for s in secrets for pair in s["keyToEnv"]]

    secrets = on_kfp.by_role(on_kfp.pods(), read)

    for _, container in on_kfp.containers():
        assert {"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow"} in container["env"]
    assert secrets["export"] == [("hub", "HF_TOKEN", "token")]
    assert secrets["reward"] == [("keys", "A", "key"), ("keys", "B", "key")]
    assert secrets["train"] == []


def test_pods_wait_in_their_queue_pull_as_told_and_end_in_time(on_kfp):
    pods = dict(on_kfp.pods())

    labels = on_kfp.by_role(on_kfp.pods(), lambda pod: pod["podMetadata"]["labels"])
    queue = {"kueue.x-k8s.io/queue-name": "images"}
    assert labels == {role: queue | {"reward-finetuning/role": role} for role in labels}
    assert pods["train-epoch"]["imagePullPolicy"] == "Always"
    assert [secret["secretName"] for secret in pods["train-epoch"]["imagePullSecret"]] == ["registry"]
    deadlines = on_kfp.by_role(on_kfp.pods(), lambda pod: pod.get("activeDeadlineSeconds"))
    assert deadlines == {"light": "3600", "export": None, "sample": None, "reward": None, "train": "172800"}


def test_tasks_on_kubeflow_know_their_pipeline_run_their_pool_and_where_their_error_goes(on_kfp):
    paths = on_kfp.by_role(on_kfp.pods(), lambda pod: pod.get("fieldPathAsEnv", []))
    variables = on_kfp.by_role(
        on_kfp.containers(), lambda container: {each["name"]: each["value"] for each in container["env"]}
    )

    run_id = {"name": "KFP_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}
    assert paths == {role: [run_id] for role in paths}
    assert {role: each["RFT_POOL"] for role, each in variables.items()} == {role: role for role in variables}
    assert {each["RFT_FAILURE_FILE"] for each in variables.values()} == {"/dev/termination-log"}


@pytest.mark.parametrize("target", ["kfp", "vertex"])
@pytest.mark.parametrize("granularity", ["split", "fused", "staged"])
def test_every_task_is_retried_for_a_week_and_never_cached(package, target, granularity):
    pools = {"every": {"retries": 4}, "train": {"retries": 20}}
    compiled = package(target, f"loop.granularity={granularity}", "loop.epochs=2", pools=pools)

    assert len(compiled.tasks()) >= len(compiled.containers())
    for name, task in compiled.tasks():
        retries = 20 if name.startswith(("train-epoch", "run-epochs")) else 4
        role = ROLE_OF_COMPONENT[re.sub(r"(-\d+)*$", "", name).replace("-", "_")]
        policy = {"maxRetryCount": retries, "backoffDuration": "5s" if role == "light" else "30s", "backoffFactor": 2.0}
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
